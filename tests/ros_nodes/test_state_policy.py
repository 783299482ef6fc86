"""A policy that observes the goal's and the object's pose, from an estimator's PoseStamped messages."""

from __future__ import annotations

import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from rclpy.duration import Duration
from scipy.spatial.transform import Rotation
from visualization_msgs.msg import MarkerArray

from robots.observation import needed_poses
from robots.registry import load_robot
from ros_nodes import qos, topics
from tests.support.ros_bench import RosBench, finish
from tests.support.tiny_bundle import tiny_bundle

pytestmark = pytest.mark.ros
PANDA = load_robot("franka_panda")
GOAL = np.array([0.45, 0.15, 0.35])
ESTIMATED = ("goal", "object_pos", "object_quat")
T_BASE_CAMERA = Rotation.from_euler("xyz", (0.3, -0.4, 2.0)), np.array([1.0, 0.2, 0.7])
"""Where the estimator's camera stands."""


class Estimator:
    """Publishes poses 30 times a second; attributes may be changed meanwhile."""

    def __init__(self, ros: RosBench, frame: str = PANDA.base_link):
        self.places = {"goal": GOAL.copy(), "object": np.array([0.5, 0.0, 0.02])}
        self.frame, self.seeing, self.old, self.node = frame, True, 0.0, ros.observer
        self.length = 1.0  # of the quaternions
        self._publishers = {
            name: ros.observer.create_publisher(PoseStamped, f"/detected_{name}", 5) for name in self.places
        }
        ros.observer.create_timer(1 / 30, self._publish)

    def _publish(self) -> None:
        if not self.seeing:
            return
        R, p = T_BASE_CAMERA if self.frame == "camera" else (Rotation.identity(), np.zeros(3))
        for name, place in self.places.items():
            message = PoseStamped()
            message.header.frame_id = self.frame
            message.header.stamp = (self.node.get_clock().now() - Duration(seconds=self.old)).to_msg()
            at, turn = R.inv().apply(place - p), self.length * R.inv().as_quat()
            message.pose.position.x, message.pose.position.y, message.pose.position.z = at.tolist()
            quat = message.pose.orientation
            quat.x, quat.y, quat.z, quat.w = turn.tolist()
            self._publishers[name].publish(message)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    made = tiny_bundle(gain=2.0, camera=None, estimated=ESTIMATED)
    assert needed_poses(made.observation) == ("goal", "object")
    return made.save(tmp_path_factory.mktemp("state") / "bundle")


def drive(ros, bundle, **parameters):
    arm = ros.arm(PANDA)
    ros.gate(bundle)
    ros.policy(bundle, goal="/detected_goal", object="/detected_object", wait=20.0, **parameters)
    return arm


def away(arm, goal) -> float:
    return float(np.linalg.norm(PANDA.chain.pose(arm.q)[1] - goal))


def test_the_arm_goes_where_the_estimator_says_and_follows(ros, bundle):
    estimator = Estimator(ros)
    shown = ros.listen(MarkerArray, topics.POLICY_MARKERS, qos.LATCHED)
    boxes = ros.listen(MarkerArray, topics.GATE_MARKERS, qos.LATCHED)
    arm = drive(ros, bundle, goal_offset="[0.0, 0.0, 0.1]")
    above = (0.0, 0.0, 0.1)
    ros.wait(lambda: away(arm, GOAL + above) < 0.01, "the goal")
    estimator.places["goal"] = GOAL - (0.0, 0.2, 0.1)
    ros.wait(lambda: away(arm, GOAL - (0.0, 0.2, 0.1) + above) < 0.01, "the goal after it moved")
    markers = {marker.ns: marker for marker in shown[-1].markers}
    assert set(markers) == {"goal", "object"}
    assert markers["goal"].header.frame_id == PANDA.base_link
    at = markers["goal"].pose.position
    np.testing.assert_allclose([at.x, at.y, at.z], estimator.places["goal"] + above, atol=1e-6)
    assert [marker.ns for marker in boxes[-1].markers] == ["workspace"]


def test_a_pose_in_the_cameras_frame_is_transformed(ros, bundle):
    Estimator(ros, "camera")
    R, p = T_BASE_CAMERA
    arm = drive(ros, bundle, **{"pose_frames.camera": " ".join(str(v) for v in (*p, *R.as_quat()))})
    ros.wait(lambda: away(arm, GOAL) < 0.01, "the goal")


@pytest.mark.parametrize(
    ("spoil", "value", "words", "count"),
    [
        ("seeing", False, "pose 'goal': 0.", ""),
        ("old", 1.0, "pose 'goal': 0.", ""),
        ("frame", "camera", "pose 'goal': 0.", "pose_goal"),
        ("length", 0.5, "pose 'goal': 0.", "pose_goal"),
    ],
)
def test_a_pose_that_is_stale_or_makes_no_sense_stops_the_arm(ros, bundle, spoil, value, words, count):
    """The newest good pose ages: a controlled stop within its limit, and nobody starts again by itself."""
    estimator = Estimator(ros)
    estimator.places["goal"] = np.array([0.35, 0.45, 0.5])
    heard = ros.listen(DiagnosticArray, topics.DIAGNOSTICS, 20)
    arm = drive(ros, bundle)
    ros.wait(lambda: len(arm.received) > 20, "the arm to move")
    good = getattr(estimator, spoil)
    setattr(estimator, spoil, value)
    lost = time.monotonic()
    ros.wait(lambda: ros.policy_state["state"] == "inactive", "the policy to give up", 3.0)
    assert time.monotonic() - lost < 0.25 + 0.7
    assert words in ros.policy_state["reason"]
    assert "limit 0.250 s" in ros.policy_state["reason"]
    at_rest = ros.rest(arm)
    setattr(estimator, spoil, good)
    time.sleep(0.3)
    assert len(arm.received) == at_rest

    def counted() -> bool:
        said = [status for array in heard for status in array.status if status.name == "policy_node"]
        return bool(said) and int({v.key: v.value for v in said[-1].values}.get(count, 0)) > 2

    if count:
        ros.wait(counted, "the dropped poses among the diagnostics", 3.0)


def test_what_cannot_be_known_is_refused_in_one_line(ros, bundle):
    Estimator(ros, "camera")
    ros.arm(PANDA)
    runs = {
        "not given": ({}, "parameter 'goal': ''; policy 'tiny' observes the goal's pose: give the topic"),
        "no tf": ({"goal": "tf:cube"}, "parameter 'goal': 'tf:cube' needs tf2_ros, which is not installed here"),
        "no estimator": (
            {"goal": "/nobody", "pose_frames.camera": "0 0 0 0 0 0 1"},
            "pose 'goal': none within 3 s on /nobody",
        ),
        "frame": ({"goal": "/detected_goal"}, "in frame 'camera', expected 'panda_link0'; tf2_ros is not installed"),
        "no topic": (
            {"goal": "/detected-cube"},
            "Invalid topic name: topic name must not contain",
        ),
        "bad frame": (
            {"goal": "/x", "pose_frames.camera": "1 2 3"},
            "parameter 'pose_frames.camera': '1 2 3', expected",
        ),
    }
    children = {
        name: ros.start(
            "policy_node", bundle=bundle, autostart=True, **{"object": "/detected_object", "wait": 3.0, **given}
        )
        for name, (given, _) in runs.items()
    }
    for name, (_, words) in runs.items():
        status, said = finish(children[name], 60.0)
        (line,) = (line for line in said.splitlines() if line.startswith("policy_node: "))
        assert status == 1
        assert words in line, (name, line)
        assert "Traceback" not in said
