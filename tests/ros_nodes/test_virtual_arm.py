"""The virtual arm as a process, over real DDS."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from robots.model import RobotModel
from robots.registry import load_robot
from robots.rig import load_rig
from ros_nodes import topics
from ros_nodes.messages import camera_model, rgb, seconds, trajectory
from sim.tasks.reach import ABOVE
from sim.virtual_arm.hidden_reality import HiddenReality
from tests.support.ros_bench import RosBench, finish, interrupt
from tests.support.tiny_bundle import tiny_bundle

pytestmark = pytest.mark.ros
PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)


class Beside:
    """What a person beside the virtual arm sees and does."""

    def __init__(self, bench: RosBench, **parameters: object):
        self.bench = bench
        self.joints = bench.listen(JointState, topics.JOINT_STATES, 50)
        self.truth = bench.listen(Float64MultiArray, topics.VIRTUAL_TRUTH, 50)
        self.infos = bench.listen(CameraInfo, topics.CAMERA_INFO, 50)
        self.images = bench.listen(Image, topics.CAMERA_IMAGE, 50)
        publish = bench.observer.create_publisher
        self.trajectory = publish(JointTrajectory, topics.TRAJECTORY_COMMAND, 10)
        self.forward = publish(Float64MultiArray, topics.FORWARD_COMMAND, 10)
        self.place_topic = publish(Float64MultiArray, topics.VIRTUAL_PLACE, 10)
        self.fault_topic = publish(String, topics.VIRTUAL_FAULT, 10)
        rig = {} if "bundle" in parameters else {"cameras": "front"}
        self.process = bench.start("virtual_arm", **rig, **parameters)
        commands = self.forward if "controller" in parameters else self.trajectory
        heard = (commands, self.place_topic, self.fault_topic)
        bench.wait(lambda: self.joints and self.truth and self.images, "the virtual arm", timeout=30)
        bench.wait(lambda: all(topic.get_subscription_count() for topic in heard), "its subscriptions")

    @property
    def q(self) -> np.ndarray:
        return self.q_of(PANDA)

    def q_of(self, robot: RobotModel) -> np.ndarray:
        self.bench.wait(lambda: self.joints, "joint states")
        newest = self.joints[-1]
        return np.array(newest.position)[robot.order(newest.name)]

    def arrives(self, q: np.ndarray, within: float = 0.03, timeout: float = 3.0) -> bool:
        try:
            self.bench.wait(lambda: np.abs(self.q - q).max() < within, "the arm to arrive", timeout)
        except AssertionError:
            return False
        return True

    def place(self, trial: int, x: float, y: float, seed: int = 0) -> None:
        self.place_topic.publish(Float64MultiArray(data=[float(trial), x, y, float(seed)]))
        self.bench.wait(lambda: self.truth[-1].data[0] == trial, f"trial {trial}")


def test_publishes_what_a_robot_does_at_its_rates(ros: RosBench) -> None:
    arm = Beside(ros)
    time.sleep(0.3)
    for messages in (arm.joints, arm.truth, arm.infos, arm.images):
        messages.clear()
    time.sleep(2.0)
    joints, truth, infos, images = (list(m) for m in (arm.joints, arm.truth, arm.infos, arm.images))
    assert 180 <= len(joints) <= 210
    assert 180 <= len(truth) <= 210
    assert 50 <= len(images) <= 62
    assert joints[0].name[:7] != list(PANDA.joint_names), "a real driver's order is not the policy's"
    assert sorted(joints[0].name) == sorted((*PANDA.joint_names, *PANDA.gripper.joint_names))
    assert arm.arrives(HOME, within=0.02)
    periods = np.diff([seconds(message.header.stamp) for message in joints])
    assert np.quantile(np.abs(periods - 0.01), 0.9) < 0.004  # loosely: other processes share these cores
    assert {seconds(m.header.stamp) for m in images[1:-1]} <= {seconds(m.header.stamp) for m in infos}
    camera = camera_model(infos[0], "front")
    (view,) = load_rig("front", PANDA).cameras
    picture = camera.rectifier(view)(rgb(images[-1], "front"))
    assert picture.shape == (84, 84, 3)
    assert any(camera.distortion)
    assert picture.std() > 20


def test_two_cameras_publish_side_by_side(ros: RosBench) -> None:
    """Two named topics, each at its own camera's rate and time; joint states come as regularly as with one."""
    joints = ros.listen(JointState, topics.JOINT_STATES, 50)
    named = topics.camera_topics(["front", "side"])
    assert [each.image for each in named.values()] == ["front/image_raw", "side/image_raw"]
    images = {name: ros.listen(Image, each.image, 50) for name, each in named.items()}
    infos = {name: ros.listen(CameraInfo, each.info, 50) for name, each in named.items()}
    alone = ros.listen(Image, topics.CAMERA_IMAGE, 50)
    ros.start("virtual_arm", cameras="front_side")
    ros.wait(lambda: joints and all(images.values()), "both cameras")
    time.sleep(0.5)
    for messages in (joints, *images.values(), *infos.values()):
        messages.clear()
    time.sleep(3.0)
    taken, told, states = ({k: list(v) for k, v in each.items()} for each in (images, infos, {"q": joints}))
    rate = HiddenReality().camera.rate_hz
    cameras = {}
    for name, view in zip(("front", "side"), load_rig("front_side", PANDA).cameras):
        assert 0.5 * 3 * rate <= len(taken[name]) <= 1.05 * 3 * rate  # a busy machine leaves frames out
        assert taken[name][0].header.frame_id == f"camera_{name}_optical_frame"
        assert {seconds(m.header.stamp) for m in taken[name][1:-1]} <= {seconds(m.header.stamp) for m in told[name]}
        cameras[name] = camera_model(told[name][0], name)
        assert cameras[name].rectifier(view)(rgb(taken[name][-1], name)).std() > 20
    assert np.abs(rgb(taken["front"][-1], "front").astype(int) - rgb(taken["side"][-1], "side")).mean() > 10
    stamps = [{seconds(m.header.stamp) for m in taken[name]} for name in taken]
    assert not stamps[0] & stamps[1]  # free-running cameras expose at different times
    periods = np.diff([seconds(message.header.stamp) for message in states["q"]])
    assert np.quantile(np.abs(periods - 0.01), 0.9) < 0.004
    assert not alone


