"""Summary of a policy's commands in shadow mode, and the file that records that the operator has read it.

Robot side: numpy only, with the safety filter's own limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from policies.bundle import PolicyBundle
from policies.runtime.collision import CollisionModel
from policies.runtime.limits import SafetyLimits
from robots.host.reading import FileError, read_json
from robots.host.writing import write_json

FEWEST = 20
"""Least number of commands of a dry run."""
OLD_FRAME = 0.06
"""Age of a frame from which on it is reported [s]: training has up to 0.1 s, with the action's delay."""
NOTICED = 1e-3
"""Least approach of two links by a command that is reported [m]."""
NEAR = 0.05
"""Distance of links below which their approach is reported [m]."""


class DryRunError(ValueError):
    """A dry run is too short, not confirmed, or of another bundle."""


@dataclass(frozen=True)
class DryRun:
    """Summary of a run in shadow mode."""

    bundle: str
    """SHA-256 of the bundle."""
    arm: str
    """Name of the arm."""
    commands: int
    """Number of the policy's commands."""
    rate_hz: float
    """Number per second."""
    state_age_p99: float
    """Age of the joint state [s]."""
    frame_age_p99: float
    """Age of the oldest frame [s]; NaN without cameras."""
    largest_step: float
    """Largest distance of a command from where the arm stood, any joint [rad]."""
    largest_step_joint: str
    """That joint."""
    ee_direction: tuple[float, float, float]
    """Mean way of the end effector that one command asks for, base frame [m]."""
    limited: Mapping[str, int]
    """Commands that the gate would have changed or refused, by reason."""
    nearest: str
    """The pair of links, or link and box, with the least room at a command; empty where there is plenty."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the operator should think about before the arm moves."""
        found = []
        if self.frame_age_p99 > OLD_FRAME:
            found.append(f"frames are up to {1e3 * self.frame_age_p99:.0f} ms old (expected {1e3 * OLD_FRAME:.0f})")
        for reason, count in sorted(self.limited.items()):
            found.append(f"{count} of {self.commands} commands meet '{reason}'")
        if self.nearest:
            found.append(f"a command brings {self.nearest}")
        if self.largest_step == 0:
            found.append("no command asks for any motion")
        return tuple(found)

    def text(self) -> str:
        """Write the summary."""
        x, y, z = (1e3 * v for v in self.ee_direction)
        lines = [
            f"dry run of bundle {self.bundle[:12]} on '{self.arm}'",
            f"  {self.commands} commands, {self.rate_hz:.1f} a second",
            f"  joint states {1e3 * self.state_age_p99:.0f} ms old, frames {1e3 * self.frame_age_p99:.0f} ms (p99)",
            f"  largest step {self.largest_step:.3f} rad, joint '{self.largest_step_joint}'",
            f"  the end effector sets out by ({x:+.1f}, {y:+.1f}, {z:+.1f}) mm a command, base frame: to the task?",
        ]
        return "\n".join(lines + [f"  mind: {warning}" for warning in self.warnings])

    def save(self, path: Path, operator: str) -> None:
        """Write the confirmed summary."""
        write_json(path, {"confirmed_by": operator, **asdict(self)})


def summarise_dry_run(
    bundle: PolicyBundle,
    limits: SafetyLimits,
    collision: CollisionModel | None,
    q: np.ndarray,
    commands: np.ndarray,
    latencies: np.ndarray,
    duration: float,
) -> DryRun:
    """Sum up a shadow run.

    Args:
        bundle: the policy.
        limits: the gate's.
        collision: the gate's.
        q: (N, n) where the arm stood at each command [rad].
        commands: (N, n) what the policy asked for [rad].
        latencies: (M, 5) as on /policy/latency [s].
        duration: how long it was watched [s].

    Raises:
        DryRunError: if there are too few commands.
    """
    if len(commands) < FEWEST or len(latencies) == 0:
        raise DryRunError(
            f"dry run: {len(commands)} commands in {duration:.0f} s, expected at least {FEWEST}; is the policy node "
            "active, in shadow mode? see /policy/state"
        )
    steps = np.abs(commands - q)
    joint = int(np.nanmax(steps, axis=0).argmax())
    p0, p1 = bundle.robot.chain.positions(q), bundle.robot.chain.positions(commands)
    low, high = np.array(limits.workspace.low), np.array(limits.workspace.high)
    finite = np.isfinite(commands).all(1)
    limited: Counter[str] = Counter()
    limited["command_invalid"] = int((~finite).sum())
    limited["command_jump"] = int((steps.max(1) > limits.command_jump).sum())
    limited["position_limit"] = int(((commands < limits.q_low) | (commands > limits.q_high)).any(1).sum())
    limited["workspace"] = int(((p1 < low) | (p1 > high)).any(1).sum())
    nearest = ""
    if collision is not None:
        # Links that stand near each other always are no news: only what a command brings nearer than it is
        before = [collision.distances(row) for row in q[finite]]
        after = [collision.distances(row) for row in commands[finite]]
        nearing = [np.where(b < a - NOTICED, b, np.inf) - collision.margins for a, b in zip(before, after)]
        if nearing and np.min(nearing) < NEAR:
            worst = int(np.min(nearing, axis=0).argmin())
            first, second = collision.pairs[worst]
            least = float(np.min([row[worst] for row in after]))
            nearest = f"'{first}' to {1e3 * least:.0f} mm from '{second}'"
    way = np.nanmean(p1 - p0, axis=0)
    return DryRun(
        bundle.hash,
        bundle.robot.name,
        len(commands),
        len(commands) / duration,
        float(np.percentile(latencies[:, 0], 99)),
        float(np.percentile(latencies[:, 1], 99)),
        float(np.nanmax(steps)),
        bundle.robot.joint_names[joint],
        (float(way[0]), float(way[1]), float(way[2])),
        {reason: count for reason, count in limited.items() if count},
        nearest,
    )


def check_confirmed(path: Path, bundle: PolicyBundle) -> None:
    """Refuse unless the file at `path` confirms a dry run of this very bundle.

    Raises:
        DryRunError: with what is missing.
    """
    again = f"sim2real dry-run --bundle <path> --out {path}"
    try:
        found = read_json(path, "dry run")
    except FileError as error:
        raise DryRunError(f"{error}; make one in shadow mode: {again}") from None
    operator, digest = str(found.get("confirmed_by", "")), str(found.get("bundle", ""))
    if not operator:
        raise DryRunError(f"dry run '{path}': not confirmed; make another: {again}")
    if digest != bundle.hash:
        raise DryRunError(
            f"dry run '{path}' is of bundle {digest[:12]}, this one is {bundle.hash[:12]}; make one with it: {again}"
        )
