"""Plays a motion from a file through the safety gate, and records commands and joint states.

    python -m ros_nodes.motion_player --ros-args -p motion:=motion.npz -p robot:=xarm6 -p record:=recording.npz

Only the gate moves the arm: it may slow the motion down or stop it. Recorded are the gate's commands to the arm's
controller, not those of the file, and the joint states, both stamped on arrival by this process; `sim2real identify`
reads the recording.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from policies.runtime.deadlines import Pacer
from policies.runtime.loop import RefusalError
from policies.runtime.motion import commanded_position
from robots.dynamics import GravitySag
from robots.host.reading import read_arrays
from robots.host.writing import write_arrays
from robots.model import RobotModel
from robots.registry import load_robot
from robots.specs import SpecError
from ros_nodes import process, topics
from ros_nodes.arm import joint_names
from ros_nodes.arm.gated_arm import GatedArm
from ros_nodes.arm.inputs import ArmInputs
from ros_nodes.arm.joint_names import JointNames
from ros_nodes.messages import JointStateReader
from ros_nodes.parameters import Parameter, Parameters

PARAMETERS = (
    Parameter("motion", "", "file that 'sim2real excite' wrote (.npz: t, q, joint_names)"),
    Parameter("robot", "", "the arm: a registered name, or its description file"),
    Parameter("record", "", "where commands and joint states are written (.npz); nowhere if empty"),
    Parameter("joint_states", topics.JOINT_STATES, "topic of the joint states"),
    *joint_names.PARAMETERS,
    Parameter("timeout", 10.0, "longest wait for arm and gate at the start [s]"),
)
APPROACH = 0.3
"""Speed of the fastest joint on the way to the motion's first point [rad/s]."""
CLOSE = 0.02
"""Distance from the first point that needs no approach, every joint [rad]."""
RATES = (20.0, 250.0)
"""Least and most points a second; below that the gate's command timeout stops the arm."""
EVERY = QoSProfile(depth=100, reliability=QoSReliabilityPolicy.BEST_EFFORT)
"""For recorded topics: matches any publisher, and queues."""
REST = 1.0
"""How long recording continues after the last point [s]."""


@dataclass(frozen=True)
class WrittenMotion:
    """A motion from a file."""

    t: np.ndarray
    """(T,) [s], evenly spaced."""
    q: np.ndarray
    """(T, n) joint positions [rad], in the robot's order."""

    @property
    def dt(self) -> float:
        """Time between two points [s]."""
        return float(self.t[1] - self.t[0])


MOST_MOTION = 64 << 20
"""Largest motion file, unpacked [bytes]."""


def read_motion(path: Path, robot: RobotModel) -> WrittenMotion:
    """Read and check a motion.

    Raises:
        SpecError: if the file is missing or not such a motion, is another arm's, or leaves the arm's limits.
    """
    try:
        arrays = read_arrays(path, "motion", MOST_MOTION)
        t, q = (arrays[name].astype(float) for name in ("t", "q"))
        names = tuple(str(name) for name in np.ravel(arrays["joint_names"]))
    except (ValueError, KeyError, TypeError) as error:
        raise SpecError(f"motion '{path}' cannot be read: {error}; write one with 'sim2real excite'") from None
    if missing := [joint for joint in robot.joint_names if joint not in names]:
        raise SpecError(f"motion '{path}': joint '{missing[0]}' is missing; it moves {', '.join(names)}")
    if (
        t.ndim != 1
        or q.shape != (len(t), len(names))
        or len(t) < 10
        or not (np.isfinite(q).all() and np.isfinite(t).all())
    ):
        raise SpecError(
            f"motion '{path}': q has shape {q.shape}, t {t.shape}; expected (T, {len(names)}), finite, T at least 10"
        )
    q = q[:, [names.index(joint) for joint in robot.joint_names]]
    steps = np.diff(t)
    if not np.allclose(steps, steps[0], rtol=0.01, atol=0) or not RATES[0] <= 1 / steps[0] <= RATES[1]:
        raise SpecError(
            f"motion '{path}': {1 / steps.mean():.1f} points a second (steps of {steps.min():.4f} to "
            f"{steps.max():.4f} s); expected even steps, {RATES[0]:g} to {RATES[1]:g} a second"
        )
    low, high = np.array(robot.limits.q_low), np.array(robot.limits.q_high)
    fastest = np.abs(np.diff(q, axis=0)).max(axis=0) / steps[0]
    for j, joint in enumerate(robot.joint_names):
        if q[:, j].min() < low[j] or q[:, j].max() > high[j]:
            raise SpecError(
                f"motion '{path}': joint '{joint}' goes from {q[:, j].min():.3f} to {q[:, j].max():.3f} rad, its "
                f"limits are {low[j]:.3f} and {high[j]:.3f}"
            )
        if fastest[j] > robot.limits.dq[j]:
            raise SpecError(
                f"motion '{path}': joint '{joint}' reaches {fastest[j]:.2f} rad/s, its limit is "
                f"{robot.limits.dq[j]:.2f}; write a slower one (--share)"
            )
    return WrittenMotion(t, q)


