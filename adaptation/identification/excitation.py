"""Excitation motions for the identification of an arm's dynamics.

Each joint follows a short Fourier series about the home pose (Swevers et al., IEEE T-RA 1997), faded in and out.
Amplitudes are as large as limits, self-collision and the table allow; among random phases, the one whose
regressor has the smallest condition number is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pinocchio

from adaptation.identification.torque.inertial import Motion, arm_model, friction_direction, regressor
from policies.runtime.collision import CollisionModel
from policies.runtime.limits import Box
from policies.training.progress import Progress
from robots.host.writing import write_arrays
from robots.model import RobotModel
from robots.shapes.hulls import arm_hulls

TABLE = Box((-3.0, -3.0, -1.0), (3.0, 3.0, 0.0))
"""The table: everything below the base's plane."""
SHRINK = 0.85
"""Factor on the amplitude of a motion that collides."""
STRIDE = 2.0
"""Motion between two pauses [s]."""


class ExcitationError(ValueError):
    """No safe motion was found, or the configuration is invalid."""


@dataclass(frozen=True)
class ExciteConfig:
    """Limits and shape of the motion."""

    duration: float = 40.0
    """Length [s]."""
    rate_hz: float = 100.0
    """Commands a second."""
    base_hz: float = 0.1
    """Lowest frequency of the series."""
    harmonics: int = 8
    """Number of frequencies; the highest is `harmonics` times `base_hz`."""
    reach: float = 0.6
    """Largest excursion from home [rad]."""
    share: float = 0.4
    """Share of the speed and acceleration limits that the motion may use."""
    fade: float = 2.0
    """From rest to full amplitude, and back [s]."""
    pause: float = 0.0
    """Standstill after every `STRIDE` of motion [s]: shows static friction, dead band, backlash and offset."""
    tries: int = 30
    """Number of random motions that are compared."""
    table: bool = True
    """Whether to avoid a table at the base's plane."""
    seed: int = 0
    """Of everything random."""

    def validate(self) -> None:
        """Raise ExcitationError for values out of range."""
        if not self.duration > 2 * self.fade + 2 / self.base_hz:
            raise ExcitationError(
                f"duration is {self.duration} s, expected more than {2 * self.fade + 2 / self.base_hz:.0f} s: two "
                "periods of base_hz and the fades"
            )
        if not 0 < self.share <= 0.8 or self.reach <= 0:
            raise ExcitationError(
                f"share is {self.share}, expected in (0, 0.8]; reach is {self.reach}, expected above 0"
            )
        if not 0 <= self.pause <= STRIDE:
            raise ExcitationError(f"pause is {self.pause} s, expected within [0, {STRIDE:g}]")
        if self.harmonics < 2 or self.tries < 1:
            raise ExcitationError(f"harmonics ({self.harmonics}) must be at least 2, tries ({self.tries}) at least 1")
        if self.rate_hz < 10 * self.harmonics * self.base_hz:
            raise ExcitationError(f"rate_hz is {self.rate_hz}, expected ten times the highest frequency or more")


@dataclass(frozen=True)
class Excitation:
    """A motion to execute."""

    robot: str
    """Name of the arm."""
    joint_names: tuple[str, ...]
    """Columns."""
    t: np.ndarray
    """(T,) [s]."""
    q: np.ndarray
    """(T, n) commanded positions [rad]; starts and ends at rest at home."""
    condition: float
    """Condition number of the identifiable part of the scaled regressor; smaller is better."""
    condition_median: float
    """Median of the compared motions."""
    scale: float
    """Share of the requested amplitude that is free of collisions."""
    nearest: str
    """The two checked bodies that come nearest to each other along the motion, and how near."""

    def save(self, path: Path) -> None:
        """Write an npz file with t, q and joint_names."""
        arrays = {"t": self.t, "q": self.q, "joint_names": np.array(self.joint_names), "robot": self.robot}
        write_arrays(path, arrays)