def test_a_bundle_says_what_arm_task_and_cameras_there_are(ros: RosBench, tmp_path: Path) -> None:
    """Its one camera is published under the one name; what is given beside the bundle may only agree with it."""
    bundle = tiny_bundle()
    path = bundle.save(tmp_path / "tiny")
    arm = Beside(ros, bundle=path)
    info = camera_model(arm.infos[-1], "front")
    assert info.rectifier(bundle.cameras["front"])(rgb(arm.images[-1], "front")).std() > 20
    assert arm.images[-1].header.frame_id == "camera_front_optical_frame"
    status, said = interrupt(arm.process)
    assert status == 0, said
    assert "cameras front drawn by" in said


def test_another_arm_in_another_engine(ros: RosBench) -> None:
    """A KUKA in PyBullet behind the same topics: states at their rate, pictures, trajectories, places."""
    robot = load_robot("kuka_iiwa")
    home = np.array(robot.home)
    arm = Beside(ros, robot="kuka_iiwa", engine="pybullet")
    assert sorted(arm.joints[-1].name) == sorted(robot.joint_names)
    arm.place(3, 0.45, 0.12)
    assert arm.truth[-1].data[5:7].tolist() == pytest.approx([0.45, 0.12], abs=2e-3)
    begun = len(arm.joints)  # before that it has loaded what draws it, and was late for that
    arm.trajectory.publish(trajectory(robot.joint_names, home + 0.15, 0.3))
    ros.wait(lambda: np.abs(arm.q_of(robot) - home - 0.15).max() < 0.02, "the arm to arrive", 5.0)
    ros.wait(lambda: len(arm.joints) > begun + 100, "a second of joint states", 5.0)
    assert rgb(arm.images[-1], "front").std() > 20
    periods = np.diff([seconds(message.header.stamp) for message in arm.joints[begun:]])
    assert np.quantile(np.abs(periods - 0.01), 0.9) < 0.004
    status, said = interrupt(arm.process)
    assert (status, "Traceback" in said) == (0, False)


