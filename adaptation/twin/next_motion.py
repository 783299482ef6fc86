"""The motion that would narrow a posterior most.

A motion's information about every parameter is that of its replay: the derivative of the simulated joint positions at
the best candidate, weighted as the samples of the recordings are. Of many safe motions the one is chosen after which
the mean variance of the parameters, as shares of their priors', is predicted to be least (A-optimal design, Pukelsheim,
"Optimal Design of Experiments", 1993): what is widest counts most. Recordings tell less than their replays promise, as
model errors are not noise: by how much past ones fell short, parameter by parameter, the next is expected to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from adaptation.identification.excitation import Excitation, ExcitationError, ExciteConfig, find_excitation
from adaptation.identification.fit import PRIOR_STD
from adaptation.identification.objective import Objective, grouped_jacobian
from adaptation.identification.posterior import DEFAULT_WIDENING, UNKNOWN, Posterior, term_of
from adaptation.identification.replay import Replay, replay_windows
from adaptation.identification.uniform_log import UniformLog
from policies.training.progress import Progress, part, silent
from robots.model import RobotModel

HOPELESS = 100.0
"""Widening from which on a parameter keeps its prior whatever is recorded: it does not count in the design."""
LEAST_SHARE = 0.01
"""Least share of the information that replays promise which a further recording is expected to hold."""
STEP = 0.01
"""Longest time step of the predicted replays [s]."""
PAUSES = (0.0, 0.6)
"""Standstills of the motions that are compared [s]."""
Trajectory = tuple[np.ndarray, np.ndarray]
"""Times (T,) [s] and commanded positions (T, n) [rad]."""
BASES = (0.06, 0.1, 0.2)
"""Lowest frequencies of the motions that are compared [Hz]."""


@dataclass(frozen=True)
class NextMotion:
    """A motion, and what is predicted to be known after it."""

    excitation: Excitation
    """What to play."""
    std_before: np.ndarray
    """(d,) posterior standard deviations in the prior's unit cube."""
    std_after: np.ndarray
    """(d,) predicted ones."""
    names: tuple[str, ...]
    """(d,) parameters."""
    kind: str
    """Shape of the motion, for the page."""

    @property
    def narrowed(self) -> dict[str, float]:
        """Predicted factor on each standard deviation, of parameters that it can narrow, least first."""
        found = {n: float(a / b) for n, a, b in zip(self.names, self.std_after, self.std_before)}
        return dict(sorted(((n, f) for n, f in found.items() if f < 1 - 1e-6), key=lambda pair: pair[1]))

    @property
    def newly_told(self) -> tuple[str, ...]:
        """Parameters that the recordings do not tell, and are predicted to with this one."""
        limit = UNKNOWN * PRIOR_STD
        after = zip(self.names, self.std_before, self.std_after)
        return tuple(name for name, before, now in after if before >= limit > now)


