"""The last check before a joint command leaves: limits, workspace, staleness, faults.

`SafetyFilter` turns the policy's few targets a second into a dense stream of setpoints whose position,
velocity, acceleration and jerk stay inside `SafetyLimits`, whatever comes in. It keeps one invariant:
from every setpoint that it gives out it has already computed and checked a whole stopping motion. The
next setpoint is taken only if it has such a motion too; otherwise, and after every fault, the arm
follows the one that is known to be good.

Robot side: numpy and ruckig; pinocchio and coal behind `CollisionModel`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ruckig import (
    ControlInterface,
    InputParameter,
    OutputParameter,
    Result,
    Ruckig,
    RuckigError,
    Synchronization,
    Trajectory,
)

from policies.runtime.collision import CollisionModel
from policies.runtime.limits import SafetyError, SafetyLimits
from policies.runtime.motion import PlannedMotion
from policies.runtime.strain import Strain
from policies.runtime.workspace import into_workspace
from robots.dynamics import GravitySag
from robots.model import RobotModel
from robots.observation import RobotState

SLACK = 1e-9
"""Rounding that a limit check forgives [SI]."""
START_OUTSIDE_Q = 0.05
"""How far outside a joint limit an arm may stand and still be started, to be moved back in [rad]."""
START_OUTSIDE_P = 0.03
"""The same for the end effector and the workspace [m]."""
STALL_TIME = 0.3
"""How long a joint may stay behind without moving [s]."""
STALL_MOVE = 0.02
"""A joint that moves further than this is not blocked [rad]."""


@dataclass(frozen=True)
class Command:
    """One joint target of the policy."""

    q: np.ndarray
    """(n,) joint positions [rad]."""
    stamp: float
    """When it arrived [s], on the caller's clock."""
    opening: float | None = None
    """Where it wants the fingers [m]; None for a policy that has none. `policies.runtime.gripper` judges it."""


@dataclass(frozen=True)
class Setpoint:
    """What may be sent to the controller now."""

    q: np.ndarray
    """(n,) [rad]."""
    dq: np.ndarray
    """(n,) [rad/s]."""
    ddq: np.ndarray
    """(n,) [rad/s²]."""
    reasons: tuple[str, ...]
    """Why this is not what was commanded: keys of `SafetyFilter.counts`; empty if nothing was changed."""
    opening: float | None = None
    """Commanded opening of the fingers [m]; None where they are not commanded."""
    grip: float | None = None
    """Where they are to end [m]; None while they stay as they are."""


