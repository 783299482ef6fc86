"""Fit the servo model to replayed windows: multi-start over delay and lead, Gauss–Newton, CMA-ES, Gauss–Newton.

Delay, lead and damping over gain have similar effects, so that the error has a long curved valley with several minima:
the search starts in every part of it, and continues from the best few.

CMA-ES: Hansen, arXiv:1604.00772, package `cma`.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from adaptation.identification.objective import (
    COARSE,
    FLOOR,
    PULL,
    Objective,
    blocks_of,
    central_jacobian,
    descend_reweighted,
    forward_jacobian,
    gauss_newton,
)
from adaptation.identification.replay import Replay
from policies.training.progress import Progress, silent
from sim.randomization.parameters import ParameterSpace

EXTRA, OUTLYING = 6, 1.4
"""Joints whose error is `OUTLYING` times the median joint's are restarted up to `EXTRA` times as often."""
PRIOR_STD = 1.0 / np.sqrt(12.0)
"""Standard deviation of the uniform distribution on the unit interval."""


@dataclass(frozen=True)
class FitConfig:
    """Search budget."""

    delays: int = 6
    """Number of start delays, evenly over the prior."""
    leads: int = 3
    """Number of start leads for each delay."""
    screen: int = 16
    """Random servo parameters at each start; every joint takes its best."""
    descent: int = 6
    """Largest number of Jacobians of each start."""
    kept: int = 3
    """Number of best starts that are continued."""
    rounds: int = 4
    """Number of restarts of every joint with the others fixed; 0 for none."""
    evaluations: int = 280
    """Candidates of CMA-ES around the best; 0 for none."""
    iterations: int = 24
    """Largest number of Jacobians of the continued starts, of either kind, and again after CMA-ES."""
    search_step: float = 0.01
    """Longest time step while searching [s]; its error is about an encoder's step."""
    final_step: float = 0.0025
    """Longest time step at the end [s]; its error must be small against the intervals."""
    seed: int = 0
    """Of everything random."""

    def validate(self) -> None:
        """Raise ValueError for a budget out of range."""
        counts = ("delays", "leads", "screen", "descent", "kept", "iterations")
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        for name in ("search_step", "final_step"):
            if not 0 < getattr(self, name) <= 0.02:
                raise ValueError(f"{name} is {getattr(self, name)} s, expected above 0, at most 0.02 s")
        for name in ("rounds", "evaluations"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 (leave it out) or more")


QUICK = FitConfig(delays=3, leads=1, screen=6, descent=3, kept=1, rounds=0, evaluations=0, iterations=4)
"""About a tenth of the time; may miss the minimum."""
BRIEF = FitConfig(
    delays=4, leads=2, screen=6, descent=4, kept=1, rounds=1, evaluations=0, iterations=8, final_step=0.005
)
"""About a quarter; `posterior.WIDENING` was calibrated, and recovery is measured, with this budget."""


@dataclass(frozen=True)
class Fit:
    """The best candidate, with derivatives and errors."""

    u: np.ndarray
    """(d,) in the unit cube."""
    free: np.ndarray
    """(d,) whether each parameter was fitted; the others are at the median of their prior."""
    jacobian: tuple[np.ndarray, ...]
    """Per window, (samples, n, free) derivative of the errors [rad] by `u`, over short steps."""
    coarse: tuple[np.ndarray, ...]
    """The same over longer steps; the difference of both is numerical noise."""
    errors: tuple[np.ndarray, ...]
    """Per window, (samples, n) replayed minus measured [rad]."""
    sigma: np.ndarray
    """(n,) root mean square error of each joint [rad]."""
    candidates: int
    """Number of replayed candidates."""
    simulator_steps: int
    """Simulated time steps."""
    seconds: float
    """Duration of the fit."""
    quick: bool = False
    """Whether the search had the budget `QUICK` only."""


def fit_servo(
    replay: Replay,
    space: ParameterSpace,
    config: FitConfig,
    fixed: tuple[str, ...] = (),
    progress: Progress | None = None,
    start: np.ndarray | None = None,
) -> Fit:
    """Find the candidate of `space` whose replay is nearest to the measurements.

    Args:
        replay: windows to fit.
        space: the prior; draws of it are the candidates.
        config: budget.
        fixed: parameters that stay at the median of their prior.
        progress: called with the share done and a text.
        start: (d,) start in the unit cube, instead of the multi-start.
    """
    config.validate()
    began = time.perf_counter()
    free = np.array([p.name not in fixed and p.distribution.kind != "constant" for p in space.params])
    used = np.any([w.log.joint_used for w in replay.windows], axis=0)
    objective = Objective(replay.at_step(config.search_step), space, free, used)
    say = progress or silent
    if start is not None:
        kept = [np.clip(start[free], 0.0, 1.0)]
    else:
        ends = _multi_start(objective, config, say)
        kept = [x for _, x in ends[: config.kept]]
    found = []
    for i, x in enumerate(kept):
        x = descend_reweighted(objective, x, config.iterations, grouped=True)
        x = _restart_joints(objective, x, config)
        x = descend_reweighted(objective, x, config.iterations)
        found.append((objective.nll(x), x))
        say(0.5 + 0.25 * (i + 1) / len(kept), f"error {_milliradians(objective, x):.2f} mrad")
    nll, x = min(found, key=lambda pair: pair[0])
    if config.evaluations:
        objective.reweight(x)
        other = descend_reweighted(objective, _cma(objective, x, config, say), config.iterations)
        if objective.nll(other) < nll:
            x = other
    objective = objective.at_step(config.final_step)
    objective.reweight(x)
    x = gauss_newton(objective, x, max(2, config.iterations // 4), forward_jacobian)
    objective.reweight(x)
    errors, jacobian = central_jacobian(objective, x)
    rough = objective.at_step(config.search_step)  # also excludes errors of the time step
    _, coarse = central_jacobian(rough, x, COARSE)
    objective.count, objective.steps = rough.count, rough.steps
    say(1.0, "")
    return Fit(
        objective.full(x),
        free,
        tuple(jacobian),
        tuple(coarse),
        tuple(errors),
        objective.sigma,
        objective.count,
        objective.steps,
        time.perf_counter() - began,
        replace(config, seed=QUICK.seed) == QUICK,
    )


def _multi_start(objective: Objective, config: FitConfig, say: Progress) -> list[tuple[float, np.ndarray]]:
    """Descend a few steps from every delay and lead; return (nll, x), best first."""
    names = [name for name, free in zip(objective.space.names, objective.free) if free]
    blocks = blocks_of(objective)
    seeds = np.random.SeedSequence(config.seed).spawn(config.delays * config.leads)

    def begin(task: tuple[np.random.SeedSequence, dict[str, float]]) -> tuple[float, np.ndarray, Objective]:
        seed, at = task
        own = objective.for_thread()
        xs = np.random.default_rng(seed).uniform(0.1, 0.9, (config.screen, len(names)))
        xs[0] = 0.5
        for name, u in at.items():
            if name in names:
                xs[:, names.index(name)] = u
        for index in (index for index, joints in blocks if len(joints) > 1):
            xs[:, [i for i in index if names[i] not in at]] = 0.5
        squares = np.array([own.squares(own.one(x)) for x in xs])
        x = xs[0].copy()
        for index, joints in blocks:
            if len(joints) == 1:  # joint by joint
                x[index] = xs[np.argmin(squares[:, joints[0]]), index]
        x = descend_reweighted(own, x, config.descent, grouped=True)
        return own.nll(x), x, own

    delays = (np.arange(config.delays) + 0.5) / config.delays
    leads = (np.arange(config.leads) + 0.5) / config.leads
    tasks = [(seed, {"servo_delay": a, "servo_lead": b}) for seed, (a, b) in zip(seeds, product(delays, leads))]
    ends = []
    with ThreadPoolExecutor(objective.replay.workers) as pool:  # the compiled replay frees the GIL
        for done, (nll, x, own) in enumerate(pool.map(begin, tasks)):
            objective.count += own.count
            objective.steps += own.steps
            ends.append((nll, x))
            say(0.5 * (done + 1) / len(tasks), f"start {done + 1} of {len(tasks)}")
    return sorted(ends, key=lambda pair: pair[0])


def _restart_joints(objective: Objective, x: np.ndarray, config: FitConfig) -> np.ndarray:
    """Restart each joint's servo parameters, and keep them where that joint's error falls.

    With the shared delay and lead, one joint may be in a local minimum (torque limit, friction) while the others are
    not. Joints with errors well above the median get more rounds.
    """
    rng = np.random.default_rng(config.seed)
    blocks = [(index, joints[0]) for index, joints in blocks_of(objective) if len(joints) == 1]
    best = objective.squares(objective.one(x))
    used = objective.used
    for round_ in range(EXTRA * config.rounds):
        again = best > OUTLYING**2 * np.median(best[used]) if round_ >= config.rounds else used
        mine = [(index, joint) for index, joint in blocks if again[joint]]
        if not mine:
            break
        xs = np.tile(x, (4 * config.screen, 1))
        for index, _joint in mine:
            redrawn = rng.random((len(xs), len(index))) < rng.choice([0.35, 1.0], (len(xs), 1))
            xs[:, index] = np.where(redrawn, rng.uniform(0.02, 0.98, redrawn.shape), xs[:, index])
        squares = np.array([objective.squares(errors) for errors in objective.errors(xs)])
        new = x.copy()
        for index, joint in mine:
            new[index] = xs[np.argmin(squares[:, joint]), index]
        new = descend_reweighted(objective, new, 2 * config.descent, grouped=True)
        squares = objective.squares(objective.one(new))
        merged = x.copy()
        better = [index for index, joint in mine if squares[joint] < best[joint]]
        if not better:
            continue
        for index in better:
            merged[index] = new[index]
        merged = descend_reweighted(objective, merged, config.descent, grouped=True)
        squares = objective.squares(objective.one(merged))
        if np.sum(np.log(squares[used] + FLOOR**2)) < np.sum(np.log(best[used] + FLOOR**2)):
            x, best = merged, squares
    return x


def _milliradians(objective: Objective, x: np.ndarray) -> float:
    return float(1e3 * np.sqrt(objective.squares(objective.one(x))[objective.used].mean()))


def _cma(objective: Objective, x: np.ndarray, config: FitConfig, say: Progress) -> np.ndarray:
    """Search around `x` with one CMA-ES for each joint and one for shared parameters, all on the same replays.

    A joint's servo affects almost only its own error, so each strategy has about ten dimensions, and needs only
    hundreds of candidates.
    """
    import cma

    blocks = [(index, joints) for index, joints in blocks_of(objective) if len(index) > 1]  # cma needs two dimensions
    size = 14
    searches = []
    for k, (index, _) in enumerate(blocks):
        options = {
            "bounds": [0, 1],
            "seed": config.seed * len(blocks) + k + 1,  # cma takes 0 for the clock
            "popsize": size,
            "verbose": -9,
            "verb_log": 0,
            "tolfun": 0.0,
        }
        searches.append(cma.CMAEvolutionStrategy(np.clip(x[index], 0.01, 0.99), 0.08, options))
    for generation in range(max(1, config.evaluations // size)):
        asked = [search.ask(size) for search in searches]
        xs = np.tile(x, (size, 1))
        for (index, _), rows in zip(blocks, asked):
            xs[:, index] = np.array(rows)
        squares = np.array([objective.squares(e) for e in objective.errors(xs)]) / objective.sigma**2  # (size, n)
        for (index, joints), search, rows in zip(blocks, searches, asked):
            pull = PULL * np.sum((xs[:, index] - 0.5) ** 2, axis=1)
            search.tell(rows, list(squares[:, joints].mean(axis=1) + pull))
        share = (generation + 1) * size / config.evaluations
        say(0.75 + 0.2 * min(share, 1.0), "CMA-ES")
    found = x.copy()
    for (index, _), search in zip(blocks, searches):
        found[index] = np.clip(search.mean, 0.0, 1.0)
    return found
