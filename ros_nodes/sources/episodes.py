"""Episodes of a teleoperated arm, from the operator's keys: begun, kept, discarded, taken back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from evaluation.session.demonstrations import DemonstrationLog, EpisodeOutcome
from robots.teleoperation.steering import Press

EpisodePhase = Literal["ready", "placing", "recording", "judging"]
SETTLE = 0.5
"""From placing the virtual object until the episode begins [s]."""
OUTCOMES: dict[Press, EpisodeOutcome] = {"success": "success", "failure": "failure", "discard": "discarded"}


class EpisodeKeeper:
    """Turns keys into entries of a `DemonstrationLog`."""

    def __init__(self, log: DemonstrationLog, wanted: int, listed: Callable[[int, int, str], None]):
        """Go on with `log`.

        Args:
            log: of the folder.
            wanted: how many episodes.
            listed: called with number (from 1), attempt and verdict of each episode.
        """
        self._log, self._wanted, self._listed = log, wanted, listed
        self._ended_at: float | None = log.last_recorded() if log.open is not None else None
        self._begun = self._place_until = 0.0
        self.spoiled = ""
        """Why the episode that is being recorded cannot be kept; empty while it can."""
        self._results = [trial.success for trial in log.kept()]
        for trial in log.kept():
            listed(trial.index + 1, trial.attempt, "success" if trial.success else "failure")

    @property
    def phase(self) -> EpisodePhase:
        """What goes on: an episode that was `judging` before this run was interrupted by its end."""
        if self._log.open is not None:
            return "recording" if self._ended_at is None else "judging"
        return "placing" if self._place_until else "ready"

    def counts(self, now: float) -> tuple[str, int, int, int, int, float]:
        """Return phase, number, wanted, successes, failures, seconds; `now` is monotonic [s]."""
        good = sum(self._results)
        seconds = max(0.0, now - self._begun) if self.phase == "recording" else 0.0
        number = min(len(self._results) + 1, self._wanted)
        return self.phase, number, self._wanted, good, len(self._results) - good, seconds

    def begin(self, place: Callable[[int], None] | None, not_yet: str) -> str:
        """Begin an episode, once `place` has put the object down; return a line for the operator.

        Args:
            place: puts the object of the episode with this number to its place; None where a person does.
            not_yet: why it cannot be recorded; empty if it can.
        """
        if self.phase != "ready":
            return f"an episode is {self.phase} already"
        if not_yet:
            return f"not begun: {not_yet}"
        if len(self._results) >= self._wanted:
            return f"all {self._wanted} episodes are there; Q ends, or give more --episodes"
        if place is None:
            return self._begin_now()
        place(len(self._results))
        self._place_until = time.monotonic() + SETTLE
        return f"episode {len(self._results) + 1}: placing the object"

    def update(self, now: float) -> None:
        """Begin an episode whose object is placed by `now` [s, monotonic]."""
        if self._place_until and now >= self._place_until:
            self._place_until = 0.0
            self._begin_now()

    def end(self, press: Press) -> str:
        """Give the episode its verdict, or take the last one back; return a line for the operator."""
        if self._log.open is None:
            return self._take_back() if press == "discard" else "no episode is being recorded; Space begins one"
        number, outcome = self._log.open.number + 1, OUTCOMES[press]
        if self.spoiled and outcome != "discarded":
            return f"not kept: {self.spoiled}; Backspace discards the episode"
        trial = self._log.end(outcome, time.time(), self._ended_at)
        self._ended_at, self.spoiled = None, ""
        if not trial.void:
            self._results.append(trial.success)
        self._listed(number, trial.attempt, outcome)
        kept = "discarded; Space records it again" if trial.void else f"kept as a {outcome}"
        left = self._wanted - len(self._results)
        return f"episode {number}: {trial.duration:.1f} s, {kept}; {left} to go"

    def _begin_now(self) -> str:
        self._begun = time.monotonic()
        return f"episode {self._log.begin(time.time()).number + 1}: recording"

    def _take_back(self) -> str:
        trial = self._log.take_back()
        if trial is None:
            return "there is no episode to take back"
        self._results.pop()
        self._listed(trial.index + 1, trial.attempt, "discarded")
        return f"episode {trial.index + 1}: taken back; Space records it again"
