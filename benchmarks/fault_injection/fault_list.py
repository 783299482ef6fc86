"""What can break while an arm moves: the faults that `benchmarks/faults.py` shows to a moving arm."""

from __future__ import annotations

import itertools
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.node import Node
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from benchmarks.fault_injection.check import Check, NotTriedError
from benchmarks.fault_injection.moving_arm import show_to_moving_arm
from benchmarks.fault_injection.scene import PANDA, Driver, Fault, Scene, run
from ros_nodes import qos, topics
from ros_nodes.messages import trajectory
from tests.ros_nodes.test_garbage import GARBAGE
from tests.support.ros_bench import RosBench
from tests.support.tiny_bundle import tiny_bundle


def kill(process: str, number: int) -> Callable[[Scene], None]:
    def show(scene: Scene) -> None:
        scene.processes[process].send_signal(number)

    return show


def set_arm(**values: object) -> Callable[[Scene], None]:
    def show(scene: Scene) -> None:
        for name, value in values.items():
            setattr(scene.arm, name, value)

    return show


def spoil(change: Callable[[Driver, JointTrajectory], None]) -> Callable[[Scene], None]:
    """Publish one command that is wrong; good ones follow."""

    def show(scene: Scene) -> None:
        driver = scene.driver
        assert driver is not None
        driver.spoil(lambda message: change(driver, message))

    return show


def positions(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Scene], None]:
    """Spoil a command's joint positions (n,) [rad]."""

    def spoiled(_: Driver, message: JointTrajectory) -> None:
        message.points[0].positions = change(np.array(message.points[0].positions)).tolist()

    return spoil(spoiled)


def joints(names: tuple[str, ...]) -> Callable[[Scene], None]:
    """Spoil a command's joint names, with a position for each."""

    def spoiled(_: Driver, message: JointTrajectory) -> None:
        held = dict(zip(message.joint_names, message.points[0].positions))
        message.joint_names = list(names)
        message.points[0].positions = [held.get(name, 0.0) for name in names]

    return spoil(spoiled)


def stamp(ahead: float | None) -> Callable[[Scene], None]:
    """Spoil a command's stamp, [s] ahead of the present; None for an empty one."""

    def spoiled(driver: Driver, message: JointTrajectory) -> None:
        message.header.stamp = Time() if ahead is None else driver.now(ahead)

    return spoil(spoiled)


def rival_policy(scene: Scene) -> None:
    """A second node of the policy's name commands."""
    node = Node("policy_node", context=scene.ros.context)
    publisher = node.create_publisher(JointTrajectory, topics.POLICY_COMMAND, qos.COMMAND)
    now = node.get_clock().now().to_msg()
    publisher.publish(trajectory(PANDA.joint_names, scene.arm.q, 0.05, now, "/policy_node of another process"))


def rival_of_the_gate(scene: Scene) -> None:
    scene.ros.observer.create_publisher(JointTrajectory, topics.TRAJECTORY_COMMAND, 1)


class Button:
    """An emergency stop whose driver repeats that it is not pressed."""

    def __init__(self, ros: RosBench):
        self._timer = ros.observer.create_timer(0.05, lambda: ros.e_stop(False))

    def fall_silent(self) -> None:
        self._timer.cancel()


def silent_button(scene: Scene) -> None:
    assert isinstance(scene.prepared, Button)
    scene.prepared.fall_silent()


class ControllerManager(Node):
    """Answers which controllers are active, as ros2_control's does."""

    def __init__(self, ros: RosBench):
        try:
            from controller_manager_msgs.msg import ControllerState
            from controller_manager_msgs.srv import ListControllers
        except ImportError:
            raise NotTriedError("controller_manager_msgs is not installed") from None
        super().__init__("controller_manager", context=ros.context)
        self.state = "active"
        self._entry = ControllerState
        self.create_service(ListControllers, "~/list_controllers", self._answer)
        ros._spin(self)

    def _answer(self, _request, response):
        response.controller = [self._entry(name="joint_trajectory_controller", state=self.state)]
        return response


def deactivate_controller(scene: Scene) -> None:
    assert isinstance(scene.prepared, ControllerManager)
    scene.prepared.state = "inactive"


def garbage(*names: str) -> Callable[[Scene], None]:
    """Publish text that is none of what these topics carry."""

    def show(scene: Scene) -> None:
        publishers = [scene.ros.observer.create_publisher(String, name, qos.LATCHED) for name in names]
        scene.ros.wait(lambda: publishers[0].get_subscription_count() > 0, "a listener", 20.0)
        for text in GARBAGE:
            for publisher in publishers:
                publisher.publish(String(data=text))
            time.sleep(0.02)
        time.sleep(0.2)
        for heard in scene.ros.seen.values():  # the bench itself listens, too
            heard[:] = [message for message in heard if getattr(message, "data", None) not in GARBAGE]
        dead = {name: process.poll() for name, process in scene.processes.items() if process.poll() is not None}
        assert not dead, f"died of text: {dead}"

    return show


def swap_bundle(scene: Scene) -> None:
    other = tiny_bundle((0.6, -0.3, 0.3)).save(scene.folder / "other")
    shutil.copytree(other, scene.bundle, dirs_exist_ok=True)


