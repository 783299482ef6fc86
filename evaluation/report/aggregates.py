"""One figure a method over its training seeds and over tasks, as reviewers of learning papers ask for.

The interquartile mean of the success rates, and the probability that a run of one method beats a run of
another, with stratified bootstrap intervals (Agarwal et al., NeurIPS 2021): seeds are resampled within each
task; where a task has one seed only, its trials are resampled instead, and the interval says nothing of
other seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import stats

from evaluation.session.protocol import Protocol
from evaluation.session.results import PolicyResult
from policies.scoring.intervals import Interval, bootstrap_bounds, resample_rows

RESAMPLES = 2000
Scores = Mapping[str, Sequence[tuple[int, int]]]
"""(successes, trials) of each seed, by task."""


@dataclass(frozen=True)
class MethodScore:
    """The success of one method over all its runs."""

    method: str
    runs: int
    tasks: int
    iqm: Interval
    """Interquartile mean of the success rates."""
    over_seeds: bool
    """Whether the interval speaks of other seeds; else only of other trials of these."""


@dataclass(frozen=True)
class Improvement:
    """How likely a run of `a` beats a run of `b` on a task that both did."""

    a: str
    b: str
    probability: Interval


@dataclass(frozen=True)
class Aggregates:
    """All methods, and every pair of them."""

    methods: tuple[MethodScore, ...]
    improvements: tuple[Improvement, ...]


def aggregate(
    sessions: Sequence[tuple[Protocol, Sequence[PolicyResult]]], rng: np.random.Generator
) -> Aggregates | None:
    """Aggregate over sessions; None where there is neither a second seed nor a second task."""
    scores: dict[str, dict[str, list[tuple[int, int]]]] = {}
    for protocol, results in sessions:
        methods = {policy.name: policy.method or policy.name for policy in protocol.policies}
        for result in results:
            rate = result.rate
            of_method = scores.setdefault(methods[result.policy], {})
            of_method.setdefault(protocol.task, []).append((rate.successes, rate.trials))
    several = [len(tasks) > 1 or any(len(runs) > 1 for runs in tasks.values()) for tasks in scores.values()]
    if not any(several):
        return None
    confidence = 1 - min(protocol.alpha for protocol, _ in sessions)
    methods_found = tuple(_score(method, tasks, rng, confidence) for method, tasks in scores.items())
    pairs = [
        Improvement(a, b, improvement(scores[a], scores[b], rng, confidence=confidence))
        for a, b in combinations(scores, 2)
        if scores[a].keys() & scores[b].keys()
    ]
    return Aggregates(methods_found, tuple(pairs))


def improvement(
    a: Scores, b: Scores, rng: np.random.Generator, resamples: int = RESAMPLES, confidence: float = 0.95
) -> Interval:
    """P(run of `a` > run of `b`), a tie counting one half, averaged over the tasks that both have."""
    tasks = sorted(a.keys() & b.keys())
    if not tasks:
        raise ValueError(f"the methods share no task: {sorted(a)} and {sorted(b)}")

    def probability(x: Mapping[str, np.ndarray], y: Mapping[str, np.ndarray]) -> float:
        wins = [(x[t][:, None] > y[t]).mean() + 0.5 * (x[t][:, None] == y[t]).mean() for t in tasks]
        return float(np.mean(wins))

    low, high = bootstrap_bounds(
        lambda: probability(_resampled(a, rng), _resampled(b, rng)), resamples, confidence=confidence
    )
    return Interval(probability(_rates(a), _rates(b)), float(low), float(high), confidence)


def interquartile_mean(scores: npt.ArrayLike) -> float:
    """Mean of the middle half of all scores: as robust as the median, with a smaller interval."""
    return float(stats.trim_mean(np.ravel(scores), 0.25))


def _score(method: str, tasks: Scores, rng: np.random.Generator, confidence: float) -> MethodScore:
    low, high = bootstrap_bounds(
        lambda: interquartile_mean(_flat(_resampled(tasks, rng))), RESAMPLES, confidence=confidence
    )
    iqm = Interval(interquartile_mean(_flat(_rates(tasks))), float(low), float(high), confidence)
    runs = sum(len(seeds) for seeds in tasks.values())
    return MethodScore(method, runs, len(tasks), iqm, all(len(seeds) > 1 for seeds in tasks.values()))


def _rates(tasks: Scores) -> dict[str, np.ndarray]:
    return {task: np.array([k / n for k, n in seeds]) for task, seeds in tasks.items()}


def _resampled(tasks: Scores, rng: np.random.Generator) -> dict[str, np.ndarray]:
    drawn = {}
    for task, seeds in tasks.items():
        if len(seeds) > 1:
            drawn[task] = resample_rows(np.array([k / n for k, n in seeds]), rng)
        else:
            k, n = seeds[0]
            drawn[task] = np.array([rng.binomial(n, k / n) / n])
    return drawn


def _flat(rates: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.concatenate(list(rates.values()))
