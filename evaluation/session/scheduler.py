"""Order of a session's trials, whatever carries them out.

`TrialScheduler` takes the plan and the store and returns which trial is next and which attempt it is, applies the stop
rule, and records. Its state follows from the store, so a process that was killed goes on where it stopped.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from evaluation.session.protocol import PlannedTrial, Protocol
from evaluation.session.store import UNDONE, TrialStore, as_trial
from evaluation.session.trials import Trial, TrialError
from evaluation.statistics.sequential import SequentialComparison, compare_sequentially

AT_RESET = "success at reset"
"""Start of the reason of a trial whose goal was reached before the policy moved."""
BY_OPERATOR = "operator: "
"""Start of the reason of a trial that the operator voided."""
INTERRUPTED = "it was interrupted at"
"""Start of the note on a trial whose session ended before its verdict."""
RESETS = 2
"""Attempts of such an index before it is left out: its place is unusable."""


@dataclass(frozen=True)
class SessionProgress:
    """Counts of a session's trials."""

    planned: int
    """Trials that the protocol asks for."""
    counted: int
    """Those that count so far."""
    void: int
    """Rows that do not count."""
    excluded: int
    """Trials left out because their goal was reached at reset, again and again."""

    @property
    def left(self) -> int:
        """Trials still to be done if nothing stops them early."""
        return self.planned - self.counted - self.excluded


@dataclass(frozen=True)
class OpenAttempt:
    """An attempt that was begun, or whose verdict was undone, and that has no verdict yet."""

    planned: PlannedTrial
    attempt: int
    since: str
    """UTC, ISO 8601."""
    measured: Trial | None
    """What was measured of it; None if it was broken off before."""


