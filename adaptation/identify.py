"""Fits the servo model to replayed windows: CMA-ES to find the valley, Gauss–Newton to its floor.

Candidates live in the unit cube of a prior `ParameterSpace` (quantiles), so that gains, lengths and shares are
alike to the optimiser. CMA-ES: Hansen, arXiv:1604.00772, package `cma`. Gauss–Newton with bounds: SciPy's trust
region, with a Jacobian of finite differences that are large enough to see over the corners of friction and play.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from adaptation.replay import Replay
from sim.parameters import ParameterSpace

Progress = Callable[[float, str], None]
DIFFERENCE = 0.01
"""Step of the finite differences, in the unit cube."""
PRIOR_STD = 1.0 / np.sqrt(12.0)
"""Standard deviation of what is uniform in the unit interval."""


@dataclass(frozen=True)
class FitConfig:
    """How hard to look."""

    screen: int = 64
    """Random candidates to begin with."""
    evaluations: int = 560
    """Candidates that CMA-ES may try; 0 leaves it out."""
    iterations: int = 16
    """Most Jacobians that Gauss–Newton may compute."""
    seed: int = 0
    """Of everything random."""

    def validate(self) -> None:
        """Raise ValueError for a budget that makes no sense."""
        if self.screen < 1 or self.evaluations < 0 or self.iterations < 1:
            raise ValueError(
                f"screen ({self.screen}) and iterations ({self.iterations}) must be at least 1, "
                f"evaluations ({self.evaluations}) at least 0"
            )


@dataclass(frozen=True)
class Fit:
    """The best candidate and what the data says around it."""

    u: np.ndarray
    """(d,) in the unit cube."""
    free: np.ndarray
    """(d,) whether each parameter was fitted; the others stayed at their prior's middle."""
    jacobian: tuple[np.ndarray, ...]
    """Per window, (samples, n, free) derivative of the errors [rad] by `u`."""
    errors: tuple[np.ndarray, ...]
    """Per window, (samples, n) replayed minus measured [rad]."""
    sigma: np.ndarray
    """(n,) root mean square error of each joint [rad]."""
    candidates: int
    """How many candidates were replayed."""
    seconds: float
    """How long that took."""


class _Objective:
    """Weighted errors of candidates, as the optimisers want them."""

    def __init__(self, replay: Replay, space: ParameterSpace, free: np.ndarray, used: np.ndarray):
        self.replay, self.space, self.free, self.used = replay, space, free, used
        self.sigma = np.full(used.shape, 0.01)
        self.count = 0

    def full(self, x: np.ndarray) -> np.ndarray:
        u = np.full(len(self.free), 0.5)
        u[self.free] = x
        return u

    def errors(self, xs: np.ndarray) -> list[list[np.ndarray]]:
        self.count += len(xs)
        return self.replay.batch([self.space.at(self.full(x)) for x in xs])

    def weighted(self, errors: list[np.ndarray]) -> np.ndarray:
        stacked = np.concatenate(errors)[:, self.used] / self.sigma[self.used]
        return np.nan_to_num(stacked, nan=1e3, posinf=1e3, neginf=-1e3).ravel()

    def costs(self, xs: np.ndarray) -> np.ndarray:
        """Mean weighted square error, and a prior that a thousand samples would outweigh."""
        fits = np.array([np.mean(self.weighted(e) ** 2) for e in self.errors(xs)])
        return fits + 1e-3 * np.sum((xs - 0.5) ** 2, axis=1)

    def weigh_by(self, x: np.ndarray) -> None:
        """Weigh joints by how well the present candidate explains them."""
        (errors,) = self.errors(x[None])
        self.sigma = np.maximum(np.sqrt(np.mean(np.concatenate(errors) ** 2, axis=0)), 2e-4)


