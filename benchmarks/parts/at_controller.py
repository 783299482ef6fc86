"""What an arm is commanded by its controller at 1 kHz while the safety gate is disturbed.

The gate's own output writes the messages; models of the controllers turn them into commands. The gate's period
jitters, cycles are missed, messages arrive late, and now and then the gate is killed: the arm must then come to rest
by what the controller has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rclpy.node import Node

from policies.runtime.gate import SafetyGate
from policies.runtime.limits import SafetyLimits
from policies.runtime.motion import Schedule
from robots.model import RobotModel
from robots.observation import RobotState
from ros_nodes.arm.controllers import CONTROLLERS, Output
from ros_nodes.arm.joint_controllers import ForwardController, TrajectoryController, TrajectoryPoint, message_points

TICK = 0.001
"""Period of the controllers [s]."""
DT = 0.01
"""[s] between two setpoints."""
JITTER = 0.0005
"""Mean lateness of a cycle of the gate [s]."""
STALL = 0.02
"""Share of cycles that a stall of up to 60 ms follows."""
LATENCY = 0.0005
"""Mean time from gate to controller beyond 0.2 ms [s]; at most what a schedule allows for, or else one TICK."""
SUPERVISOR = 0.15
"""Time from a killed gate to the supervisor's zeros for a controller that coasts [s]. They are not judged."""
LIFE = 3.0
"""Mean time until the gate is killed [s]."""
SILENCE = 1.2
"""Time from a killed gate to the next one [s]."""
OFFSET = 0.01
"""Where the controller holds the arm when a gate takes over, at most so far from where it is measured [rad]."""
ROUNDING = 1e-3
"""Of a limit: messages' times are whole nanoseconds, and third differences are taken at 1 kHz."""
WAIT = 0.3
"""After a stop, until the operator resets the gate [s]."""


Command = Callable[[np.ndarray, np.ndarray], np.ndarray | None]
"""From the last setpoint and the arm's velocity; None releases the arm."""


@dataclass(frozen=True)
class Path:
    """One way from gate to arm."""

    kind: str
    """Of the controller, a key of `CONTROLLERS`."""
    release: str = ""
    """Whose rules a joint_trajectory_controller has."""
    peer: bool = False
    """Whether each setpoint is sent as one position two periods ahead, as is usual."""

    def __str__(self) -> str:
        name = self.kind.replace("_controller", "").replace("_", " ")
        return f"{name}{self.release and ' ' + self.release}{', peer: one point' if self.peer else ''}"


PATHS = (
    Path("joint_trajectory_controller", "humble"),
    Path("joint_trajectory_controller", "jazzy"),
    Path("forward_position_controller"),
    Path("forward_velocity_controller"),
    Path("joint_trajectory_controller", "humble", peer=True),
    Path("joint_trajectory_controller", "jazzy", peer=True),
)


def judged(path: Path, robot: RobotModel, limits: SafetyLimits) -> dict[str, np.ndarray]:
    """Return the limits that hold at the arm, by name: the gate's, or the arm's own where a controller holds commands.

    A held position has no acceleration, a held velocity no jerk, that one could judge: what the arm's driver makes of
    the steps is its own.
    """
    if path.kind == "joint_trajectory_controller":
        return {name: np.array(getattr(limits, name)) for name in ("dq", "ddq", "jerk")}
    names = ("dq",) if path.kind == "forward_position_controller" else ("dq", "ddq")
    return {name: np.array(getattr(robot.limits, name)) for name in names}


def share_of(path: Path, limits: SafetyLimits) -> SafetyLimits:
    """Return the gate's limits for this kind of controller, as its parameters make them: never above the kind's."""
    kind, default = CONTROLLERS[path.kind], 0.75
    return limits.tightened(dq=min(1.0, kind.dq / default), ddq=min(1.0, kind.ddq / 0.9))


