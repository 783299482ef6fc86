"""What a report can show: all of it optional but the trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from evaluation.report.aggregates import Aggregates
from evaluation.report.failure_analysis import FailureFactor
from evaluation.report.images import Clip
from evaluation.report.sim_to_real import Transfer
from evaluation.session.results import Inference, PolicyResult, policy_results, summarise_results
from evaluation.session.trials import LatencySummary, Trial


@dataclass(frozen=True)
class PolicyCard:
    """Name and description of a policy on the page."""

    name: str
    """As in the trials."""
    label: str
    """For the reader, e.g. `randomised`."""
    description: str = ""
    """One line: how it was trained."""
    inference: Inference = field(default_factory=Inference)
    """What the plan of its session fixes of the statistics."""


@dataclass(frozen=True)
class CameraSamples:
    """Images of one domain."""

    domain: str
    """E.g. `Simulation (training)`."""
    caption: str
    """Their source, and what varies."""
    images: tuple[np.ndarray, ...]
    """RGB uint8, (height, width, 3)."""


@dataclass(frozen=True)
class DomainDifference:
    """One thing that differs between training and target."""

    what: str
    training: str
    target: str


@dataclass(frozen=True)
class DataTable:
    """A further table with a heading of its own."""

    heading: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ReportData:
    """All that a report can show. Whatever is absent leaves its section out."""

    title: str
    trials: tuple[Trial, ...]
    policies: tuple[PolicyCard, ...] = ()
    """Order and labels; policies that are not named here follow under the name they have."""
    headline: str = ""
    """The result in a sentence; written from the trials when empty."""
    setting: str = ""
    """What was tried, where, and what counts as a success."""
    date: str = ""
    success_radius: float | None = None
    """Distance to the goal that counts as reached [m]."""
    position_keys: tuple[str, str] = ("x", "y")
    """Which of a trial's initial conditions are the object's place in the base frame [m]."""
    workspace: tuple[float, float, float, float] | None = None
    """x low, x high, y low, y high [m]; by default the rectangle around all positions."""
    latency: LatencySummary | None = None
    """Of the control loop; by default all cycles of all trials."""
    loop_period: float | None = None
    """Deadline of one cycle [s]."""
    registered: Mapping[str, str] = field(default_factory=dict)
    """The registered protocol, as label and text."""
    deviations: tuple[str, ...] = ()
    """Where the session departed from its protocol."""
    failure_factors: tuple[FailureFactor, ...] = ()
    """Result of `analyse_failures`."""
    transfer: Transfer | None = None
    """Simulated success beside that on the arm."""
    aggregates: Aggregates | None = None
    """Over training seeds and tasks."""
    second_verdicts: Mapping[tuple[str, int], bool] = field(default_factory=dict)
    """The second rater's, by policy and index."""
    clips: tuple[Clip, ...] = ()
    camera: tuple[CameraSamples, ...] = ()
    """Both domains, shown side by side."""
    differences: tuple[DomainDifference, ...] = ()
    """Where the target differs from training."""
    tables: tuple[DataTable, ...] = ()
    wall_time: float | None = None
    """Of the whole run [s]."""
    made: Mapping[str, str] = field(default_factory=dict)
    """How the report was made: machine, revision, versions, seeds, target renderer, …"""
    commands: tuple[str, ...] = ()
    """Commands that repeat it."""
    shortcomings: tuple[str, ...] = ()
    """Known shortcomings, one sentence each."""

    @property
    def results(self) -> tuple[PolicyResult, ...]:
        """One result per policy, in the order of `policies`."""
        inference = {card.name: card.inference for card in self.policies}
        return policy_results(self.trials, list(inference), inference)

    @property
    def alpha(self) -> float:
        """Level of what concerns all policies; the strictest plan's where they differ."""
        return min((card.inference.alpha for card in self.policies), default=Inference().alpha)

    @property
    def loop_latency(self) -> LatencySummary | None:
        """`latency`, or all cycles of all trials that recorded theirs."""
        if self.latency is not None:
            return self.latency
        known = [t.latency for t in self.trials if t.latency is not None and not t.void]
        return LatencySummary.merge(known) if known else None

    def summary(self) -> dict[str, float | int | None]:
        """The figures that go to `summary.json`."""
        return summarise_results(self.results, wall_time=self.wall_time, latency=self.loop_latency)

    def label(self, policy: str) -> str:
        """Label of `policy` on the page."""
        return next((card.label for card in self.policies if card.name == policy), policy)