def fit(
    replay: Replay,
    space: ParameterSpace,
    config: FitConfig,
    fixed: tuple[str, ...] = (),
    progress: Progress | None = None,
    start: np.ndarray | None = None,
) -> Fit:
    """Find the candidate of `space` whose replay is nearest to what was measured.

    Args:
        replay: windows to fit.
        space: the prior; draws of it are the candidates.
        config: budget.
        fixed: parameters that stay at the middle of their prior.
        progress: called with the share done and a text.
        start: (d,) where to begin instead of a screening [unit cube].
    """
    config.validate()
    began = time.perf_counter()
    rng = np.random.default_rng(config.seed)
    free = np.array([p.name not in fixed and p.distribution.kind != "constant" for p in space.params])
    used = np.any([w.log.joint_used for w in replay.windows], axis=0)
    objective = _Objective(replay, space, free, used)
    d = int(free.sum())
    say = progress or (lambda share, text: None)
    if start is None:
        xs = np.vstack([np.full(d, 0.5), rng.uniform(0.1, 0.9, (config.screen - 1, d))])
        squares = np.array([_mean_squares(objective, e) for e in objective.errors(xs)])
        x = xs[np.argmin(squares[:, used].mean(axis=1))].copy()
        for index, joints in _blocks(objective)[:-1]:  # each joint's best, whatever the others did
            x[index] = xs[np.argmin(squares[:, joints].mean(axis=1)), index]
    else:
        x = np.clip(start[free], 0.0, 1.0)
    say(0.1, f"screened {config.screen}")
    if config.evaluations:
        x = _cma(objective, x, config, say)
    for stage in range(2):  # joints count alike at first, then by how well they are explained
        x = _gauss_newton(objective, x, max(1, config.iterations // 2))
        objective.weigh_by(x)
        say(0.6 + 0.2 * stage, f"Gauss–Newton {stage + 1}")
    errors, jacobian = _jacobian(objective, x)
    say(1.0, "")
    return Fit(
        objective.full(x),
        free,
        tuple(jacobian),
        tuple(errors),
        objective.sigma,
        objective.count,
        time.perf_counter() - began,
    )


def _cma(objective: _Objective, x: np.ndarray, config: FitConfig, say: Progress) -> np.ndarray:
    """Search with one CMA-ES a joint and one for what joints share, all on the same replays.

    A joint's servo shows in its own error almost alone, so each strategy has ten dimensions or fewer instead of
    all together: hundreds of candidates suffice where thousands would.
    """
    import cma

    blocks = _blocks(objective)
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
        searches.append(cma.CMAEvolutionStrategy(np.clip(x[index], 0.02, 0.98), 0.2, options))
    for generation in range(max(1, config.evaluations // size)):
        asked = [search.ask(size) for search in searches]
        xs = np.tile(x, (size, 1))
        for (index, _), rows in zip(blocks, asked):
            xs[:, index] = np.array(rows)
        squares = np.array([_mean_squares(objective, e) for e in objective.errors(xs)])  # (size, n)
        for (index, joints), search, rows in zip(blocks, searches, asked):
            pull = 1e-3 * np.sum((xs[:, index] - 0.5) ** 2, axis=1)
            search.tell(rows, list(squares[:, joints].mean(axis=1) + pull))
        share = (generation + 1) * size / config.evaluations
        say(0.1 + 0.5 * min(share, 1.0), f"CMA-ES {squares.mean(axis=1).min():.3f}")
    candidates = np.stack([x, x])
    for (index, _), search in zip(blocks, searches):
        candidates[1, index] = np.clip(search.mean, 0.0, 1.0)
    return candidates[np.argmin(objective.costs(candidates))]


def _blocks(objective: _Objective) -> list[tuple[np.ndarray, np.ndarray]]:
    """Parameters (indices into the free ones) that show in the same joints (indices), joint by joint, shared last."""
    names = [name for name, free in zip(objective.space.names, objective.free) if free]
    joints = objective.replay.dynamics.joint_names
    owner = [
        next((j for j, joint in enumerate(joints) if n.startswith("servo_") and n.endswith(f"_{joint}")), -1)
        for n in names
    ]
    found = [(np.flatnonzero(np.array(owner) == j), np.array([j])) for j in range(len(joints)) if objective.used[j]]
    found.append((np.flatnonzero(np.array(owner) == -1), np.flatnonzero(objective.used)))
    return [(index, shown) for index, shown in found if len(index) > 1]  # cma has no one-dimensional search


def _mean_squares(objective: _Objective, errors: list[np.ndarray]) -> np.ndarray:
    squares = np.mean((np.concatenate(errors) / objective.sigma) ** 2, axis=0)
    return np.nan_to_num(squares, nan=1e6, posinf=1e6)


def _jacobian(objective: _Objective, x: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Errors at `x`, and their derivative by `x`, per window."""
    steps = np.where(x + DIFFERENCE <= 1.0, DIFFERENCE, -DIFFERENCE)
    base, *moved = objective.errors(np.vstack([x, x + np.diag(steps)]))
    jacobian = []
    for w, errors in enumerate(base):
        jacobian.append(np.stack([(m[w] - errors) / h for m, h in zip(moved, steps)], axis=-1))
    return base, jacobian


def _gauss_newton(objective: _Objective, x: np.ndarray, iterations: int) -> np.ndarray:
    weight = np.sqrt(1e-3)  # of the prior, as in `costs`

    def residuals(x: np.ndarray) -> np.ndarray:
        (errors,) = objective.errors(x[None])
        values = objective.weighted(errors)
        return np.concatenate([values / np.sqrt(len(values)), weight * (x - 0.5)])

    def derivative(x: np.ndarray) -> np.ndarray:
        _, jacobian = _jacobian(objective, x)
        stacked = np.concatenate(jacobian)[:, objective.used] / objective.sigma[objective.used, None]
        rows = stacked.reshape(-1, len(x))
        return np.vstack([np.nan_to_num(rows) / np.sqrt(len(rows)), weight * np.eye(len(x))])

    found = least_squares(
        residuals, np.clip(x, 1e-6, 1 - 1e-6), derivative, bounds=(0, 1), max_nfev=iterations, xtol=1e-5, ftol=1e-5
    )
    return found.x