def test_place_moves_the_cube_and_the_arm_home(ros: RosBench) -> None:
    arm = Beside(ros)
    away = HOME + 0.2
    arm.trajectory.publish(trajectory(PANDA.joint_names, away, 0.3))
    assert arm.arrives(away)
    arm.place(7, 0.4, -0.15)
    half = HiddenReality().scene.object_size / 2
    assert arm.truth[-1].data[5:8] == pytest.approx([0.4, -0.15, half + ABOVE], abs=1e-3)
    assert arm.truth[-1].data[11:].tolist() == [0.0, 1.0, 0.0]  # not near, nothing held, nothing failed
    assert arm.arrives(HOME, within=0.02, timeout=0.5)
    time.sleep(0.3)
    assert np.abs(arm.q - HOME).max() < 0.02, "a command from before the place must be forgotten"
    arm.place_topic.publish(Float64MultiArray(data=[8.0, 5.0, 0.0, 0.0]))
    time.sleep(0.2)
    assert arm.truth[-1].data[0] == 7, "a place off the table is refused"


def test_trajectory_controllers_rules(ros: RosBench) -> None:
    arm = Beside(ros)
    names, target = PANDA.joint_names, HOME + 0.15
    wrong = [
        trajectory(names[:6], target[:6], 0.1),
        trajectory((*names[:6], "elbow"), target, 0.1),
        trajectory(names, None, 0.1),
    ]
    past = trajectory(names, target, 0.1)
    past.header.stamp.sec = 1000
    twice = trajectory(names, target, 0.1)
    twice.points = [twice.points[0], twice.points[0]]
    for message in (*wrong, past, twice):
        arm.trajectory.publish(message)
    time.sleep(0.4)
    assert np.abs(arm.q - HOME).max() < 0.02, "a rejected command moves nothing"
    permuted = [3, 0, 6, 1, 5, 2, 4]
    arm.trajectory.publish(trajectory(tuple(names[i] for i in permuted), target[permuted], 0.4))
    began = time.monotonic()
    assert arm.arrives(target)
    assert time.monotonic() - began > 0.25, "it interpolates, and does not leap"
    arm.trajectory.publish(trajectory(names, target + 0.01, 0.001))  # as one that comes after its time
    assert arm.arrives(target + 0.01, within=0.02)
    arm.trajectory.publish(trajectory(names, np.full(7, np.nan), 0.1))
    time.sleep(0.3)
    assert np.abs(arm.q - target).max() < 0.03, "the driver holds where NaN is commanded"
    status, said = interrupt(arm.process)
    assert status == 0, said
    assert "partial" in said
    assert "not finite; holding" in said
    assert "the controller's command leaps by" in said


def test_a_stalled_machine_makes_no_command_leap(ros: RosBench) -> None:
    arm = Beside(ros)
    target = HOME + np.array([1.2, 0, 0, 0, 0, 0, 0])
    arm.trajectory.publish(trajectory(PANDA.joint_names, target, 2.0))
    time.sleep(0.5)
    arm.joints.clear()
    for _ in range(6):
        arm.process.send_signal(signal.SIGSTOP)
        time.sleep(0.035)
        arm.process.send_signal(signal.SIGCONT)
        time.sleep(0.15)
    torque = np.array([message.effort[message.name.index("panda_joint1")] for message in arm.joints])
    # 0.6 rad/s for 35 ms against 600 N·m/rad would be 12 N·m at once
    assert np.abs(np.diff(torque)).max() < 5.0
    assert arm.arrives(target)


def test_forward_controller_holds_the_last_command(ros: RosBench) -> None:
    arm = Beside(ros, controller="forward_position_controller")
    target = HOME - 0.1
    arm.forward.publish(Float64MultiArray(data=target.tolist()))
    assert arm.arrives(target)
    arm.forward.publish(Float64MultiArray(data=[float("nan"), *HOME[1:]]))
    arm.forward.publish(Float64MultiArray(data=HOME[:5].tolist()))
    time.sleep(0.5)
    assert np.abs(arm.q - target).max() < 0.03


