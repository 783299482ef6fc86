"""State shared by a session and the operator's page: the current question, the answer to it, gate and camera.

The session's thread sets the question and polls for the answer; the threads of the page's server hand answers in.
Every question has a key of its own, which an answer must name: a second click, a second browser or a stale page
cannot answer a later question. STOP needs no key.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

Phase = Literal["starting", "homing", "placing", "ready", "running", "verdict", "stopped", "paused", "done"]
Answer = Literal["clear", "home", "placed", "start", "success", "failure", "void", "resume"]

MOVING: tuple[Answer, ...] = ("clear", "home", "placed", "start", "resume")
"""Answers after which the arm may move, at once or next: taken only while a page polls."""
LOST_AFTER = 5.0
"""Longest silence of all pages before the operator counts as absent [s]; a page polls four times a second."""
LONGEST_NOTE = 2000


class OperatorError(ValueError):
    """An answer to no current question, or a page that cannot be served."""


@dataclass(frozen=True)
class Question:
    """What the page shows of the current trial. Where the session is blinded, nothing in it names the policy."""

    phase: Phase = "starting"
    session: str = ""
    number: int = 0
    """Of the trial in the schedule, from 1."""
    total: int = 0
    attempt: int = 0
    code: str = ""
    """Letter or name by which the operator identifies the policy."""
    x: float = 0.0
    """Where the object belongs [m, base frame]."""
    y: float = 0.0
    timeout: float = 0.0
    """Longest that the trial lasts [s]."""
    text: str = ""
    """Instruction to the operator, or the session's result."""
    problem: str = ""
    """Why the arm was stopped or the session waits; empty while all is well."""
    answers: tuple[Answer, ...] = ()
    """Those that are taken now."""


@dataclass(frozen=True)
class Reply:
    """The operator's answer."""

    answer: Answer
    note: str


class OperatorState:
    """Thread-safe; owns no thread."""

    def __init__(self, *, lost_after: float = LOST_AFTER, clock: Callable[[], float] = time.monotonic):
        """Start without a question; no page has polled yet."""
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
        """Set the question; the answer to the former one is dropped."""
        with self._lock:
            self._question, self._reply = question, None
            self._serial += 1
            self._asked_at = self._clock()

    def reply(self) -> Reply | None:
        """The answer to the current question, or None."""
        with self._lock:
            return self._reply

    def take_stop(self) -> bool:
        """Return whether STOP was pressed since the last call."""
        with self._lock:
            stop, self._stop = self._stop, False
            return stop

    @property
    def lost(self) -> bool:
        """Whether there was a page and none polls any more."""
        with self._lock:
            return self._ever_seen and not self._watching()

    @property
    def shown(self) -> bool:
        """Whether a page has fetched the current question."""
        with self._lock:
            return any(seen > self._asked_at for seen in self._seen.values())

    @property
    def watched(self) -> bool:
        """Whether a page polls now."""
        with self._lock:
            return bool(self._watching())

    def show_gate(self, state: str, reason: str) -> None:
        """Set the safety gate's state and reason."""
        with self._lock:
            self._gate = {"state": state or "unknown", "reason": reason}

    def show_frame(self, frame: np.ndarray) -> None:
        """Set the camera image, RGB uint8 (height, width, 3), overlay included."""
        with self._lock:
            self._frame = frame
            self._frame_number += 1

    # The page's side

    def state(self, client: str) -> dict[str, object]:
        """Return what a page shows, as plain JSON types; `client` identifies the page."""
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
                "answers": list(q.answers) if self._reply is None else [],
                "answered": self._reply.answer if self._reply else "",
                "gate": dict(self._gate),
                "frame": self._frame_number,
                "pages": len(self._watching()),
            }

    def hand_in(self, key: str, answer: str, note: str = "") -> None:
        """Answer the question `key`.

        Raises:
            OperatorError: if it is no longer the current question, was answered already, or takes no such answer.
        """
        with self._lock:
            if answer == "stop":
                self._stop = True
                return
            if key != self._key():
                raise OperatorError("this is no longer the current question; the page shows the one that is")
            if self._reply is not None:
                raise OperatorError(f"this was answered already: {self._reply.answer}")
            known = self._question.answers
            chosen = next((each for each in known if each == answer), None)
            if chosen is None:
                raise OperatorError(f"answer '{answer}': expected {', '.join(known) or 'none now'}")
            if chosen in MOVING and not self._watching():
                raise OperatorError(f"answer '{answer}': no page is open, and the arm moves under a person's eyes only")
            if len(note) > LONGEST_NOTE:
                raise OperatorError(f"the note has {len(note)} characters, at most {LONGEST_NOTE}; shorten it")
            self._reply = Reply(chosen, note.strip())

    def frame(self) -> np.ndarray | None:
        """The newest camera image."""
        with self._lock:
            return self._frame

    def _key(self) -> str:
        return f"{self._question.number}.{self._question.attempt}.{self._serial}"

    def _watching(self) -> list[str]:
        limit = self._clock() - self._lost_after
        return [client for client, seen in self._seen.items() if seen >= limit]