class MotionPlayer(Node):
    """Sends one motion, and collects commands and joint states meanwhile."""

    def __init__(self) -> None:
        """Read parameters and motion, then listen.

        Raises:
            SpecError: if one makes no sense.
        """
        super().__init__("motion_player")
        parameters = Parameters(self, PARAMETERS)
        name = parameters.text("robot")
        if not name:
            raise SpecError("parameter 'robot' is empty; give the arm's name or its description file")
        self.robot = load_robot(name)
        self._sag = GravitySag(self.robot)
        self.motion = read_motion(Path(parameters.text("motion")), self.robot)
        self._record = parameters.text("record")
        if self._record and Path(self._record).exists():
            raise SpecError(f"recording '{self._record}' exists already; give a new --record")
        self._timeout = parameters.number("timeout")
        self._names = JointNames.of(parameters, self.robot)
        self._reader = JointStateReader(self.robot, ours=self._names.ours)
        self._commands: list[tuple[float, np.ndarray]] = []
        self._states: list[tuple[float, np.ndarray, np.ndarray]] = []
        states = parameters.text("joint_states")
        self.create_subscription(JointState, states, self._on_state, EVERY)
        self.create_subscription(JointTrajectory, topics.TRAJECTORY_COMMAND, self._on_trajectory, EVERY)
        self.create_subscription(Float64MultiArray, topics.FORWARD_COMMAND, self._on_forward, EVERY)
        self._inputs = ArmInputs(self, self.robot, states, {}, heartbeat=True, names=self._names)
        self._arm = GatedArm(self, self._inputs, self.robot, self.motion.dt)

    def play(self, stop_wanted: Callable[[], bool]) -> str:
        """Go to the first point, play, come to rest; return a line for the user.

        Args:
            stop_wanted: returns whether to end early.

        Raises:
            RefusalError: if arm or gate are not there, or the gate stops the arm.
        """
        start = self._ready()
        self._inputs.alive = True
        try:
            first = self.motion.q[0]
            steps = int(np.ceil(1.9 * np.abs(first - start).max() / (APPROACH * self.motion.dt)))
            if np.abs(first - start).max() > CLOSE:
                s = np.linspace(0.0, 1.0, steps + 1)[1:, None]
                self._send(start + (first - start) * s**3 * (10 - 15 * s + 6 * s * s), stop_wanted)
            self._commands.clear()
            self._states.clear()
            self._send(self.motion.q, stop_wanted)
        finally:
            self._arm.stop("motion played")
            self._arm.settle(5.0)
            self._inputs.alive = False
        if stop_wanted():
            return "stopped early, nothing was recorded"
        time.sleep(REST)
        return self._keep()

    def close(self) -> None:
        """Stop listening."""
        self._arm.close()
        self._inputs.close()
        self.destroy_node()

    def _ready(self) -> np.ndarray:
        """Wait for arm and gate; return what holds the arm where it is (n,) [rad]."""
        until, reason = time.monotonic() + self._timeout, "joint states: none was heard; is the driver running?"
        while time.monotonic() < until:
            time.sleep(0.02)
            state = self._arm.read()
            if state is None:
                reason = f"joint states: {self._inputs.last_rejection or 'none was heard; is the driver running?'}"
                continue
            try:
                self._arm.check()
            except RefusalError as error:
                reason = str(error)
                continue
            return self._sag.held(state.q)
        raise RefusalError(reason)

    def _send(self, targets: np.ndarray, stop_wanted: Callable[[], bool]) -> None:
        pacer = Pacer(self.motion.dt)
        for target in targets:
            pacer.wait()
            if stop_wanted():
                return
            self._arm.read()  # the command carries the newest state's stamp
            self._arm.send(target)

    def _keep(self) -> str:
        if not self._record:
            return f"played {self.motion.t[-1]:.0f} s"
        if len(self._commands) < 10 or len(self._states) < 10:
            usual = " or ".join(map(self.resolve_topic_name, (topics.TRAJECTORY_COMMAND, topics.FORWARD_COMMAND)))
            raise RefusalError(
                f"recording: {len(self._commands)} commands on {usual} and {len(self._states)} joint states; does the "
                "gate drive another topic? Record with 'sim2real record'"
            )
        begun = self._states[0][0]
        taus = [tau for *_, tau in self._states]
        arrays: dict[str, Any] = {
            "t": np.array([at for at, *_ in self._states]) - begun,
            "q": np.array([q for _, q, _ in self._states]),
            "t_cmd": np.array([at for at, _ in self._commands]) - begun,
            "q_cmd": np.array([q for _, q in self._commands]),
            "joint_names": np.array(self.robot.joint_names),
        }
        if all(tau.size for tau in taus):
            arrays["tau"] = np.array(taus)
        path = Path(self._record)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(path, arrays)
        return f"{path}: {len(self._commands)} commands, {len(self._states)} joint states"

    def _on_state(self, message: JointState) -> None:
        try:
            state = self._reader.read(message, 0.0)
        except SpecError:
            return  # the inputs count it
        tau = np.zeros(0) if state.tau is None else np.asarray(state.tau)
        self._states.append((time.monotonic(), state.q, tau))

    def _on_trajectory(self, message: JointTrajectory) -> None:
        if message.points and len(message.points[-1].positions) == len(message.joint_names):
            with contextlib.suppress(SpecError):  # another device's
                order = self.robot.order(self._names.ours(message.joint_names))
                q = commanded_position(message, self.get_clock().now().nanoseconds)
                self._commands.append((time.monotonic(), q[order]))

    def _on_forward(self, message: Float64MultiArray) -> None:
        if len(message.data) == len(self.robot.joint_names):
            self._commands.append((time.monotonic(), np.array(message.data)))


def main(args: list[str] | None = None) -> int:
    """Play one motion; return the exit status."""
    ended = process.start(args)
    try:
        node = MotionPlayer()
    except SpecError as error:
        rclpy.try_shutdown()
        return process.fail("motion_player", str(error))
    try:
        with process.spinning(node):
            process.prioritise()
            print(node.play(ended.is_set))
        return 0
    except (RefusalError, OSError) as error:  # OSError: the recording finds no room
        return process.fail("motion_player", str(error))
    finally:
        node.close()
        rclpy.try_shutdown()


if __name__ == "__main__":
    raise SystemExit(main())