def test_faults_on_request(ros: RosBench) -> None:
    arm = Beside(ros, fault="camera_drop")
    arm.images.clear()
    time.sleep(1.0)
    assert 5 <= len(arm.images) <= 14

    def show(fault: str, settle: float = 0.15) -> None:
        arm.fault_topic.publish(String(data=fault))
        time.sleep(settle)
        arm.joints.clear()
        arm.images.clear()

    show("joint_states_stop")
    time.sleep(0.3)
    assert not arm.joints
    assert arm.images
    show("camera_stop")
    time.sleep(0.3)
    assert arm.joints
    assert not arm.images
    show("camera_freeze")
    time.sleep(0.4)
    frozen = list(arm.images)
    assert len(frozen) >= 2
    assert frozen[0].data == frozen[-1].data
    assert seconds(frozen[0].header.stamp) < seconds(frozen[-1].header.stamp)
    show("camera_black")
    ros.wait(lambda: bool(arm.images) and not any(arm.images[-1].data), "a black picture")
    show("joint_states_nan")
    ros.wait(lambda: arm.joints and np.isnan(arm.joints[-1].position).any(), "NaN")
    show("delay_jump", settle=0.8)
    time.sleep(0.2)
    now = 1e-9 * ros.observer.get_clock().now().nanoseconds
    assert 0.25 < now - seconds(arm.joints[-1].header.stamp) < 0.6
    show("clock_jump", settle=0.5)
    time.sleep(0.1)
    now = 1e-9 * ros.observer.get_clock().now().nanoseconds
    assert 0.8 < seconds(arm.joints[-1].header.stamp) - now < 1.1
    show("controller_reject")
    arm.trajectory.publish(trajectory(PANDA.joint_names, HOME + 0.2, 0.1))
    time.sleep(0.3)
    assert np.abs(arm.q - HOME).max() < 0.02
    show("none")
    arm.trajectory.publish(trajectory(PANDA.joint_names, HOME + 0.2, 0.1))
    assert arm.arrives(HOME + 0.2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ends_cleanly_on_a_signal(ros: RosBench, number: signal.Signals) -> None:
    arm = Beside(ros)
    began = time.monotonic()
    status, said = interrupt(arm.process, number)
    assert status == 0, said
    assert "Traceback" not in said
    assert time.monotonic() - began < 3.0


BAD = [
    ({"robot": "r2d2"}, "unknown robot 'r2d2'; known are"),
    ({"engine": "ode"}, "unknown engine 'ode'; known are mujoco, pybullet"),
    ({"controller": "pid"}, "parameter 'controller' is 'pid'; known are joint_trajectory_controller"),
    ({"fault": "fire"}, "unknown fault 'fire'; known are none, camera_freeze"),
    ({"hidden": "nowhere.json"}, "hidden reality 'nowhere.json' cannot be read"),
    ({"cameras": "ceiling"}, "unknown camera rig 'ceiling'; known are front, front_side, front_wrist, wrist"),
    ({"cameras": "nowhere.json"}, "rig 'nowhere.json' cannot be read"),
    ({"bundle": "nowhere"}, "bundle 'nowhere' does not exist"),
]
MISFITS = [
    ({"robot": "kuka_iiwa"}, "parameter 'robot' is 'kuka_iiwa', but bundle 'tiny' is for 'franka_panda'; leave it"),
    (
        {"task": "push"},
        "parameter 'task' is 'push', but bundle 'tiny' is for 'reach'; leave it out, or",
    ),
    ({"cameras": "wrist"}, "parameter 'cameras': 'wrist' has wrist, but bundle 'tiny' takes front; leave it out"),
    ({"cameras": "front_side"}, "'front_side' has front, side, but bundle 'tiny' takes front; leave it out"),
]
"""With a bundle."""


@pytest.fixture(scope="module")
def refusals(ros_environment: dict[str, str], tiny_bundle_path: Path) -> dict[str, tuple[int, str]]:
    """Start every arm that is refused at once, to save time; return status and words of each."""
    every = [(parameters, parameters) for parameters, _ in BAD]
    every += [(parameters, {"bundle": tiny_bundle_path, **parameters}) for parameters, _ in MISFITS]
    with RosBench(ros_environment) as ros:
        children = {str(key): ros.start("virtual_arm", **parameters) for key, parameters in every}
        return {key: finish(child, 120.0) for key, child in children.items()}


@pytest.mark.parametrize(("parameters", "message"), [*BAD, *MISFITS])
def test_what_is_unknown_or_does_not_fit_is_refused_in_one_line(
    refusals: dict[str, tuple[int, str]], parameters: dict, message: str
) -> None:
    status, said = refusals[str(parameters)]
    assert status == 1
    assert message in said
    assert len(said.strip().splitlines()) == 1