class SafetyFilter:
    """Limits one arm's commands. Called once a control period, it moves the setpoint by one period."""

    def __init__(self, robot: RobotModel, limits: SafetyLimits, dt: float, collision: CollisionModel | None = None):
        """Prepare for setpoints `dt` [s] apart. Nothing may be sent before `reset`.

        With a `collision` model no setpoint is given out from which the arm could not stop before it comes too near to
        itself or to a keep-out box.

        Raises:
            SafetyError: if the limits are another arm's.
        """
        if limits.joint_names != robot.joint_names:
            raise SafetyError(f"limits are for {limits.joint_names}, the robot has {robot.joint_names}")
        self.limits = limits
        self.counts: Counter[str] = Counter()
        """Interventions so far, by reason."""
        self.fault = ""
        """Why the arm was stopped for good, in a sentence; empty while all is well."""
        self._chain = robot.chain
        self._collision = collision
        self._blocked = "brake"
        self.approach = ""
        """What the last braking kept the arm from, in a sentence; empty while nothing is near."""
        self._dt = dt
        self._n = n = len(robot.joint_names)
        self._low, self._high = np.array(limits.q_low), np.array(limits.q_high)
        self._tau = np.array(limits.tau)
        self._strain = Strain(limits)
        self.sag = GravitySag(robot)
        """How far the arm hangs from its setpoints."""
        self._dq, self._jerk = np.array(limits.dq), np.array(limits.jerk)
        self._p_low, self._p_high = np.array(limits.workspace.low), np.array(limits.workspace.high)
        self._follow, self._out = Ruckig(n, dt), OutputParameter(n)
        self._towards = InputParameter(n)
        self._towards.max_velocity = list(limits.dq)
        self._towards.max_acceleration = list(limits.ddq)
        self._towards.max_jerk = list(limits.jerk)
        self._brake = Ruckig(n)
        self._to_rest = InputParameter(n)
        self._to_rest.control_interface = ControlInterface.Velocity
        self._to_rest.synchronization = Synchronization.No  # each joint stops as fast as it can
        self._to_rest.max_acceleration = list(limits.ddq)
        self._to_rest.max_jerk = list(limits.jerk)
        self._to_rest.target_velocity = [0.0] * n
        # numba compiles now, not in motion
        self._chain.step_towards(np.array(robot.home), np.zeros(3), robot.R_home)
        self._chain.pose(np.array(robot.home))
        self._q: np.ndarray | None = None
        self._command: Command | None = None
        self._stopping = False
        self._stall: tuple[float, np.ndarray] | None = None
        self._strained: float | None = None  # stamp of the first sample with too much torque

    @property
    def q(self) -> np.ndarray | None:
        """The last setpoint (n,) [rad]; None before `reset`."""
        return None if self._q is None else self._q.copy()

    @property
    def at_rest(self) -> bool:
        """Whether the setpoint stands still."""
        return self._q is None or not (np.abs(self._v).max() > 1e-9 or np.abs(self._a).max() > 1e-6)

    def reset(self, q: np.ndarray) -> None:
        """Start at rest at the measured positions `q` [rad], and clear the fault.

        An arm that stands slightly outside its limits may be started; it can move inwards only.

        Raises:
            SafetyError: if `q` is not finite or is far outside the limits or the workspace.
        """
        q = np.array(q, np.float64)
        if q.shape != (self._n,) or not np.isfinite(q).all():
            raise SafetyError(f"measured joint positions are {q.tolist()}, expected {self._n} finite numbers")
        low, high = np.array(self.limits.q_low), np.array(self.limits.q_high)
        outside = np.maximum(low - q, q - high)
        worst = int(outside.argmax())
        if outside[worst] > START_OUTSIDE_Q:
            raise SafetyError(
                f"joint '{self.limits.joint_names[worst]}' is at {q[worst]:.3f} rad, outside its limits "
                f"[{low[worst]:.3f}, {high[worst]:.3f}]; bring it back with the arm's own means"
            )
        p = self._chain.positions(q[None])[0]
        p_low, p_high = np.array(self.limits.workspace.low), np.array(self.limits.workspace.high)
        if np.maximum(p_low - p, p - p_high).max() > START_OUTSIDE_P:
            raise SafetyError(
                f"the end effector is at {np.round(p, 3).tolist()} m, outside the workspace {p_low.tolist()} to "
                f"{p_high.tolist()}; bring it back with the arm's own means, or set another workspace"
            )
        if self._collision is not None:
            self._collision.start(q)
        self._low, self._high = np.minimum(low, q), np.maximum(high, q)
        self._p_low, self._p_high = np.minimum(p_low, p), np.maximum(p_high, p)
        self._q, self._v, self._a = q, np.zeros(self._n), np.zeros(self._n)
        self._stop_path = self._stop_from(q, self._v, self._a)
        self._stop_time = 0.0
        self._travelled = (self._stop_path, 0.0, 0.0)
        self._command, self._stall, self._strained = None, None, None
        self._target = q.copy()
        self._stopping = False
        self.fault = ""

    def stop(self, key: str, reason: str) -> None:
        """Stop in a controlled way and stay stopped until `reset`; counted under `key`."""
        if not self.fault:
            self.fault = reason
            self.counts[key] += 1
        self._stopping = True

    def release(self) -> None:
        """Come to rest because the policy is done; a new command sets out again."""
        self._command = None
        self._stopping = True

    def filter(self, command: Command | None, state: RobotState | None, now: float) -> Setpoint:
        """Move the setpoint by one period towards `command`.

        Args:
            command: the policy's newest target; the same object again where none came since. None where none
                came since `reset` or `release`.
            state: the newest measured state, stamped on the clock of `now`.
            now: [s].

        Raises:
            SafetyError: before the first `reset`.
        """
        if self._q is None:
            raise SafetyError("no command may leave before the filter was reset to a measured state")
        reasons: list[str] = []
        if not self.fault:
            self._check_state(state, now)
        if not self.fault and command is not None:
            self._check_command(command, now)
        if self.fault:
            self._follow_stop()
            return self._setpoint(("fault",))
        if command is not None and command is not self._command:
            self._accept(command, reasons)
        if self._stopping or self._command is None:
            self._follow_stop()
        elif not self._advance():
            reasons.append(self._blocked)
            self._follow_stop()
        self.counts.update(reasons)
        return self._setpoint(tuple(reasons))

    def ahead(self) -> PlannedMotion:
        """Return the motion of the last period, which ends at the present setpoint, and from there the way to rest."""
        assert self._stop_path is not None
        stopping = PlannedMotion.along(self._stop_path, self._stop_time, self._stop_path.duration)
        stopping.dq[-1] = stopping.ddq[-1] = 0.0  # the path's last numbers differ from rest by rounding
        return PlannedMotion.along(*self._travelled).then(stopping)

    def skip(self) -> None:
        """Follow the stopping motion for one period: none of the last one's setpoints was sent in time."""
        self._follow_stop()

    def inspect(self, command: Command, now: float) -> None:
        """Stop for good if `command`, which a newer one has replaced before it was followed, cannot be meant."""
        if not self.fault and self._q is not None and command is not self._command:
            self._check_command(Command(command.q, now), now)

    def _check_state(self, state: RobotState | None, now: float) -> None:
        if state is None:
            self.stop("state_missing", "joint state: none received; is the arm's driver running?")
        elif not now - state.stamp <= self.limits.state_timeout:
            self.stop(
                "state_stale",
                f"joint state: {now - state.stamp:.3f} s old (limit {self.limits.state_timeout:.3f} s); "
                "is the arm's driver running?",
            )
        elif state.q.shape != (self._n,) or not np.isfinite(state.q).all():
            self.stop("state_invalid", f"joint state: positions {state.q.tolist()}, expected {self._n} finite numbers")
        else:
            self._check_tracking(state.q, now)
            self._check_torque(state.tau, state.stamp)
            self._strain.on_state(state.q, state.tau)

    def _check_torque(self, tau: np.ndarray | None, stamp: float) -> None:
        """Stop after two samples in a row: one alone may be a spike of the measurement."""
        if tau is None:
            self._strained = None
            return
        # drivers publish NaN for a joint without a measurement
        excess = np.nan_to_num(np.abs(tau) - self._tau, nan=-np.inf, posinf=np.inf)
        worst = int(excess.argmax())
        if excess[worst] <= 0:
            self._strained = None
        elif self._strained is None:
            self._strained = stamp
        elif stamp > self._strained:
            self.stop(
                "torque_limit",
                f"joint '{self.limits.joint_names[worst]}' reports {tau[worst]:.1f} N·m (limit {self._tau[worst]:.1f} "
                "N·m); does the arm press against something, or carry more than it knows?",
            )

    def _check_tracking(self, q: np.ndarray, now: float) -> None:
        assert self._q is not None
        error = np.abs(q - self._q)
        worst = int(error.argmax())
        where = f"joint '{self.limits.joint_names[worst]}' is {error[worst]:.3f} rad from its setpoint"
        hint = "is the arm blocked, or does it listen to another controller?"
        if error[worst] > self.limits.tracking_error:
            self.stop("tracking_error", f"{where} (limit {self.limits.tracking_error:.3f} rad); {hint}")
        elif self.sag.error(self._q, q) <= self.limits.stall_error:
            self._stall = None
        elif self._stall is None or np.abs(q - self._stall[1]).max() > STALL_MOVE:
            self._stall = (now, q)
        elif now - self._stall[0] > STALL_TIME:
            limit = f"limit {self.limits.stall_error:.3f} rad for {STALL_TIME} s"
            self.stop("blocked", f"{where} and does not move ({limit}); {hint}")

    def _check_command(self, command: Command, now: float) -> None:
        q = command.q
        if not now - command.stamp <= self.limits.command_timeout:
            self.stop(
                "command_stale",
                f"policy: no command for {now - command.stamp:.3f} s (limit {self.limits.command_timeout:.3f} s); "
                "is the policy node alive and keeping its rate?",
            )
        elif command is self._command:
            return
        elif q.shape != (self._n,) or not np.isfinite(q).all():
            self.stop("command_invalid", f"policy: command {q.tolist()}, expected {self._n} finite joint positions")
        else:
            jump = np.abs(q - self._q)
            worst = int(jump.argmax())
            if jump[worst] > self.limits.command_jump:
                self.stop(
                    "command_jump",
                    f"policy: command for joint '{self.limits.joint_names[worst]}' is {jump[worst]:.3f} rad from the "
                    f"setpoint (limit {self.limits.command_jump:.3f} rad)",
                )

    def _accept(self, command: Command, reasons: list[str]) -> None:
        """Take a new command's target, moved inside the position limits and the workspace."""
        previous = self._command
        if previous is not None and command.stamp > previous.stamp:
            speed = np.abs(command.q - previous.q) / max(command.stamp - previous.stamp, self._dt)
            if (speed > self._dq).any():
                reasons.append("velocity_limit")  # not changed here: the setpoint follows as fast as it may
        target = np.clip(command.q, self.limits.q_low, self.limits.q_high)
        if (target != command.q).any():
            reasons.append("position_limit")
        assert self._q is not None
        target, moved = into_workspace(target, self._q, self._chain, self.limits, SLACK)
        if moved:
            reasons.append("workspace")
        self._command, self._target, self._stopping = command, target, False

    def _advance(self) -> bool:
        """Move one period towards the target if a checked stopping motion exists from there."""
        self._blocked, self.approach = "brake", ""
        self._towards.current_position = self._q.tolist()  # type: ignore[union-attr]
        self._towards.current_velocity = self._v.tolist()
        self._towards.current_acceleration = self._a.tolist()
        self._towards.target_position = self._target.tolist()
        if not _solved(lambda: self._follow.update(self._towards, self._out)):
            return False
        q, v, a = (np.array(x) for x in (self._out.new_position, self._out.new_velocity, self._out.new_acceleration))
        # |v| still grows while the acceleration is brought to zero
        peak = np.abs(v) + np.where(v * a > 0, a * a / (2 * self._jerk), 0.0)
        if (peak > self._dq * (1 + 1e-6)).any():
            return False
        if self._strain.grows(self._q, q):  # type: ignore[arg-type]
            self._blocked, self.approach = "strain", self._strain.reason
            return False
        stop_path = self._stop_from(q, v, a)
        if stop_path is None or not self._allowed(stop_path):
            return False
        self._q, self._v, self._a = q, v, a
        self._travelled = (self._out.trajectory, self._out.time - self._dt, self._out.time)
        self._stop_path, self._stop_time = stop_path, 0.0
        return True

    def _stop_from(self, q: np.ndarray, v: np.ndarray, a: np.ndarray) -> Trajectory | None:
        self._to_rest.current_position = q.tolist()
        self._to_rest.current_velocity = v.tolist()
        self._to_rest.current_acceleration = a.tolist()
        path = Trajectory(self._n)
        return path if _solved(lambda: self._brake.calculate(self._to_rest, path)) else None

    def _allowed(self, path: Trajectory) -> bool:
        # The points checked are exactly those that would be given out, one a period until the arm rests
        times = self._dt * np.arange(2 + int(path.duration / self._dt))
        q = np.array([path.at_time(t)[0] for t in times])
        if (q < self._low - SLACK).any() or (q > self._high + SLACK).any():
            return False
        p = self._chain.positions(q)
        if (p < self._p_low - SLACK).any() or (p > self._p_high + SLACK).any():
            return False
        near = self._collision.obstacle(q) if self._collision is not None else None
        if near is not None:
            self._blocked, self.approach = near.reason, str(near)
        return near is None

    def _follow_stop(self) -> None:
        assert self._stop_path is not None
        before = self._stop_time
        self._stop_time = min(self._stop_time + self._dt, self._stop_path.duration)
        q, v, a = self._stop_path.at_time(self._stop_time)
        if self._stop_time == self._stop_path.duration:
            v, a = [0.0] * self._n, [0.0] * self._n  # the path's last numbers differ from rest by rounding
        self._q, self._v, self._a = np.array(q), np.array(v), np.array(a)
        self._travelled = (self._stop_path, before, self._stop_time)

    def _setpoint(self, reasons: tuple[str, ...]) -> Setpoint:
        assert self._q is not None
        return Setpoint(self._q.copy(), self._v.copy(), self._a.copy(), reasons)


def _solved(calculate: Callable[[], Result]) -> bool:
    """Whether ruckig finds a motion; at rest on the target, but for rounding, it sometimes raises instead."""
    try:
        return calculate() in (Result.Working, Result.Finished)
    except RuckigError:
        return False
