"""Between a session and the people who watch it: what the page shows, and what may be answered to it.

The session's thread asks (`prepare`, `run`, `judge`) and looks whether an answer has come; the threads of the
page's server hand answers in. Every question has a key of its own, and an answer names the key that it is
for: a second click, a second browser or a page that was left open since the morning cannot answer a
question that is no longer asked. STOP needs no key.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Phase = Literal["starting", "prepare", "running", "judge", "finished"]
Answer = Literal["start", "success", "failure", "void"]

ANSWERS: dict[Phase, tuple[Answer, ...]] = {
    "starting": (),
    "prepare": ("start",),
    "running": (),
    "judge": ("success", "failure", "void"),
    "finished": (),
}
LOST_AFTER = 5.0
"""Longest silence of all pages before the operator counts as gone [s]; a page asks four times a second."""
LONGEST_NOTE = 2000


class DeskError(ValueError):
    """An answer that fits no question that is asked now."""


@dataclass(frozen=True)
class Question:
    """What the page shows of the trial at hand. Nothing in it tells which policy it is, where that is blinded."""

    phase: Phase = "starting"
    session: str = ""
    number: int = 0
    """Of the trial in the schedule, from 1."""
    total: int = 0
    attempt: int = 0
    code: str = ""
    """What the operator calls the policy."""
    x: float = 0.0
    """Where the object belongs [m, base frame]."""
    y: float = 0.0
    timeout: float = 0.0
    """Longest that the trial lasts [s]."""
    text: str = ""
    """What the operator is to do, or what came of the session."""
    problem: str = ""
    """Why it does not go on."""


@dataclass(frozen=True)
class Reply:
    """What the operator answered."""

    answer: Answer
    note: str


class Desk:
    """Thread-safe; owns no thread."""

    def __init__(self, *, lost_after: float = LOST_AFTER, clock: Callable[[], float] = time.monotonic):
        """Start with nothing asked; nobody has been seen yet."""
        self._lock = threading.RLock()
        self._clock, self._lost_after = clock, lost_after
        self._question = Question()
        self._serial, self._asked_at = 0, clock()
        self._reply: Reply | None = None
        self._stop = False
        self._seen: dict[str, float] = {}
        self._ever_seen = False
        self._gate = {"state": "unknown", "reason": ""}
        self._frame: np.ndarray | None = None
        self._frame_number = 0

    # The session's side

    def ask(self, question: Question) -> None:
        """Show another question; what was answered to the former one is forgotten."""
        with self._lock:
            self._question, self._reply = question, None
            self._serial += 1
            self._asked_at = self._clock()

    def reply(self) -> Reply | None:
        """What was answered, if anything yet."""
        with self._lock:
            return self._reply

    def take_stop(self) -> bool:
        """Whether somebody pressed STOP since this was last asked."""
        with self._lock:
            stop, self._stop = self._stop, False
            return stop

    @property
    def lost(self) -> bool:
        """Whether every page that was there has fallen silent."""
        with self._lock:
            return self._ever_seen and not self._watching()

    @property
    def shown(self) -> bool:
        """Whether a page has fetched the question that is asked now."""
        with self._lock:
            return any(seen > self._asked_at for seen in self._seen.values())

    @property
    def watched(self) -> bool:
        """Whether a page is there now."""
        with self._lock:
            return bool(self._watching())

    def show_problem(self, problem: str) -> None:
        """Say on the page why the session does not go on; empty: it does."""
        with self._lock:
            self._question = replace(self._question, problem=problem)

    def show_gate(self, state: str, reason: str) -> None:
        """Show what the safety gate says."""
        with self._lock:
            self._gate = {"state": state or "unknown", "reason": reason}

    def show_frame(self, frame: np.ndarray) -> None:
        """Show a camera picture, RGB uint8 (height, width, 3), with its overlay."""
        with self._lock:
            self._frame = frame
            self._frame_number += 1

    # The page's side

    def state(self, client: str) -> dict[str, object]:
        """What a page shows; `client` says which page asks."""
        with self._lock:
            now = self._clock()
            self._seen[client] = now
            self._ever_seen = True
            q = self._question
            return {
                "key": self._key(),
                "phase": q.phase,
                "session": q.session,
                "number": q.number,
                "total": q.total,
                "attempt": q.attempt,
                "code": q.code,
                "x": round(q.x, 3),
                "y": round(q.y, 3),
                "timeout": q.timeout,
                "text": q.text,
                "problem": q.problem,
                "elapsed": round(now - self._asked_at, 2),
                "answers": list(ANSWERS[q.phase]) if self._reply is None else [],
                "answered": self._reply.answer if self._reply else "",
                "gate": dict(self._gate),
                "frame": self._frame_number,
                "pages": len(self._watching()),
            }

    def hand_in(self, key: str, answer: str, note: str = "") -> None:
        """Answer the question `key`.

        Raises:
            DeskError: if that is not asked any more, was answered already, or takes no such answer.
        """
        with self._lock:
            if answer == "stop":
                self._stop = True
                return
            if key != self._key():
                raise DeskError("this trial is not at hand any more; the page shows the one that is")
            if self._reply is not None:
                raise DeskError(f"this was answered already: {self._reply.answer}")
            known = ANSWERS[self._question.phase]
            chosen = next((each for each in known if each == answer), None)
            if chosen is None:
                raise DeskError(f"answer '{answer}': expected {', '.join(known) or 'none now'}")
            if len(note) > LONGEST_NOTE:
                raise DeskError(f"the note has {len(note)} characters, at most {LONGEST_NOTE}; shorten it")
            self._reply = Reply(chosen, note.strip())

    def frame(self) -> np.ndarray | None:
        """The newest camera picture."""
        with self._lock:
            return self._frame

    def _key(self) -> str:
        return f"{self._question.number}.{self._question.attempt}.{self._serial}"

    def _watching(self) -> list[str]:
        limit = self._clock() - self._lost_after
        return [client for client, seen in self._seen.items() if seen >= limit]