def stamps_repeat(scene: Scene) -> None:
    held = scene.arm._stamp()
    scene.arm._stamp = lambda: held  # type: ignore[method-assign]


def old_samples_between(scene: Scene) -> None:
    """Every second sample is 20 ms older than the one before it."""
    fresh, turn = scene.arm._stamp, itertools.count()

    def stamp():
        now = fresh()
        if next(turn) % 2:
            return rclpy.time.Time(seconds=now.sec, nanoseconds=max(0, now.nanosec - 20_000_000)).to_msg()
        return now

    scene.arm._stamp = stamp  # type: ignore[method-assign]


def cut_network(scene: Scene) -> None:
    run("ip", "link", "set", "s2r-robot", "down")


FAULTS = (
    Fault("policy SIGKILL", kill("policy", signal.SIGKILL), "policy: no "),
    Fault("policy SIGSTOP", kill("policy", signal.SIGSTOP), "policy: no "),
    Fault("policy SIGTERM", kill("policy", signal.SIGTERM), ""),
    Fault("gate SIGKILL", kill("gate", signal.SIGKILL), "safety gate: silent"),
    Fault("gate SIGSTOP", kill("gate", signal.SIGSTOP), "safety gate: silent"),
    Fault("gate SIGTERM", kill("gate", signal.SIGTERM), "shut down"),
    Fault("camera lost", set_arm(seeing=False), "camera 'front': no frame for"),
    Fault("joint states lost", set_arm(measuring=False), "joint state"),
    Fault("joint states NaN", set_arm(poison=float("nan")), "finite"),
    Fault("driver's clock 1 s ahead", set_arm(clock_offset=1.0), "joint state"),
    Fault("driver's clock 5 s back", set_arm(clock_offset=-5.0), "joint state"),
    Fault("one sample repeated for ever", stamps_repeat, "joint state"),
    Fault("older samples in between", old_samples_between, "", stops=False),
    Fault("command NaN", positions(lambda q: q * float("nan")), "finite joint positions", drives=True),
    Fault("command 100 times too large", positions(lambda q: q + 100 * 0.04), "from the setpoint", drives=True),
    Fault("command of six positions", positions(lambda q: q[:-1]), "6 positions for 7 joints", drives=True),
    Fault("command without positions", positions(lambda q: q[:0]), "0 positions for 7 joints", drives=True),
    Fault("command lacks a joint", joints(PANDA.joint_names[:-1]), "'panda_joint7' is not among", drives=True),
    Fault("command names an unknown joint", joints((*PANDA.joint_names, "elbow")), "'elbow' is unknown", drives=True),
    Fault("command names a joint twice", joints((*PANDA.joint_names, "panda_joint1")), "named twice", drives=True),
    Fault("command without a stamp", stamp(None), "the stamp is empty", drives=True),
    Fault("command stamped 1 s ahead", stamp(1.0), "s ahead, expected within", drives=True),
    Fault("command stamped 60 s ago", stamp(-60.0), "s old, expected within", drives=True),
    Fault("a second policy of the same node name", rival_policy, "two policies"),
    Fault("a second publisher on the controller's topic", rival_of_the_gate, "also publishes to the arm's controller"),
    Fault(
        "controller deactivated",
        deactivate_controller,
        "'joint_trajectory_controller' is inactive",
        drives=True,
        before=ControllerManager,
        silence=0.25,
    ),
    Fault("bundle swapped on the disk", swap_bundle, "", stops=False),
    Fault("lens covered", lambda scene: scene.arm.pixels.fill(0), "input 'image_front'"),  # type: ignore[union-attr]
    Fault("torque above a joint's limit", set_arm(effort=90.0), "reports 90.0 N·m"),
    Fault("emergency stop", lambda scene: scene.ros.e_stop(True), "emergency stop"),
    Fault(
        "emergency stop's driver silent",
        silent_button,
        "emergency stop",
        drives=True,
        gate={"e_stop_timeout": 0.3},
        before=Button,
        silence=0.3,
    ),
    Fault(
        "any text on the nodes' topics",
        garbage(topics.GATE_STATE, topics.POLICY_STATE, topics.RECORDER_STATE, topics.ROBOT_DESCRIPTION),
        "",
        stops=False,
        beside="supervisor",
    ),
    Fault("any text on the virtual arm's topic", garbage(topics.VIRTUAL_FAULT), "", stops=False, beside="virtual_arm"),
    Fault("recorder SIGKILL", kill("recorder", signal.SIGKILL), "", stops=False, records="disk"),
    Fault("recorder SIGSTOP", kill("recorder", signal.SIGSTOP), "", stops=False, records="disk"),
    Fault("supervisor SIGKILL", kill("supervisor", signal.SIGKILL), "", stops=False, beside="supervisor"),
    Fault("virtual arm SIGKILL", kill("virtual_arm", signal.SIGKILL), "joint state", beside="virtual_arm"),
    Fault("disk full under the recorder", lambda scene: None, "No space left", records="tmpfs", root=True),
    Fault("network cut between policy and robot", cut_network, "policy: no ", root=True, apart=True),
)
CHECKS = tuple(
    Check(fault.name, "motion", fault.expected, partial(show_to_moving_arm, fault), fault.root, fault.apart)
    for fault in FAULTS
)