class Bench:
    """An arm, its controller and the gate before it, on a clock of their own."""

    def __init__(
        self,
        node: Node,
        robot: RobotModel,
        limits: SafetyLimits,
        path: Path,
        rng: np.random.Generator,
        share: float = 0.2,
        offset: float = OFFSET,
    ):
        """Hold the arm at home.

        Args:
            node: makes publishers.
            robot: the arm.
            limits: what the gate enforces.
            path: from gate to arm.
            rng: of commands and disturbances.
            share: of the gate's periods, in which it is given a command.
            offset: error of the measured positions at a gate's start [rad].
        """
        self._node, self._robot, self._limits, self._path, self._rng = node, robot, limits, path, rng
        self._share, self._offset = share, offset
        self._now = 10**12  # [ns]
        q = np.array(robot.home)
        if path.kind == "joint_trajectory_controller":
            self._controller = TrajectoryController(robot.joint_names, q, TICK, path.release)
        else:
            self._controller = ForwardController(robot.joint_names, q)
        self._velocities = path.kind == "forward_velocity_controller"
        if self._velocities:
            self._controller.restart(np.zeros_like(q))
        self.q = [q]
        self._mail: list[tuple[int, Callable[[], None]]] = []
        self._ticked = 0
        self._cuts: list[int] = []
        self.given = 0
        """Commands that the gate was given."""

    @property
    def now(self) -> float:
        """The time [s]."""
        return 1e-9 * self._now

    def run(self, seconds: float, command: Command) -> list[np.ndarray]:
        """Run for a while and until the arm rests; return the commands to the arm (m, n) [rad], TICK apart.

        They are cut where a supervisor has sent zeros.
        """
        end = self._now + round(1e9 * seconds)
        while self._now < end:
            self._live(command, min(end, self._now + round(1e9 * self._rng.exponential(LIFE))))
            if self._velocities:
                self._advance(self._now + round(1e9 * SUPERVISOR))
                self._cuts.append(len(self.q))
                self._controller.restart(np.zeros_like(self.q[0]))
            self._advance(self._now + round(1e9 * SILENCE))
        return np.split(np.array(self.q), self._cuts)

    def _live(self, command: Command, end: int) -> None:
        """Run one gate until it is killed at `end` [ns]."""
        rng = self._rng
        output = Output(
            self._node, self._robot, self._path.kind, f"/bench/{self._path.kind}", DT, controller_hz=1 / TICK
        )
        settle = 0.0 if output.schedule is None else Schedule.SETTLE
        gate = SafetyGate(self._robot, self._limits, DT, 0.1, settle=settle, lag=output.lag)
        gate.on_controller(True)
        measured = self.q[-1]
        if output.schedule is not None:
            measured = measured + rng.uniform(-self._offset, self._offset, len(measured))
        sent, quiet, part = measured, 0, round(1e9 * DT / output.parts)
        due = self._now
        while self._now < end:
            late = rng.exponential(JITTER) + (rng.uniform(0, 0.06) if rng.random() < STALL else 0.0)
            self._advance(due + round(1e9 * late))
            now = 1e-9 * self._now
            moving = gate.report.state in ("moving", "stopping")
            measured = self.q[-1] if moving else measured
            gate.on_state(RobotState(now, measured, np.zeros_like(measured)))
            gate.on_heartbeat(now)
            if gate.report.state == "stopped":
                quiet += 1
                if quiet * DT > WAIT:
                    quiet = int(not gate.request_reset(now)[0])
            elif rng.random() < self._share:
                v = (self.q[-1] - self.q[-2]) / TICK if len(self.q) > 1 else np.zeros_like(measured)
                wanted = command(sent, v)
                if wanted is None:
                    gate.on_release("policy")
                else:
                    gate.on_command(wanted, now, "policy")
                    self.given += 1
            output.catch_up(self._now, gate.skip)
            setpoint = gate.tick(now)
            sent = measured if setpoint is None else setpoint.q
            if self._path.peer:
                if setpoint is not None:
                    self._post(0, lambda q=setpoint.q: self._one_point(q))
            else:
                for i, message in enumerate(output.messages(self._now, setpoint, self.q[-1], gate.ahead)):
                    self._post(i * part, lambda message=message: self._take(message))
            due = due + round(1e9 * DT) if output.parts == 1 else self._now + round(1e9 * DT)
            while due <= self._now:  # missed, as `Pacer` does
                due += round(1e9 * DT)
        self._node.destroy_publisher(output._publisher)

    def _post(self, later: int, deliver: Callable[[], None]) -> None:
        most = 1e9 * (Schedule.TRANSPORT if self._path.kind == "joint_trajectory_controller" else TICK)
        latency = round(2e5 + min(1e9 * self._rng.exponential(LATENCY), most - 2e5))
        at = self._now + later + latency
        if self._mail:
            at = max(at, self._mail[-1][0])  # reliable and in order
        self._mail.append((at, deliver))

    def _take(self, message) -> None:
        if isinstance(self._controller, TrajectoryController):
            stamp = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
            points = message_points(message)
            self._controller.accept(message.joint_names, points, stamp, 1e-9 * self._now)
        else:
            self._controller.accept(message.data)

    def _one_point(self, q: np.ndarray) -> None:
        assert isinstance(self._controller, TrajectoryController)
        self._controller.accept(self._robot.joint_names, [TrajectoryPoint(2 * DT, q)], 0, 1e-9 * self._now)

    def _advance(self, until: int) -> None:
        """Let the controller compute until `until` [ns]."""
        tick = round(1e9 * TICK)
        while self._now < until:
            step = min(until, (self._now // tick + 1) * tick)
            if self._mail:
                step = max(self._now, min(step, self._mail[0][0]))
            self._now = step
            while self._mail and self._mail[0][0] <= self._now:
                self._mail.pop(0)[1]()
            if self._now % tick == 0 and self._now != self._ticked:
                self._ticked = self._now
                q, _ = self._controller.update(1e-9 * self._now)
                self.q.append(self.q[-1] + TICK * q if self._velocities else q)
