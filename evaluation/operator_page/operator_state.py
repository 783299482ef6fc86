"""State shared by a session and the operator's page: the current question, the answer to it, gate and camera.

The session's thread sets the question and polls for the answer; the threads of the page's server hand answers in.
Every question has a key of its own, which an answer must name: a second click, a second browser or a stale page
cannot answer a later question. STOP needs no key.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

Phase = Literal["starting", "homing", "placing", "ready", "running", "verdict", "stopped", "paused", "done"]
Answer = Literal["clear", "home", "placed", "start", "success", "failure", "void", "resume", "undo", "finish"]

MOVING: tuple[Answer, ...] = ("clear", "home", "placed", "start", "resume")
"""Answers after which the arm may move, at once or next: taken only while a page polls."""
LOST_AFTER = 5.0
"""Longest silence of all pages before the operator counts as absent [s]; a page polls four times a second."""
LONGEST_NOTE = 2000
LONGEST_NAME = 80
STEERS_ON = 1.0
"""How long after a page's last keys another one may not steer [s]."""
SECOND: tuple[Answer, ...] = ("success", "failure")
"""What a second rater may answer."""
PAST = 8
"""Trials of which a page shows what they came to."""


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
    """Name of the policy; empty where the session is blinded."""
    x: float = 0.0
    """Where the object belongs [m, base frame]."""
    y: float = 0.0
    yaw: float | None = None
    """How it is turned about z [rad]; None where that is left open."""
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
    by: str = ""
    """The operator's name, as given."""


@dataclass(frozen=True)
class SecondVerdict:
    """A second rater's verdict on a trial."""

    number: int
    attempt: int
    success: bool
    by: str