def find_next_motion(
    robot: RobotModel,
    posterior: Posterior,
    config: ExciteConfig,
    past: Sequence[Trajectory] = (),
    workers: int = 2,
    progress: Progress | None = None,
) -> NextMotion:
    """Find the safe motion of `robot` that is predicted to narrow `posterior` most.

    Args:
        robot: the arm.
        posterior: of the recordings so far.
        config: its `tries` are spread over motions of several frequencies, with and without pauses.
        past: the commands of the recordings that `posterior` is of.
        workers: threads.
        progress: called with the share that is done.

    Raises:
        ExcitationError: if no safe motion was found.
    """
    predict = PredictedPosterior(robot, posterior, past, workers)
    shapes = [
        replace(config, base_hz=base, pause=pause)
        for base in BASES
        for pause in PAUSES
        if config.duration > 2 * config.fade + 2 / base and config.rate_hz >= 10 * config.harmonics * base
    ] or [config]
    tries = max(1, config.tries // len(shapes))
    say = progress or silent
    found: list[tuple[float, Excitation, ExciteConfig]] = []
    refused: ExcitationError | None = None
    for i, shape in enumerate(shapes):
        own = replace(shape, tries=tries, seed=config.seed + i)
        try:
            motion = find_excitation(robot, own, part(say, i / len(shapes), (i + 1) / len(shapes)), predict.score)
        except ExcitationError as error:
            refused = error
            continue
        found.append((predict.score(motion.t, motion.q), motion, shape))
    if not found:
        assert refused is not None
        raise refused
    _, motion, shape = min(found, key=lambda each: each[0])
    kind = f"from {shape.base_hz:g} Hz" + (f", standing still for {shape.pause:g} s now and then" * (shape.pause > 0))
    return NextMotion(motion, posterior.std, predict.std(motion.t, motion.q), posterior.prior.names, kind)


class PredictedPosterior:
    """Predicts a posterior after one more recording."""

    def __init__(self, robot: RobotModel, posterior: Posterior, past: Sequence[Trajectory] = (), workers: int = 2):
        """Prepare for recordings of `robot` that are added to those of `posterior`, whose commands are `past`.

        Raises:
            ValueError: if the posterior does not say what a sample tells.
        """
        if posterior.weight is None:
            raise ValueError("the posterior has no weights of samples; identify the arm again")
        self._robot, self._posterior, self._workers = robot, posterior, workers
        space = posterior.prior
        self._free = np.array([p.distribution.kind != "constant" for p in space.params])
        names = [name for name, free in zip(space.names, self._free) if free]
        widening = np.array([posterior.widening.get(term_of(name), DEFAULT_WIDENING) for name in names])
        self._counts = widening < HOPELESS
        index = np.ix_(self._free, self._free)
        known = np.linalg.inv(posterior.covariance[index])
        self._known = known
        # widened intervals are those of information that is divided by the factors
        self._shrink = 1.0 / np.outer(widening, widening)
        self._weight = np.where(posterior.weight > 0, posterior.weight, np.median(posterior.weight))
        if past:
            promised = np.eye(len(names)) / PRIOR_STD**2 + self._shrink * sum(self._told(t, q) for t, q in past)
            gained, hoped = (
                PRIOR_STD**2 / np.diag(C) - 1.0 for C in (posterior.covariance[index], np.linalg.inv(promised))
            )
            share = np.sqrt(np.clip(gained / np.maximum(hoped, 1e-9), LEAST_SHARE, 1.0))
            self._shrink = self._shrink * np.outer(share, share)

    def std(self, t: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Return the predicted standard deviations (d,) in the unit cube, after the motion `q` (T, n) [rad] at `t`."""
        found = self._posterior.std.copy()
        index = np.flatnonzero(self._free)[self._counts]
        found[index] = np.minimum(found[index], np.sqrt(np.diag(self._covariance(t, q)))[self._counts])
        return found

    def score(self, t: np.ndarray, q: np.ndarray) -> float:
        """Return the predicted mean variance, over the prior's, of what can be told; smaller is better."""
        return float(np.mean(np.diag(self._covariance(t, q))[self._counts]) / PRIOR_STD**2)

    @property
    def score_now(self) -> float:
        """The same without another recording."""
        variance = np.diag(self._posterior.covariance)[self._free]
        return float(np.mean(variance[self._counts]) / PRIOR_STD**2)

    def _covariance(self, t: np.ndarray, q: np.ndarray) -> np.ndarray:
        return np.linalg.inv(self._known + self._told(t, q) * self._shrink)

    def _told(self, t: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Return the information (k, k) of a motion's replay about the free parameters."""
        period = float(t[1] - t[0])
        n = len(self._robot.joint_names)
        log = UniformLog("planned", period, q, q, ((0, len(q)),), np.ones(n, bool))
        replay = Replay(self._robot, replay_windows([log]), self._workers, STEP)
        objective = Objective(replay, self._posterior.prior, self._free, np.ones(n, bool))
        _, jacobian = grouped_jacobian(objective, self._posterior.u[self._free])
        J = np.nan_to_num(np.concatenate(jacobian))
        return np.einsum("tni,n,tnj->ij", J, self._weight, J)
