"""What the operator of a teleoperated arm sees and hears: a line on the terminal, and the page of sessions."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass

import numpy as np

from evaluation.operator_page.operator_state import Answer, OperatorState, PastTrial, Phase, Question
from robots.teleoperation.keyboard import GRIPPER, HAND, HOLD
from robots.teleoperation.steering import Press, Steering

RED, GREEN, YELLOW, PLAIN, ERASE = "\x1b[1;31m", "\x1b[1;32m", "\x1b[1;33m", "\x1b[0m", "\r\x1b[K"
BELL = "\a"
ANSWERS: dict[Answer, Press] = {
    "start": "begin", "success": "success", "failure": "failure", "void": "discard", "undo": "discard",
    "clear": "reset", "finish": "quit",
}  # fmt: skip
"""What a button of the page is pressed for."""


PAGE_KEYS = {*GRIPPER, HOLD, *(key for key in HAND if len(key) == 1)}
"""Keys of a page that hold the dead-man, those of a terminal."""


@dataclass(frozen=True)
class Shown:
    """The state of things."""

    phase: str
    """`ready`, `placing`, `recording`, `judging` (an episode that was interrupted) or `watching` (nothing is kept)."""
    number: int
    """Of the episode, from 1."""
    wanted: int
    """Episodes that are wanted."""
    successes: int
    failures: int
    seconds: float
    """Since the episode began."""
    gate: str
    gate_reason: str
    held: bool
    """Whether the arm is commanded."""
    share: float
    """Of the full speed."""
    notice: str
    """Why the arm is not commanded; empty where it is, or could be."""


class TerminalView:
    """One line, written over again and again, in colour; without a terminal only what is said."""

    def __init__(self) -> None:
        """Write to standard output."""
        self._live = sys.stdout.isatty()
        self._last = ""

    def show(self, shown: Shown) -> None:
        """Write the line anew."""
        if not self._live:
            return
        colour = {"recording": RED, "judging": YELLOW}.get(shown.phase, GREEN)
        colour = YELLOW if shown.gate in ("stopped", "stopping") else colour
        time = f" {shown.seconds:.1f} s" if shown.phase == "recording" else ""
        kept = f"{shown.successes} kept as successes, {shown.failures} as failures"
        parts = [
            f"{colour}{shown.phase}{time}{PLAIN} episode {shown.number}/{shown.wanted} ({kept})",
            f"gate {shown.gate or 'silent'}",
            f"{'moving' if shown.held else 'holding'}, speed {100 * shown.share:.0f} %",
            shown.notice or shown.gate_reason,
        ]
        line = " | ".join(filter(None, parts))
        if line != self._last:
            self._last = line
            self._write(ERASE + line)

    def say(self, text: str, bells: int = 0) -> None:
        """Write a line that stays, with so many beeps."""
        self._write(f"{ERASE if self._live else ''}{text}{BELL * bells if self._live else ''}\n")
        self._last = ""

    def end(self) -> None:
        """Leave the line as it is, and begin another."""
        if self._last:
            self._write("\n")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that is gone: its keyboard says so
            sys.stdout.write(text)
            sys.stdout.flush()


class PageView:
    """The same on the operator's page, whose buttons stand for keys."""

    PHASES: dict[str, tuple[Phase, str, tuple[Answer, ...]]] = {  # noqa: RUF012
        "watching": ("placing", "Nothing is recorded: no --out was given.", ("finish",)),
        "placing": ("placing", "The object is being placed.", ()),
        "ready": ("ready", "Start an episode. Steer with the device at the arm, not from here.", ("start", "finish")),
        "recording": ("running", "Recording. End the episode with its verdict; Void discards it.", ()),
        "judging": ("verdict", "This episode was interrupted. How did it end? Void discards it.", ()),
    }

    def __init__(self, state: OperatorState, name: str):
        """Show demonstrations called `name` through `state`."""
        self._state, self._name = state, name
        self._asked: Question | None = None
        self._past = 0

    def show(self, shown: Shown) -> None:
        """Ask what fits, where it is not asked already."""
        phase, text, answers = self.PHASES[shown.phase]
        if shown.phase in ("recording", "judging"):
            answers = ("success", "failure", "void")
        elif shown.phase == "ready" and shown.successes + shown.failures:
            answers = (*answers, "undo")
        if shown.gate == "stopped":
            phase, text, answers = "stopped", "Clear the stop when nobody is in reach.", (*answers, "clear")
        question = Question(
            phase,
            self._name,
            shown.number,
            shown.wanted,
            text=text,
            problem=shown.gate_reason if shown.gate == "stopped" else "",
            answers=answers,
        )
        self._state.show_gate(shown.gate, shown.gate_reason)
        self._state.show_warning(shown.notice)
        if question != self._asked:
            self._asked = question
            self._state.ask(question)

    def show_picture(self, picture: np.ndarray) -> None:
        """Show the cameras' pictures, RGB uint8 (height, width, 3)."""
        self._state.show_frame(picture)

    def list_episode(self, number: int, attempt: int, verdict: str) -> None:
        """Add an episode to those that are listed."""
        self._state.show_past(PastTrial(number, attempt, verdict))

    def presses(self) -> tuple[Press, ...]:
        """Return what was pressed since the last call."""
        found: list[Press] = ["stop"] if self._state.take_stop() else []
        if (reply := self._state.reply()) is not None and self._asked is not None:
            found.append(ANSWERS[reply.answer])
            self._state.ask(self._asked)
        return tuple(found)


class PageKeys:
    """Keys that are held on the operator's page, as a device: a browser tells when one is released."""

    def __init__(self, state: OperatorState):
        """Let pages steer through `state`, whose clock is the monotonic one."""
        self._state = state
        state.steerable = True

    def read(self, now: float) -> Steering:
        """Return what is held; the page's last word grows old by itself."""
        stamp, keys = self._state.steered()
        if not keys & PAGE_KEYS:
            return Steering(now, False)
        fingers = next((value for key, value in GRIPPER.items() if key in keys), None)
        return Steering(stamp, True, dict(HAND[key] for key in sorted(keys) if key in HAND), fingers)

    def presses(self) -> tuple[Press, ...]:
        """Return nothing: the page has buttons, see `PageView`."""
        return ()

    def close(self) -> None:
        """Let pages steer no longer."""
        self._state.steerable = False
