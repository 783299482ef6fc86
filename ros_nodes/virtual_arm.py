"""The virtual arm: a process that stands in for a real robot, its controllers and its camera, over ROS 2.

Three threads: the servo loop on absolute deadlines, which also publishes the joints; the camera, which
owns the OpenGL context; and the executor in `main`, which takes commands.

    sim2real virtual-arm                      or    python -m ros_nodes.virtual_arm
    … --ros-args -p robot:=kuka_iiwa -p engine:=pybullet -p hidden:=reality.json -p fault:=camera_freeze
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.time import Time as RosTime
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from policies.bundle import BundleError, PolicyBundle
from policies.bundle.cell import cell_sizes, cell_table_height
from policies.bundle.things import Things
from robots.camera import CameraModel
from robots.model import RobotModel
from robots.registry import load_robot
from robots.rig import RIGS, Rig
from robots.specs import SpecError
from ros_nodes import process, qos, topics
from ros_nodes.arm.joint_controllers import CommandRejected, ForwardController, TrajectoryController, message_points
from ros_nodes.arm.virtual_cameras import run_cameras
from ros_nodes.messages import seconds
from ros_nodes.parameters import Parameter, Parameters
from sim.tasks import TASKS, fitted_task, load_task
from sim.tasks.several_things import SeveralThings
from sim.tasks.task import DEFAULT_RIG
from sim.virtual_arm.engines import ENGINES, make_virtual_arm
from sim.virtual_arm.hidden_arms import hidden_reality
from sim.virtual_arm.interface import Snapshot
from sim.virtual_arm.mujoco_camera import VirtualCameras, open_renderer

SERVO_PERIOD = 0.002
"""Seconds between two looks at the controller; physics runs in finer steps in between."""
STATE_EVERY = 5
"""Servo periods between two messages of joints and truth: 100 a second."""
LARGEST_CATCH_UP = 0.05
"""Seconds; a machine that stalls for longer makes the arm lose time rather than leap."""
CAMERA_NICE = 5
"""The camera's thread yields to the servo loop where cores are scarce and real-time priority is not allowed."""
LEAP = 5e-4
"""How far a trajectory's command may be from where the last one was on its way to [rad]."""
BARE_RIG = "front"
"""What shows the arm to people where the policy takes no images."""
CONTROLLERS = ("joint_trajectory_controller", "forward_position_controller")
FAULTS = {
    "none": "all works",
    "camera_freeze": "the driver repeats its last picture, with fresh stamps",
    "camera_black": "black pictures, with fresh stamps: the lens is covered",
    "camera_stop": "no more pictures",
    "camera_drop": "two pictures of three are lost",
    "joint_states_stop": "no more joint states",
    "joint_states_nan": "one joint reads NaN",
    "delay_jump": "joint states and pictures arrive 0.3 s late, truthfully stamped",
    "clock_jump": "the driver's clock is 1 s ahead",
    "controller_reject": "the controller refuses every command",
}
DELAY_JUMP = 0.3
CLOCK_JUMP_NS = 10**9
LEVEL = 0.01
"""How far from 0 the table's top may be that a policy was trained for [m]: as far as it varies in training."""


PARAMETERS = (
    Parameter("bundle", "", "policy bundle whose arm, task and cameras these are, where they are not given"),
    Parameter("robot", "", "name of the arm, or path of its arm file (.json); empty: the bundle's, else franka_panda"),
    Parameter("engine", "mujoco", f"what moves it: {' or '.join(ENGINES)}"),
    Parameter("task", "", f"whose objects stand on its table: {', '.join(TASKS)}; empty: the bundle's, else reach"),
    Parameter("cameras", "", f"rig: {', '.join(RIGS)}, or a .json file; empty: the bundle's, else front_side"),
    Parameter("hidden", "", "JSON file of a HiddenReality; what it leaves out, or all if empty, is the arm's default"),
    Parameter("controller", CONTROLLERS[0], f"the active controller: {' or '.join(CONTROLLERS)}"),
    Parameter("goal_thing", "", "which of several things the trials are about, as on the topic goal_thing"),
    Parameter("fault", "none", f"a fault to show: {', '.join(FAULTS)}"),
)


