"""A terminal's keyboard as a steering device. A terminal tells no release: a key is held while it repeats.

Robot side: the standard library only.
"""

from __future__ import annotations

import os
import re
import select
import termios
import tty

from robots.teleoperation.steering import Press, Steering, SteeringMode

HELD = 0.15
"""How long a key counts as held after its last repetition [s]; the slowest usual rate is 11 a second."""

HAND = {
    "w": ("x", 1.0), "s": ("x", -1.0), "a": ("y", 1.0), "d": ("y", -1.0), "r": ("z", 1.0), "f": ("z", -1.0),
    "q": ("yaw", 1.0), "e": ("yaw", -1.0), "\x1b[A": ("x", 1.0), "\x1b[B": ("x", -1.0), "\x1b[D": ("y", 1.0),
    "\x1b[C": ("y", -1.0), "\x1b[5~": ("z", 1.0), "\x1b[6~": ("z", -1.0),
}  # fmt: skip
"""Motion of the hand in the base frame: letters, arrows, page up and page down."""
FORWARD, BACK = "1234567", "qwertyu"
"""Keys of the joints, from the base on; below each digit the one that moves the joint back."""
GRIPPER = {"o": 1.0, "c": -1.0}
HOLD = "h"
"""Holds the dead-man without a motion of its own: for a leader."""
PRESSES: dict[str, Press] = {
    " ": "begin", "\r": "success", "\n": "success", "x": "failure", "\x7f": "discard", "\b": "discard",
    "\x1b": "stop", "R": "reset", "Q": "quit", "+": "faster", "-": "slower",
}  # fmt: skip
HELP = {
    "hand": "w s a d r f or arrows and page keys move the hand, q e turn it",
    "joints": "1 to 7 move a joint, the letter below moves it back",
    "leader": "h lets the arm follow the leader",
}
KEYS = (
    "o c open and close the fingers. Space begins an episode, Enter keeps it as a success, x as a failure, Backspace "
    "discards it (or takes back the last). Esc stops the arm, R releases a stop, + - change the speed, Q ends."
)
_TOKEN = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Z]|[\s\S]")


class TerminalKeyboard:
    """Reads the keys of one terminal, which is in cbreak mode until `close`."""

    def __init__(self, fd: int, mode: SteeringMode, joint_names: tuple[str, ...]):
        """Take over the terminal `fd`.

        Raises:
            OSError: if it is none.
        """
        self._fd, self._presses = fd, list[Press]()
        self._moves = dict(HAND)
        if mode == "joints":
            self._moves = {key: (joint, 1.0) for key, joint in zip(FORWARD, joint_names)}
            self._moves |= {key: (joint, -1.0) for key, joint in zip(BACK, joint_names)}
        self._held: dict[str, tuple[float, float]] = {}  # by element: direction, and until when [s]
        self._gripper: float | None = None
        self._until = -1.0
        self._trouble = ""
        try:
            self._before = termios.tcgetattr(fd)
            tty.setcbreak(fd)
        except termios.error as error:
            raise OSError(f"keyboard: {error.args[-1]}; run it in a terminal, or take --device gamepad") from None

    def read(self, now: float) -> Steering:
        """Return which keys are held at `now` [s, monotonic]."""
        self._gripper = None
        for key in _TOKEN.findall(self._typed()):
            self._take(key, now)
        move = {name: direction for name, (direction, until) in self._held.items() if until > now}
        return Steering(now, self._until > now, move, self._gripper, self._trouble)

    def presses(self) -> tuple[Press, ...]:
        """Return the other keys since the last call."""
        taken, self._presses = tuple(self._presses), []
        return taken

    def close(self) -> None:
        """Give the terminal back."""
        if not self._trouble:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def _typed(self) -> str:
        text = b""
        try:
            while not self._trouble and select.select([self._fd], [], [], 0)[0]:
                more = os.read(self._fd, 1024)
                if not more:
                    self._trouble = "keyboard: the terminal was closed"
                text += more
        except OSError as error:
            self._trouble = f"keyboard: the terminal is gone: {error.strerror}"
        if self._trouble:
            self._presses.append("quit")  # nobody can ask for anything any more
        return text.decode("latin-1")

    def _take(self, key: str, now: float) -> None:
        if key in self._moves:
            element, direction = self._moves[key]
            self._held[element] = (direction, now + HELD)
        elif key in GRIPPER:
            self._gripper = GRIPPER[key]
        elif key != HOLD:
            if key in PRESSES:
                self._presses.append(PRESSES[key])
            return
        self._until = now + HELD