@dataclass(frozen=True)
class PastTrial:
    """What a trial came to, as the operator judged it; the measurement stays hidden."""

    number: int
    attempt: int
    verdict: str
    note: str = ""


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
        self._warning = ""
        self._frame: np.ndarray | None = None
        self._frame_number = 0
        self._past: list[PastTrial] = []
        self._begun: list[float] = []
        self._second: tuple[int, int] | None = None
        self._second_seen = -math.inf
        self._second_verdicts: list[SecondVerdict] = []
        self.steerable = False
        """Whether a page's keys steer the arm; in a session they do not."""
        self._steered: tuple[float, str, frozenset[str]] = (-math.inf, "", frozenset())

    # The session's side

    def ask(self, question: Question) -> None:
        """Set the question; the answer to the former one is dropped."""
        with self._lock:
            if question.number and question.number != self._question.number:
                self._begun.append(self._clock())
            self._question, self._reply = question, None
            self._serial += 1
            self._asked_at = self._clock()
            # A second rater may take until the next trial runs
            if question.phase == "verdict":
                self._second = (question.number, question.attempt)
            elif question.phase == "running":
                self._second = None

    def reply(self) -> Reply | None:
        """The answer to the current question, or None."""
        with self._lock:
            return self._reply

    def take_stop(self) -> bool:
        """Return whether STOP was pressed since the last call."""
        with self._lock:
            stop, self._stop = self._stop, False
            return stop

    def take_second_verdicts(self) -> tuple[SecondVerdict, ...]:
        """Return the second rater's verdicts since the last call."""
        with self._lock:
            taken, self._second_verdicts = tuple(self._second_verdicts), []
            return taken

    @property
    def second_awaited(self) -> bool:
        """Whether a second rater's page polls and has not judged the last trial yet."""
        with self._lock:
            return self._second is not None and self._second_seen >= self._clock() - self._lost_after

    def steered(self) -> tuple[float, frozenset[str]]:
        """Return when a page last said which keys are held, by the clock given, and which."""
        with self._lock:
            at, _, keys = self._steered
            return at, keys

    def show_past(self, trial: PastTrial) -> None:
        """Add a trial to those that the page lists; what it shows of the same attempt is replaced."""
        with self._lock:
            others = [t for t in self._past if (t.number, t.attempt) != (trial.number, trial.attempt)]
            self._past = [*others, trial]

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

    def show_warning(self, text: str) -> None:
        """Set what is wrong with the policy's inputs while it goes on; empty for nothing."""
        with self._lock:
            self._warning = text

    def show_frame(self, frame: np.ndarray) -> None:
        """Set the camera image, RGB uint8 (height, width, 3), overlay included."""
        with self._lock:
            self._frame = frame
            self._frame_number += 1

    # The page's side

    def state(self, client: str, *, second: bool = False) -> dict[str, object]:
        """Return what a page shows, as plain JSON types; `client` identifies the page.

        A `second` rater's page shows neither the operator's verdicts nor what was answered, and does not count as an
        operator who is there.
        """
        with self._lock:
            now = self._clock()
            if second:
                self._second_seen = now
            else:
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
                "yaw": None if q.yaw is None else round(math.degrees(q.yaw)),
                "timeout": q.timeout,
                "text": q.text,
                "problem": q.problem,
                "elapsed": round(now - self._asked_at, 2),
                "answers": list(q.answers) if self._reply is None else [],
                "answered": self._reply.answer if self._reply and not second else "",
                "left_s": self._time_left(),
                "past": [] if second else [asdict(trial) for trial in self._past[-PAST:]],
                "second": self._second_key() if second else "",
                "gate": dict(self._gate),
                "warning": self._warning,
                "frame": self._frame_number,
                "pages": len(self._watching()),
                "steerable": self.steerable and not second,
            }

    def steer(self, client: str, keys: Sequence[str]) -> None:
        """Take which keys are held on the page `client`.

        Raises:
            OperatorError: if pages do not steer, or another one does.
        """
        with self._lock:
            at, by, held = self._steered
            if not self.steerable:
                raise OperatorError("the arm is not steered from this page")
            if held and by != client and self._clock() - at < STEERS_ON:
                raise OperatorError("another page steers the arm")
            self._steered = (self._clock(), client, frozenset(keys))

    def hand_in_second(self, key: str, answer: str, by: str = "") -> None:
        """Give a second rater's verdict on the trial `key`, once.

        Raises:
            OperatorError: if that trial is no longer open to a second rater, or this is no verdict.
        """
        with self._lock:
            if not key or key != self._second_key():
                raise OperatorError("this trial is no longer open to a second rater")
            if answer not in SECOND:
                raise OperatorError(f"answer '{answer}': a second rater's is {' or '.join(SECOND)}")
            _refuse_name(by)
            assert self._second is not None
            self._second_verdicts.append(SecondVerdict(*self._second, answer == "success", by.strip()))
            self._second = None

    def hand_in(self, key: str, answer: str, note: str = "", by: str = "") -> None:
        """Answer the question `key`; `by` is the operator's name.

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
            _refuse_name(by)
            self._reply = Reply(chosen, note.strip(), by.strip())

    def frame(self) -> np.ndarray | None:
        """The newest camera image."""
        with self._lock:
            return self._frame

    def _key(self) -> str:
        return f"{self._question.number}.{self._question.attempt}.{self._serial}"

    def _second_key(self) -> str:
        return "" if self._second is None else "second {}.{}".format(*self._second)

    def _time_left(self) -> float | None:
        """Of the session [s], by the median time that its last trials took; None before there were two."""
        gaps = np.diff(self._begun[-11:])
        left = self._question.total - self._question.number + 1
        return round(float(np.median(gaps)) * left) if len(gaps) > 1 and self._question.number else None

    def _watching(self) -> list[str]:
        limit = self._clock() - self._lost_after
        return [client for client, seen in self._seen.items() if seen >= limit]


def _refuse_name(by: str) -> None:
    if len(by) > LONGEST_NAME:
        raise OperatorError(f"the name has {len(by)} characters, at most {LONGEST_NAME}; shorten it")