@dataclass(frozen=True)
class Setup:
    """What stands in the virtual lab."""

    robot: RobotModel
    task: str
    cameras: tuple[CameraModel, ...]
    sizes: dict[str, float]
    """Of what stands on the table, by the task's parameters [m]; nominal where left out."""


def read_setup(bundle: str, robot: str, task: str, cameras: str) -> Setup:
    """Return arm, task and cameras: those given, where they are, else those of the bundle, else the defaults.

    Raises:
        SpecError: for an unknown one, or one that does not fit the bundle.
        BundleError: if the bundle cannot be loaded.
    """
    policy = PolicyBundle.load(Path(bundle)) if bundle else None
    if policy is not None and not cameras:
        policy.check_placed()
    if policy is not None and abs(cell_table_height(policy)) > LEVEL:
        raise SpecError(
            f"bundle '{policy.name}' was trained for a table at {cell_table_height(policy):g} m; the virtual arm "
            "stands on its table, at 0 m"
        )
    model = load_robot(robot or (policy.arm if policy else "franka_panda"))
    name = task or (policy.task if policy else "reach")
    if policy is not None:
        for what, here, there in (("robot", model.name, policy.robot.name), ("task", name, policy.task)):
            if here != there:
                raise SpecError(
                    f"parameter '{what}' is '{here}', but bundle '{policy.name}' is for '{there}'; leave it out, or "
                    "take another bundle"
                )
    rig = Rig(policy.name, tuple(policy.cameras.values())) if policy and policy.cameras and not cameras else None
    shown = fitted_task(name, model, rig or cameras or (BARE_RIG if policy else DEFAULT_RIG)).cameras
    if policy is not None and policy.cameras and {camera.name for camera in shown} != set(policy.cameras):
        raise SpecError(
            f"parameter 'cameras': '{cameras}' has {', '.join(camera.name for camera in shown)}, but bundle "
            f"'{policy.name}' takes {', '.join(policy.cameras)}; leave it out"
        )
    return Setup(model, name, shown, cell_sizes(policy) if policy else {})


