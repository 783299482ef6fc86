"""What is recorded of a trial, and of a session beside its trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

VerdictSource = Literal["task", "operator"]

# Shared by all trials, so that the histograms of a session add up. 40 bins a decade: 6 % wide.
LATENCY_EDGES = np.geomspace(1e-6, 10.0, 281)


class TrialError(ValueError):
    """A trial that cannot be recorded, or a store that cannot be used."""


@dataclass(frozen=True)
class LatencySummary:
    """How long the control loop took from reading the sensors to having sent the command. Seconds."""

    count: int
    p50: float
    p99: float
    maximum: float
    missed: int = 0
    """Cycles that ended after their deadline."""
    histogram: tuple[tuple[int, int], ...] = ()
    """(bin, count) of the bins of `LATENCY_EDGES` that are not empty; the last bins take the overflow."""

    @classmethod
    def of(cls, latencies: npt.ArrayLike, *, deadline: float = math.inf) -> LatencySummary:
        """Summarise one latency [s] per control cycle. Raises TrialError when there is none."""
        values = np.asarray(latencies, dtype=float).ravel()
        if len(values) == 0 or not np.isfinite(values).all() or (values < 0).any():
            raise TrialError(f"latencies: {len(values)} values, expected at least one, finite and ≥ 0")
        inside = np.clip(values, LATENCY_EDGES[0], LATENCY_EDGES[-1])
        counts, _ = np.histogram(inside, LATENCY_EDGES)
        p50, p99 = np.quantile(values, [0.5, 0.99])
        sparse = tuple((int(i), int(counts[i])) for i in np.flatnonzero(counts))
        return cls(len(values), float(p50), float(p99), float(values.max()), int((values > deadline).sum()), sparse)

    @classmethod
    def merge(cls, summaries: Sequence[LatencySummary]) -> LatencySummary:
        """All cycles of several trials; the quantiles come from the histogram and are good to 6 %."""
        if not summaries:
            raise TrialError("no latency summaries to merge; were the trials recorded with `latency`?")
        if len(summaries) == 1:
            return summaries[0]
        counts = np.zeros(len(LATENCY_EDGES) - 1, dtype=int)
        for summary in summaries:
            for i, count in summary.histogram:
                counts[i] += count
        if counts.sum() == 0:
            raise TrialError("latency summaries without histogram cannot be merged; make them with `of`")
        cumulated = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
        # Within a bin the cycles are taken as spread evenly on the logarithmic scale.
        p50, p99 = np.exp(np.interp([0.5, 0.99], cumulated, np.log(LATENCY_EDGES)))
        maximum = max(s.maximum for s in summaries)
        sparse = tuple((int(i), int(counts[i])) for i in np.flatnonzero(counts))
        total, missed = sum(s.count for s in summaries), sum(s.missed for s in summaries)
        return cls(total, min(float(p50), maximum), min(float(p99), maximum), maximum, missed, sparse)


@dataclass(frozen=True)
class Trial:
    """One attempt of one policy from one initial condition. SI units."""

    session: str
    policy: str
    """Name of the policy within the session."""
    bundle: str
    """SHA-256 of the policy bundle that drove the arm."""
    index: int
    """Number of the initial condition; equal indexes of two policies are a pair."""
    seed: int
    success: bool
    duration: float
    """From the first command to the verdict [s]."""
    initial: Mapping[str, float] = field(default_factory=dict)
    """The initial condition, e.g. the object's `x` and `y` in the base frame [m]."""
    final_distance: float | None = None
    """Distance to the goal at the end [m]; None where it cannot be measured."""
    time_to_success: float | None = None
    """From the first command until the hold was complete [s]; None for a failure."""
    hold: float = 0.0
    """Longest time without a break that the goal was held [s]."""
    interventions: Mapping[str, int] = field(default_factory=dict)
    """How often the safety filter changed or stopped a command, by its reason."""
    latency: LatencySummary | None = None
    verdict: VerdictSource = "task"
    """Source of `success`: the task's measurement or the operator's verdict."""
    automatic: bool | None = None
    """The task's measurement; None where it has none."""
    operator: bool | None = None
    """The operator's verdict; None without an operator."""
    operator_note: str = ""
    """The operator's note."""
    operator_name: str = ""
    """Who gave the operator's verdict; empty where nobody was named."""
    stopped: str = ""
    """Why the trial was ended before its time; empty if it was not."""
    void: bool = False
    """Excluded from the statistics, e.g. success at reset; the index is to be tried again."""
    void_reason: str = ""
    attempt: int = 0
    """Earlier rows of this index, which are void or whose verdict was undone."""
    parameters: Mapping[str, float] = field(default_factory=dict)
    """Sampled parameters of the simulated or virtual arm, by name."""
    observed: Mapping[str, float] = field(default_factory=dict)
    """What the simulator's labels say of the trial, such as `visible` and `contrast`, see
    `policies.scoring.failure_causes`."""
    cause: str = ""
    """Why it failed, likewise; empty for a success, or where no labels say."""
    note: str = ""

    def __post_init__(self) -> None:
        where = f"trial {self.session}/{self.policy}/{self.index}"
        if not self.session or not self.policy:
            raise TrialError(f"{where}: session and policy need a name each")
        if self.index < 0 or self.attempt < 0:
            raise TrialError(f"{where}: index {self.index}, attempt {self.attempt}, expected both ≥ 0")
        for name in ("duration", "final_distance", "time_to_success", "hold"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise TrialError(f"{where}: {name} is {value}, expected finite and ≥ 0, or None if unknown")
        if self.success and self.time_to_success is not None and self.time_to_success > self.duration + 1e-9:
            raise TrialError(f"{where}: succeeded after {self.time_to_success} s, yet lasted only {self.duration} s")
        if not self.success and self.time_to_success is not None:
            raise TrialError(f"{where}: failed, yet time_to_success is {self.time_to_success}; expected None")
        if self.void != bool(self.void_reason):
            raise TrialError(
                f"{where}: void is {self.void} and its reason is '{self.void_reason}'; give both or neither"
            )
        if self.verdict not in get_args(VerdictSource):
            raise TrialError(f"{where}: verdict '{self.verdict}', expected one of {get_args(VerdictSource)}")
        said = self.automatic if self.verdict == "task" else self.operator
        if not self.void and said is not None and said != self.success:
            raise TrialError(f"{where}: success is {self.success}, but the verdict of the {self.verdict} is {said}")


@dataclass(frozen=True)
class Event:
    """Something that happened in a session beside its trials."""

    at: str
    """UTC, ISO 8601."""
    kind: str
    """E.g. `started`, `resumed`, `paused`, `stopped early`."""
    text: str
