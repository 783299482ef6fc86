"""Results of a set of trials: one per policy, every pair compared, and the summary of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
from rich.table import Table

from evaluation.session.trials import LatencySummary, Trial, TrialError
from evaluation.statistics.comparison import PairedComparison, compare_paired, correct
from evaluation.statistics.confidence_sequences import rate_sequence
from policies.scoring.intervals import Interval, SuccessRate, wilson
from robots.host.writing import write_json


@dataclass(frozen=True)
class Inference:
    """What the plan fixes of the statistics."""

    alpha: float = 0.05
    """Level of the tests; intervals have the confidence 1 − `alpha`."""
    sequential: bool = False
    """Whether the session may stop by its results: tests and intervals are then valid at any stopping time."""

    @property
    def confidence(self) -> float:
        """Of the intervals."""
        return 1 - self.alpha

    def rate(self, successes: Sequence[bool]) -> SuccessRate:
        """Success rate of outcomes in the order in which they came: Wilson's interval, or the anytime-valid one."""
        if self.sequential:
            return rate_sequence(successes, self.alpha)
        return wilson(sum(successes), len(successes), self.confidence)


@dataclass(frozen=True)
class PolicyResult:
    """The trials of one policy, void ones left out of every figure."""

    policy: str
    trials: tuple[Trial, ...]
    """Those that count, by index."""
    rate: SuccessRate
    """Share of successes with the interval that the plan asks for."""
    voided: int
    """Trials that were recorded and do not count."""
    inference: Inference = field(default_factory=Inference)

    @property
    def final_distances(self) -> np.ndarray:
        """Distance to the goal at the end of each trial where it was measured [m]."""
        return np.array([t.final_distance for t in self.trials if t.final_distance is not None])

    @property
    def times_to_success(self) -> np.ndarray:
        """Time that each success took, where it was measured [s]."""
        return np.array([t.time_to_success for t in self.trials if t.time_to_success is not None])

    @property
    def interventions(self) -> Counter[str]:
        """How often the safety filter stepped in, by reason, summed over the trials."""
        total: Counter[str] = Counter()
        for trial in self.trials:
            total.update(trial.interventions)
        return total

    @property
    def latency(self) -> LatencySummary | None:
        """All control cycles of all trials."""
        known = [t.latency for t in self.trials if t.latency is not None]
        return LatencySummary.merge(known) if known else None


def policy_results(
    trials: Iterable[Trial],
    order: Sequence[str] = (),
    inference: Inference | Mapping[str, Inference] | None = None,
) -> tuple[PolicyResult, ...]:
    """One result per policy, in `order`, then by first appearance; trials come in the order of their recording.

    `inference` is that of the plan, or of each policy's plan by its name; by default a fixed number of trials at 5 %.
    Raises TrialError when one index of a policy counts twice: the trials are from different sessions.
    """
    by_policy: dict[str, list[Trial]] = {name: [] for name in order}
    for trial in trials:
        by_policy.setdefault(trial.policy, []).append(trial)
    results = []
    for policy, rows in by_policy.items():
        recorded = [t for t in rows if not t.void]
        counted = sorted(recorded, key=lambda t: t.index)
        repeated = [i for i, n in Counter(t.index for t in counted).items() if n > 1]
        if repeated:
            raise TrialError(f"policy '{policy}': trial {repeated[0]} counts twice; report one session a page")
        if counted:
            plan = inference.get(policy) if isinstance(inference, Mapping) else inference
            plan = plan or Inference()
            rate = plan.rate([t.success for t in recorded])
            results.append(PolicyResult(policy, tuple(counted), rate, len(rows) - len(counted), plan))
    return tuple(results)


def compare_all(results: Sequence[PolicyResult]) -> tuple[PairedComparison, ...]:
    """The plan's test for every pair of policies on the indexes that both tried, Holm-corrected.

    The better of the two comes first. Pairs that share no index are left out. The order of the indexes is that of the
    plan, in which the sequential test takes them.
    """
    comparisons = []
    for first, second in combinations(results, 2):
        a, b = (first, second) if first.rate.estimate >= second.rate.estimate else (second, first)
        of_a, of_b = ({t.index: t.success for t in r.trials} for r in (a, b))
        shared = sorted(of_a.keys() & of_b.keys())
        if shared:
            outcomes = [of_a[i] for i in shared], [of_b[i] for i in shared]
            plan = a.inference
            compared = compare_paired(a.policy, b.policy, *outcomes, alpha=plan.alpha, sequential=plan.sequential)
            comparisons.append(compared)
    return correct(comparisons)


def summarise_results(
    results: Sequence[PolicyResult],
    *,
    wall_time: float | None = None,
    latency: LatencySummary | None = None,
) -> dict[str, float | int | None]:
    """The figures of a run by flat keys, as `summary.json` holds them.

    `success_<policy>` with `_low`, `_high` (of the plan's confidence) and `_trials` for each policy, `wall_minutes`
    from `wall_time` [s], and `loop_p99_ms` from `latency`. What was not measured is None, never zero.
    """
    summary: dict[str, float | int | None] = {}
    for result in results:
        key = f"success_{result.policy}"
        summary[key] = result.rate.estimate
        summary[f"{key}_low"], summary[f"{key}_high"] = result.rate.low, result.rate.high
        summary[f"{key}_trials"] = result.rate.trials
    summary["wall_minutes"] = None if wall_time is None else wall_time / 60
    summary["loop_p99_ms"] = None if latency is None else latency.p99 * 1e3
    return summary


def write_summary(path: Path, summary: Mapping[str, float | int | None]) -> None:
    """Write the summary as JSON."""
    write_json(path, summary)


def level_text(interval: Interval) -> str:
    """The confidence of an interval, e.g. `95 %`."""
    return f"{100 * interval.confidence:.4g} %"


def results_table(results: Sequence[PolicyResult], title: str = "") -> Table:
    """The results as a table for the console."""
    table = Table(title=title or None, title_justify="left")
    table.add_column("policy", no_wrap=True)
    # Narrow enough for 80 columns; distance and time are medians.
    level = level_text(results[0].rate) if results else "95 %"
    for heading in ("success", level, "trials", "distance", "time", "stepped in"):
        table.add_column(heading, justify="right", no_wrap=True)
    for r in results:
        distances, times = r.final_distances, r.times_to_success
        table.add_row(
            r.policy,
            f"{100 * r.rate.estimate:.0f} %",
            f"{100 * r.rate.low:.0f}–{100 * r.rate.high:.0f} %",
            f"{r.rate.successes}/{r.rate.trials}",
            f"{100 * np.median(distances):.1f} cm" if len(distances) else "–",
            f"{np.median(times):.1f} s" if len(times) else "–",
            str(sum(r.interventions.values())),
        )
    return table