def find_excitation(
    robot: RobotModel,
    config: ExciteConfig,
    progress: Progress | None = None,
    score: Callable[[np.ndarray, np.ndarray], float] | None = None,
) -> Excitation:
    """Find a safe and informative motion for `robot`.

    Args:
        robot: the arm.
        config: limits and shape.
        progress: called with the share that is done.
        score: of times (T,) and positions (T, n), smaller is better; by default `condition_number`.

    Raises:
        ExcitationError: if the configuration is invalid, or no safe motion was found.
    """
    config.validate()
    collisions = CollisionModel(robot, arm_hulls(robot), (TABLE,) if config.table else ())
    rng = np.random.default_rng(config.seed)
    model = arm_model(robot.urdf_xml, robot.joint_names)
    t = np.arange(0.0, config.duration, 1 / config.rate_hz)
    best: tuple[float, np.ndarray, float] | None = None
    conditions, least = [], np.inf
    for i in range(config.tries):
        wave = _wave(robot, config, t, rng)
        safe, scale = _collision_free(robot, wave, collisions, config.rate_hz)
        if scale == 0.0:
            continue
        condition = condition_number(model, t, safe)
        conditions.append(condition)
        value = score(t, safe) if score else condition
        if best is None or value < least:
            best, least = (condition, safe, scale), value
        if progress:
            progress((i + 1) / config.tries, f"condition {best[0]:.0f}" if score is None else f"score {least:.3f}")
    if best is None:
        raise ExcitationError(
            f"robot '{robot.name}': no motion about its home pose keeps clear of itself and the table; "
            "give the model another home pose, or a smaller --reach"
        )
    condition, q, scale = best
    near = min(
        (collisions.nearest(row) for row in q[:: round(config.rate_hz / 20)]), key=lambda a: a.distance if a else 9.0
    )
    return Excitation(
        robot.name,
        robot.joint_names,
        t,
        q,
        condition,
        float(np.median(conditions)),
        scale,
        str(near) if near else "nothing to hit",
    )


def condition_number(model: pinocchio.Model, t: np.ndarray, q: np.ndarray, every: float = 0.1) -> float:
    """Return the condition number of the scaled regressor's identifiable part along `q` (T, n) at times `t` [s]."""
    dt = float(t[1] - t[0])
    dq = np.gradient(q, dt, axis=0)
    rows = slice(None, None, max(1, round(every / dt)))
    motion = Motion(t, q, dq, np.gradient(dq, dt, axis=0), np.zeros_like(q), friction_direction(dq, dt))[rows]
    Y = regressor(model, motion).reshape(-1, 14 * model.nv)
    norms = np.linalg.norm(Y, axis=0)
    Y = Y[:, norms > 1e-9 * norms.max()]
    values = np.linalg.svd(Y / np.linalg.norm(Y, axis=0), compute_uv=False)
    values = values[values > 1e-7 * values[0]]  # without directions that no motion excites
    return float(values[0] / values[-1])


def _wave(robot: RobotModel, config: ExciteConfig, t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random series within joint, speed and acceleration limits, (T, n) [rad]."""
    n, home = len(robot.home), np.array(robot.home)
    k = np.arange(1, config.harmonics + 1)
    w = 2 * np.pi * config.base_hz * k
    a, b = rng.standard_normal((2, n, config.harmonics)) / np.sqrt(k)  # smaller amplitudes at higher frequencies
    moved = _with_pauses(t, config.pause)[:, None]
    x = np.sin(moved * w) @ a.T + np.cos(moved * w) @ b.T
    ramp = np.clip(np.minimum(t, t[-1] - t) / config.fade, 0, 1)
    x = x * (ramp**3 * (10 - 15 * ramp + 6 * ramp**2))[:, None]  # velocity and acceleration begin at zero
    dq = np.gradient(x, t, axis=0)
    ddq = np.gradient(dq, t, axis=0)
    limits = robot.limits
    room = 0.95 * np.minimum(np.array(limits.q_high) - home, home - np.array(limits.q_low))
    factor = np.min(
        [
            np.minimum(room, config.reach) / np.abs(x).max(axis=0),
            config.share * np.array(limits.dq) / np.abs(dq).max(axis=0),
            config.share * np.array(limits.ddq) / np.abs(ddq).max(axis=0),
        ],
        axis=0,
    )
    if (factor <= 0).any():
        joint = robot.joint_names[int(np.argmin(factor))]
        raise ExcitationError(
            f"robot '{robot.name}': joint '{joint}' stands at its limit at home; give another home pose"
        )
    return home + x * factor


def _with_pauses(t: np.ndarray, pause: float) -> np.ndarray:
    """Return the time (T,) [s] along a motion that stands still for `pause` [s] after every `STRIDE`, smoothly."""
    if pause == 0.0:
        return t
    whole, rest = np.divmod(t, STRIDE + pause)
    share = np.minimum(rest / STRIDE, 1.0)
    return STRIDE * (whole + share**3 * (10 - 15 * share + 6 * share**2))


def _collision_free(
    robot: RobotModel, q: np.ndarray, collisions: CollisionModel, rate_hz: float
) -> tuple[np.ndarray, float]:
    """Scale a motion towards home until it is free of collisions; return it and the scale, 0 if there is none."""
    home = np.array(robot.home)
    scale = 1.0
    while scale > 0.1:
        path = home + scale * (q - home)
        collisions.start(path[0])
        if collisions.obstacle(path[:: max(1, round(rate_hz / 20))]) is None and collisions.obstacle(path) is None:
            return path, scale
        scale *= SHRINK
    return q, 0.0
