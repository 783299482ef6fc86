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
    evaluations: int = 400
    """Candidates that CMA-ES may try; 0 leaves it out."""
    iterations: int = 12
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
    free = np.array([name not in fixed for name in space.names])
    used = np.any([w.log.joint_used for w in replay.windows], axis=0)
    objective = _Objective(replay, space, free, used)
    d = int(free.sum())
    say = progress or (lambda share, text: None)
    if start is None:
        xs = np.vstack([np.full(d, 0.5), rng.uniform(0.2, 0.8, (config.screen - 1, d))])
        costs = objective.costs(xs)
        x = xs[np.argmin(costs)]
    else:
        x = np.clip(start[free], 0.0, 1.0)
    objective.weigh_by(x)
    say(0.1, f"screened {config.screen}")
    if config.evaluations:
        x = _cma(objective, x, config, say)
    for stage in range(2):  # the weights follow the errors
        objective.weigh_by(x)
        x = _gauss_newton(objective, x, max(1, config.iterations // 2))
        say(0.6 + 0.2 * stage, f"Gauss–Newton {stage + 1}")
    objective.weigh_by(x)
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
    import cma

    options = {
        "bounds": [0, 1],
        "seed": config.seed + 1,  # cma takes 0 for the clock
        "maxfevals": config.evaluations,
        "verbose": -9,
        "verb_log": 0,
        "CMA_diagonal": True,  # dozens of parameters and a few hundred candidates
    }
    search = cma.CMAEvolutionStrategy(np.clip(x, 0.02, 0.98), 0.15, options)
    while not search.stop():
        xs = search.ask()
        search.tell(xs, list(objective.costs(np.array(xs))))
        say(0.1 + 0.5 * search.countevals / config.evaluations, f"CMA-ES {search.best.f:.3f}")
    return np.array(search.best.x)


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