class VirtualArmNode(Node):
    """Topics on one side, a `VirtualArm` on the other."""

    def __init__(self, ended: threading.Event) -> None:
        """Read the parameters and build the arm; nothing moves before `start`, or once `ended` is set.

        Raises:
            SpecError: for a parameter that makes no sense.
        """
        super().__init__("virtual_arm")
        parameters = Parameters(self, PARAMETERS)
        setup = read_setup(*(parameters.text(name) for name in ("bundle", "robot", "task", "cameras")))
        robot = setup.robot
        hidden, kind = parameters.text("hidden"), parameters.text("controller")
        self._fault = "none"
        self._set_fault(parameters.text("fault"))
        if kind not in CONTROLLERS:
            raise SpecError(f"parameter 'controller' is '{kind}'; known are {', '.join(CONTROLLERS)}")
        reality = hidden_reality(robot, Path(hidden) if hidden else None)
        self._arm = make_virtual_arm(parameters.text("engine"), robot, setup.cameras, reality, setup.task, setup.sizes)
        self._lock = threading.Lock()  # guards the arm, the controller and the trial
        self._trial = 0
        self._planned: np.ndarray | None = None
        self._servo_is_ahead = False
        # Broadcasters list joints in the order the hardware registered them: alphabetical here, fingers first
        self._shuffled = sorted(range(len(self._arm.joint_names)), key=lambda i: self._arm.joint_names[i])
        self._joint_names = [self._arm.joint_names[i] for i in self._shuffled]
        self._joint_publisher = self.create_publisher(JointState, topics.JOINT_STATES, qos.EVENT)
        self._truth_publisher = self.create_publisher(Float64MultiArray, topics.VIRTUAL_TRUTH, qos.EVENT)
        home = np.array(robot.home)
        if kind == "joint_trajectory_controller":
            self._controller: TrajectoryController | ForwardController = TrajectoryController(
                robot.joint_names, home, SERVO_PERIOD
            )
            self.create_subscription(JointTrajectory, topics.TRAJECTORY_COMMAND, self._on_trajectory, qos.EVENT)
        else:
            self._controller = ForwardController(robot.joint_names, home)
            self.create_subscription(Float64MultiArray, topics.FORWARD_COMMAND, self._on_forward, qos.EVENT)
        if robot.gripper is not None:
            self.create_subscription(Float64MultiArray, topics.GRIPPER_COMMAND, self._on_gripper, qos.EVENT)
            opened = np.array(robot.gripper.commanded(robot.gripper.opened))
            self._gripper = ForwardController(robot.gripper.joint_names, opened)
        self.create_subscription(Float64MultiArray, topics.VIRTUAL_PLACE, self._on_place, qos.EVENT)
        self.create_subscription(String, topics.VIRTUAL_FAULT, lambda message: self._try_fault(message.data), qos.EVENT)
        self._things: Things | None = None
        if isinstance(task := load_task(setup.task), SeveralThings):
            self._things = Things(task.named, task.references)
            self.create_subscription(String, topics.GOAL_THING, lambda message: self._try_ask(message.data), qos.EVENT)
        if thing := parameters.text("goal_thing"):
            self._ask(thing)
        self._ended = ended
        self._threads = [
            threading.Thread(target=self._guarded, args=(loop,), name=loop.__name__, daemon=True)
            for loop in (self._servo_loop, self._camera_loop)
        ]
        self.failure: str | None = None
        """Why a thread ended before it was asked to."""

    def start(self) -> None:
        """Let time run."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for the threads to end."""
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=2.0)

    def _guarded(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except Exception as error:  # whatever it is, half an arm must not go on
            self.failure = f"{loop.__name__}: {type(error).__name__}: {error}"
            self._ended.set()

    # Commands in

    def _on_trajectory(self, message: JointTrajectory) -> None:
        points = message_points(message)
        stamp = seconds(message.header.stamp)
        assert isinstance(self._controller, TrajectoryController)
        controller = self._controller
        self._take(lambda: controller.accept(message.joint_names, points, stamp, self._now()))

    def _on_forward(self, message: Float64MultiArray) -> None:
        assert isinstance(self._controller, ForwardController)
        controller = self._controller
        self._take(lambda: controller.accept(message.data))

    def _on_gripper(self, message: Float64MultiArray) -> None:
        def accept() -> None:
            gripper = self._arm.robot.gripper
            assert gripper is not None  # or else nobody listens
            self._gripper.accept(message.data)
            self._arm.grip(gripper.opening_at(list(message.data)))

        self._take(accept)

    def _take(self, accept: Callable[[], None]) -> None:
        try:
            if self._fault == "controller_reject":
                raise CommandRejected("the controller is not active")
            with self._lock:
                accept()
        except CommandRejected as rejection:
            self.get_logger().error(f"command rejected: {rejection}", throttle_duration_sec=1.0)

    def _on_place(self, message: Float64MultiArray) -> None:
        try:
            trial, x, y, seed = message.data
            with self._lock:
                self._arm.place((x, y), int(seed))
                self._controller.restart(np.array(self._arm.robot.home))
                self._planned = None
                self._trial = int(trial)
        except (ValueError, SpecError) as error:
            self.get_logger().error(f"{topics.VIRTUAL_PLACE}: {error}; expected [trial, x, y, seed]")

    def _set_fault(self, fault: str) -> None:
        if fault not in FAULTS:
            raise SpecError(f"unknown fault {fault[:60]!r}; known are {', '.join(FAULTS)}")
        self._fault = fault

    def _try_fault(self, fault: str) -> None:
        try:
            self._set_fault(fault)
            self.get_logger().warning(f"fault '{fault}': {FAULTS[fault]}")
        except SpecError as error:
            self.get_logger().error(str(error))

    def _ask(self, thing: str) -> None:
        if self._things is None:
            raise SpecError(f"parameter 'goal_thing' is '{thing}', but the task is about one thing; leave it out")
        with self._lock:
            self._arm.ask(self._things.named(thing))

    def _try_ask(self, thing: str) -> None:
        try:
            self._ask(thing)
        except SpecError as error:
            self.get_logger().error(f"{topics.GOAL_THING}: {error}")

    # The servo loop

    def _servo_loop(self) -> None:
        # As a real arm's driver runs: a late joint state is a fault to the safety gate
        self._servo_is_ahead = process.prioritise_thread()
        deadline = time.monotonic()
        late = 0.0
        tick = 0
        queue: list[tuple[float, JointState]] = []
        while not self._ended.is_set():
            deadline += SERVO_PERIOD
            behind = time.monotonic() - deadline
            if behind > LARGEST_CATCH_UP:
                deadline += behind
                late += behind
                self.get_logger().warning(
                    f"the machine stalled for {behind:.2f} s (all stalls: {late:.2f} s)", throttle_duration_sec=1.0
                )
            elif behind < 0:
                time.sleep(-behind)
            with self._lock:
                # The controller computes for its own period: after a stall it makes up for each that was missed
                self._servo(self._now() - (time.monotonic() - deadline))
                self._arm.advance(SERVO_PERIOD)
                tick += 1
                if tick % STATE_EVERY:
                    continue
                reading = self._arm.read()
                judged = self._arm.judge()
                truth = [self._trial, self._arm.time, *self._arm.ee_pos, *self._arm.goal, *self._arm.achieved]
                truth += [float(judged.near), float(judged.released), float(judged.failed)]
            self._truth_publisher.publish(Float64MultiArray(data=truth))
            joints = JointState(name=self._joint_names)
            joints.header.stamp = self._stamp()
            joints.position = reading.q[self._shuffled].tolist()
            joints.velocity = reading.dq[self._shuffled].tolist()
            joints.effort = reading.tau[self._shuffled].tolist()
            if self._fault == "joint_states_nan":
                joints.position[-1] = math.nan
            delay = DELAY_JUMP if self._fault == "delay_jump" else 0.0
            queue.append((time.monotonic() + delay, joints))
            while queue and (queue[0][0] <= time.monotonic() or not delay):
                message = queue.pop(0)[1]
                if self._fault != "joint_states_stop":
                    self._joint_publisher.publish(message)

    def _servo(self, at: float) -> None:
        q, dq = self._controller.update(at)
        if not np.isfinite(q).all():
            # Neither libfranka nor other drivers pass NaN to their motors: the arm stays where it was sent last
            self.get_logger().error("driver: joint command is not finite; holding", throttle_duration_sec=1.0)
            return
        if self._planned is not None and (leap := float(np.abs(q - self._planned).max())) > LEAP:
            self.get_logger().warning(
                f"the controller's command leaps by {1e3 * leap:.1f} mrad; did a trajectory come late?",
                throttle_duration_sec=1.0,
            )
        self._planned = q + SERVO_PERIOD * dq if isinstance(self._controller, TrajectoryController) else None
        self._arm.command(q, dq)

    # The cameras

    def _camera_loop(self) -> None:
        process.yield_thread()
        cameras = VirtualCameras(self._arm, open_renderer(self._arm))
        if not self._servo_is_ahead:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), CAMERA_NICE)
        self.declare_parameter("renderer", cameras.renderer.name)
        self.get_logger().info(f"cameras {', '.join(self._arm.cameras)} drawn by {cameras.renderer.name}")

        def snapshot() -> tuple[Snapshot, Time]:
            with self._lock:
                return self._arm.snapshot(), self._stamp()

        def fault() -> tuple[str, float]:
            return self._fault, DELAY_JUMP if self._fault == "delay_jump" else 0.0

        run_cameras(self, self._arm, cameras, self._ended, snapshot, fault)
        cameras.renderer.close()

    # Clocks

    def _now(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9

    def _stamp(self) -> Time:
        ahead = CLOCK_JUMP_NS if self._fault == "clock_jump" else 0
        return RosTime(nanoseconds=self.get_clock().now().nanoseconds + ahead).to_msg()


def main(args: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM; return the exit status."""
    ended = process.start(args)
    try:
        node = VirtualArmNode(ended)
    except (SpecError, BundleError) as error:
        return process.fail("virtual_arm", str(error))
    executor = process.make_executor(node)
    process.prioritise()  # commands that wait for a processor would make the arm leap
    node.start()
    process.spin(executor, ended)
    node.join()
    executor.remove_node(node)
    node.destroy_node()
    rclpy.try_shutdown()
    return 0 if node.failure is None else process.fail("virtual_arm", node.failure)


if __name__ == "__main__":
    raise SystemExit(main())