class TrialScheduler:
    """Chooses and records the trials of one session."""

    def __init__(self, protocol: Protocol, store: TrialStore):
        """Continue from what the store holds.

        Raises:
            TrialError: if the store holds trials that the protocol does not plan.
        """
        self.protocol = protocol
        self._store = store
        self._schedule = protocol.schedule()
        self._numbers = {(t.policy, t.index): n for n, t in enumerate(self._schedule, start=1)}
        self.resumed = store.head.rows > 0
        self._read()

    def _read(self) -> None:
        """Take the state from the store."""
        self._counted: dict[tuple[str, int], bool] = {}
        self._attempts: Counter[tuple[str, int]] = Counter()
        self._resets: Counter[tuple[str, int]] = Counter()
        self._last: Trial | None = None
        for trial in self._store.trials(self.protocol.name):
            self._take(trial)
        self.decision: SequentialComparison | None = None
        """Result of the sequential test, once it has stopped the session."""
        self._apply_stop_rule()

    @property
    def progress(self) -> SessionProgress:
        """Counts of the trials so far."""
        excluded = sum(n >= RESETS for n in self._resets.values())
        void = sum(self._attempts.values()) - len(self._counted)
        return SessionProgress(len(self._schedule), len(self._counted), void, excluded)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.next() is None

    def number(self, planned: PlannedTrial) -> int:
        """Place of the trial in the schedule, from 1."""
        return self._numbers[planned.policy, planned.index]

    def attempt(self, planned: PlannedTrial) -> int:
        """How often it was tried before."""
        return self._attempts[planned.policy, planned.index]

    def next(self) -> PlannedTrial | None:
        """The first trial of the schedule that is open."""
        return next(iter(self.open()), None)

    def open(self) -> tuple[PlannedTrial, ...]:
        """All trials that are open, in order; none once a stop rule has ended the session."""
        if self.decision is not None:
            return ()
        return tuple(
            t
            for t in self._schedule
            if (t.policy, t.index) not in self._counted and self._resets[t.policy, t.index] < RESETS
        )

    def begin(self, planned: PlannedTrial) -> None:
        """Log that an attempt begins, before the arm moves. Raises TrialError if it cannot be written."""
        about = {"seed": planned.seed, "initial": dict(planned.initial)}
        self._store.start(self.protocol.name, planned.policy, planned.index, self.attempt(planned), **about)

    def measured(self, trial: Trial) -> None:
        """Log what was measured of an attempt, before a verdict. Raises TrialError if it cannot be written."""
        self._store.measure(trial)

    @property
    def open_attempt(self) -> OpenAttempt | None:
        """The attempt that was interrupted before its verdict, or whose verdict was undone; None if there is none."""
        rows = [row for row in self._store.rows() if row.kind != "event"]
        if not rows or rows[-1].kind == "trial":
            return None
        last = rows[-1]
        planned = next((t for t in self._schedule if (t.policy, t.index) == last.trial), None)
        if planned is None:
            raise TrialError(f"the store holds {last}, which the protocol does not plan")
        measured = None
        if last.kind == "measured":
            measured = as_trial(last)
        elif last.kind == "retracted":
            measured = as_trial(next(row for row in rows if row.kind == "trial" and row.key == last.key))
        attempt = self.attempt(planned)
        if measured is not None:
            measured = replace(
                measured,
                success=bool(measured.automatic),
                verdict="task",
                operator=None,
                operator_note="",
                operator_name="",
                void=False,
                void_reason="",
                attempt=attempt,
            )
        return OpenAttempt(planned, attempt, last.at, measured)

    @property
    def undoable(self) -> Trial | None:
        """The newest trial, if an operator judged it and the verdict stands."""
        last = self._last
        if last is None or last.void_reason.startswith(UNDONE):
            return None
        return last if last.operator is not None or last.void_reason.startswith(BY_OPERATOR) else None

    def undo(self, by: str = "") -> None:
        """Undo the newest verdict; the trial is then the open attempt. Raises TrialError if there is none."""
        if self.undoable is None:
            raise TrialError("there is no verdict to undo")
        self._store.retract(self.undoable, by)
        self._read()

    def record(self, trial: Trial) -> None:
        """Write a trial to disk, then apply the stop rule.

        Raises:
            TrialError: if it is not planned, is there already, or cannot be written.
        """
        if (trial.policy, trial.index) not in self._numbers or trial.session != self.protocol.name:
            raise TrialError(
                f"trial {trial.session}/{trial.policy}/{trial.index} is not in the protocol '{self.protocol.name}'"
            )
        if self.decision is not None:
            raise TrialError(f"the session '{self.protocol.name}' has ended: its stop rule has decided")
        self._store.add(trial)
        self._take(trial)
        self._apply_stop_rule()
        if self.decision is not None:
            d = self.decision
            self._store.log(
                "stopped early",
                f"the sequential test decided for '{d.better}' after {d.decided_at} places (p {d.p_value:.4f})",
            )

    def trials(self) -> tuple[Trial, ...]:
        """Those recorded so far, in order."""
        return self._store.trials(self.protocol.name)

    def log(self, kind: str, text: str = "") -> None:
        """Log an event."""
        self._store.log(kind, text)

    def _take(self, trial: Trial) -> None:
        key = trial.policy, trial.index
        if key not in self._numbers:
            raise TrialError(f"the store holds trial {trial.policy}/{trial.index}, which the protocol does not plan")
        self._attempts[key] += 1
        self._last = trial
        if not trial.void:
            self._counted[key] = trial.success
        elif trial.void_reason.startswith(AT_RESET):
            self._resets[key] += 1

    def _apply_stop_rule(self) -> None:
        if self.protocol.stop != "sequential":
            return
        a, b = (policy.name for policy in self.protocol.policies)
        # Complete places from the first on, in the order of the plan: one that is half done ends the row
        pairs = []
        for index in range(self.protocol.trials):
            if any(self._resets[policy, index] >= RESETS for policy in (a, b)):
                continue
            if not all((policy, index) in self._counted for policy in (a, b)):
                break
            pairs.append((self._counted[a, index], self._counted[b, index]))
        if pairs:
            of_a, of_b = zip(*pairs)
            found = compare_sequentially(a, b, of_a, of_b, alpha=self.protocol.alpha)
            self.decision = found if found.decided_at is not None else None
