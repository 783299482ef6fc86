"""When each trial of a session ran, so that it can be cut out of the session's recordings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from evaluation.session.store import TrialStore
from evaluation.session.trials import Trial, TrialError


@dataclass(frozen=True)
class TrialSpan:
    """A trial that counts, and its time."""

    trial: Trial
    start: float
    """Of the first command [s since 1970], by the clock of the machine that recorded."""
    end: float
    """Of its last moment, before anybody was asked for a verdict."""

    def facts(self) -> dict[str, bool | int | float | str | None]:
        """Return what a data set keeps of the trial."""
        trial = self.trial
        return {
            "success": trial.success,
            "verdict": trial.verdict,
            "automatic": trial.automatic,
            "operator": trial.operator,
            "policy": trial.policy,
            "bundle": trial.bundle,
            "trial": trial.index,
            "seed": trial.seed,
            "final_distance": trial.final_distance,
            "stopped": trial.stopped,
            "note": trial.operator_note,
        }


def trial_spans(store: TrialStore, session: str) -> list[TrialSpan]:
    """Return the trials of a session that count, in the order in which they ran.

    Raises:
        TrialError: if the log is damaged, or lacks when a trial ran.
    """
    rows = {(row.kind, *row.key): row for row in store.rows() if row.kind in ("started", "measured")}
    found = []
    for trial in store.trials(session):
        if trial.void:
            continue
        key = (trial.policy, trial.index, trial.attempt)
        started, measured = rows.get(("started", *key)), rows.get(("measured", *key))
        if started is None or measured is None:
            raise TrialError(
                f"session '{session}': the log does not say when trial {trial.policy}/{trial.index} ran; trials of the "
                "simulator run outside time: export the bundle instead"
            )
        begin, end = (datetime.fromisoformat(row.at).timestamp() for row in (started, measured))
        found.append(TrialSpan(trial, max(begin, end - trial.duration), end))
    return sorted(found, key=lambda span: span.start)
