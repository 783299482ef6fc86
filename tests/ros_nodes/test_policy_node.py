"""The policy node as a process: it verifies, waits, drives, lets go, and refuses in one line."""

from __future__ import annotations

import json
import shutil
import signal
import time
from dataclasses import replace

import numpy as np
import onnx
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from onnx import TensorProto, helper, numpy_helper
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue, SetParametersResult
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Float64MultiArray, String, UInt64
from trajectory_msgs.msg import JointTrajectory

from policies.bundle.input_watch import InputWatch, Range
from policies.bundle.policy_bundle import BEGIN, COMPLETION
from robots.camera import CameraModel
from robots.registry import load_robot
from ros_nodes import qos, topics
from tests.support.ros_bench import FakeArm, RosBench, finish, interrupt
from tests.support.tiny_bundle import CAMERA, GOAL, tiny_bundle
from tests.support.two_cameras import two_camera_bundle

pytestmark = pytest.mark.ros
PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
WEBCAM = CameraModel.looking_at("front", (1.25, 0.0, 0.70), (0.45, 0.0, 0.10), 480, 640, 46.0)


def test_lifecycle_drives_and_lets_go(ros, tiny_bundle_path):
    """configure, activate, deactivate, activate again, cleanup: as a session's runner does, by services."""
    arm = ros.arm(PANDA, CAMERA)
    ros.gate(tiny_bundle_path)
    ros.start("policy_node", bundle=tiny_bundle_path)
    assert ros.change_state(Transition.TRANSITION_CONFIGURE)
    assert ros.policy_state["bundle"] == "tiny"
    time.sleep(0.3)
    assert arm.received == []  # configured is not moving
    assert ros.change_state(Transition.TRANSITION_ACTIVATE)
    ros.wait(lambda: len(arm.received) > 30, "the arm to move")
    assert ros.change_state(Transition.TRANSITION_DEACTIVATE)
    count = ros.rest(arm)
    rest = arm.q.copy()
    assert np.linalg.norm(PANDA.chain.pose(rest)[1] - GOAL) > 0.02
    arm.q = HOME.copy()  # the operator puts the arm home by hand
    time.sleep(0.3)
    assert len(arm.received) == count
    assert ros.change_state(Transition.TRANSITION_ACTIVATE)
    ros.wait(lambda: len(arm.received) > count + 20, "the arm to move again")
    assert np.abs(arm.received[count][1] - HOME).max() < 2e-3
    ros.wait(lambda: np.linalg.norm(PANDA.chain.pose(arm.q)[1] - GOAL) < 0.01, "the goal")
    assert ros.change_state(Transition.TRANSITION_DEACTIVATE)
    assert ros.change_state(Transition.TRANSITION_CLEANUP)
    assert ros.policy_state["state"] == "unconfigured"
    assert ros.gate_state["state"] == "ready"


def test_a_policy_that_tells_when_its_task_is_done_says_so(ros, tmp_path):
    """Completion grows by a tenth an action from each activation on; a policy without it says nothing."""
    bundle = tiny_bundle()
    model = onnx.load_from_string(bundle.onnx)
    model.graph.input.append(helper.make_tensor_value_info(COMPLETION, TensorProto.FLOAT, [1, 1]))
    model.graph.output.append(helper.make_tensor_value_info(f"next_{COMPLETION}", TensorProto.FLOAT, [1, 1]))
    numbers = (numpy_helper.from_array(np.float32(n), name) for name, n in (("tenth", 0.1), ("whole", 1.0)))
    model.graph.initializer.extend(numbers)
    model.graph.node.append(helper.make_node("Add", [COMPLETION, "tenth"], ["grown"]))
    model.graph.node.append(helper.make_node("Min", ["grown", "whole"], [f"next_{COMPLETION}"]))
    parity = {**bundle.parity, BEGIN: np.array([True, False, False])}
    telling = replace(bundle, onnx=model.SerializeToString(), memory={COMPLETION: (1,)}, parity=parity)
    ros.arm(PANDA, CAMERA)
    path = telling.save(tmp_path / "bundle")
    ros.gate(path)
    ros.policy(path)
    assert ros.policy_state["done"] is not True
    ros.wait(lambda: ros.policy_state["done"] is True, "the task to be done")
    assert ros.policy_state["state"] == "active"
    assert ros.change_state(Transition.TRANSITION_DEACTIVATE)
    assert ros.change_state(Transition.TRANSITION_ACTIVATE)
    ros.wait(lambda: ros.policy_state["state"] == "active", "the policy to be active")
    assert ros.policy_state["done"] is not True


def test_shadow_mode_moves_nothing(ros, tiny_bundle_path):
    """A 640 × 480 camera; no gate anywhere; commands appear on the shadow topic alone, at the policy's rate."""
    arm = ros.arm(PANDA, WEBCAM)
    shadow = ros.listen(JointTrajectory, topics.POLICY_SHADOW)
    latency = ros.listen(Float64MultiArray, topics.POLICY_LATENCY)
    forbidden = [
        ros.listen(kind, topic)
        for kind, topic in (
            (JointTrajectory, topics.POLICY_COMMAND),
            (UInt64, topics.POLICY_HEARTBEAT),
            (JointTrajectory, topics.TRAJECTORY_COMMAND),
            (Float64MultiArray, topics.FORWARD_COMMAND),
        )
    ]
    policy = ros.policy(tiny_bundle_path, shadow=True)
    ros.wait(lambda: len(shadow) > 30, "shadow commands")
    status, said = interrupt(policy, signal.SIGTERM)
    assert (status, "Traceback" in said) == (0, False)
    assert forbidden == [[], [], [], []]
    assert arm.received == []
    assert tuple(shadow[0].joint_names) == PANDA.joint_names
    ages = np.array([message.data for message in latency])
    assert np.isfinite(ages).all()
    assert 0 < np.median(ages[:, 0]) < 0.02
    assert 0 < np.median(ages[:, 1]) < 0.06
    assert np.median(np.abs(ages[2:, 3])) < 2e-3


def test_a_calibration_is_taken_instead_of_the_drivers_word(ros, tiny_bundle_path, tmp_path):
    """The driver knows nothing of its lens; with a calibrated one, and an arm described as it is, the policy runs."""
    arm = ros.arm(PANDA, WEBCAM)
    arm._info.k = [0.0] * 9
    file = tmp_path / "front.json"
    moved = CameraModel.looking_at("front", (1.35, 0.0, 0.70), (0.45, 0.0, 0.10), 480, 640, 46.0)
    file.write_text(json.dumps(moved.to_dict()))
    ros.observer.create_publisher(String, topics.ROBOT_DESCRIPTION, qos.LATCHED).publish(String(data=PANDA.urdf_xml))
    shadow = ros.listen(JointTrajectory, topics.POLICY_SHADOW)
    policy = ros.policy(tiny_bundle_path, shadow=True, camera_calibration=file, wait=30.0)
    ros.wait(lambda: len(shadow) > 5, "shadow commands")
    status, said = interrupt(policy, signal.SIGTERM)
    assert status == 0, said
    assert "camera 'front': stands 10.0 cm" in said


def test_lost_camera_stops_the_arm_and_says_so(ros, tmp_path):
    arm = ros.arm(PANDA, CAMERA)
    path = tiny_bundle((0.35, 0.45, 0.5), gain=0.5).save(tmp_path / "far")
    heard = ros.listen(DiagnosticArray, topics.DIAGNOSTICS, 20)
    ros.gate(path)
    ros.policy(path)
    ros.wait(lambda: len(arm.received) > 40, "the arm to move")
    arm.seeing = False
    lost = time.monotonic()
    ros.wait(lambda: ros.policy_state["state"] == "inactive", "the policy to give up")
    assert time.monotonic() - lost < 0.25 + 0.15 + 0.7
    assert "camera 'front': no frame for 0." in ros.policy_state["reason"]
    count = ros.rest(arm)
    arm.seeing = True
    time.sleep(0.3)
    assert len(arm.received) == count  # nobody starts again by itself

    def counted() -> bool:
        said = [status for array in heard for status in array.status if status.name == "policy_node"]
        return bool(said) and {v.key: v.value for v in said[-1].values}.get("camera_stale") == "1"

    ros.wait(counted, "the refusal among the diagnostics", 3.0)


class TwoCameraArm(FakeArm):
    """An arm with two noisy cameras, 'front' and 'side', of which some fall silent."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.silent: set[str] = set()
        self._rng = np.random.default_rng(0)
        self._each = {
            name: (self.create_publisher(Image, each.image, 5), self.create_publisher(CameraInfo, each.info, 5))
            for name, each in topics.camera_topics(["front", "side"]).items()
        }

    def _publish_image(self) -> None:
        if not hasattr(self, "_each"):
            return
        self._image.header.stamp = self._info.header.stamp = self._stamp()
        for name, (images, infos) in self._each.items():
            if name not in self.silent:
                self.pixels[:] = self._rng.integers(100, 140, self.pixels.shape)
                infos.publish(self._info)
                images.publish(self._image)


def test_a_camera_that_falls_silent_is_masked_and_said(ros, tmp_path):
    arm = ros.arm(PANDA, CAMERA, TwoCameraArm)
    path = two_camera_bundle((0.35, 0.45, 0.5), gain=0.3).save(tmp_path / "far")
    heard = ros.listen(DiagnosticArray, topics.DIAGNOSTICS, 20)
    ros.gate(path)
    ros.policy(path)
    ros.wait(lambda: len(arm.received) > 40, "the arm to move")
    assert ros.policy_state["warning"] == ""
    arm.silent.add("side")
    ros.wait(lambda: ros.policy_state["warning"] != "", "the warning", 2.0)
    assert "camera 'side': no frame for 0." in ros.policy_state["warning"]
    assert "Going on with 'front', predicted error of goal 1.9 cm instead of 0.9" in ros.policy_state["warning"]
    count = len(arm.received)
    ros.wait(lambda: len(arm.received) > count + 20, "the arm to go on")

    def counted() -> bool:
        said = [status for array in heard for status in array.status if status.name == "policy_node"]
        counts = {v.key: v.value for v in said[-1].values} if said else {}
        return counts.get("camera_masked") == "1" and said[-1].level == DiagnosticStatus.WARN

    ros.wait(counted, "the warning among the diagnostics", 3.0)
    assert ros.policy_state["state"] == "active"
    arm.silent.add("front")
    ros.wait(lambda: ros.policy_state["state"] == "inactive", "the policy to give up", 2.0)
    assert ros.policy_state["key"] == "camera_stale"


def test_clock_jump_is_no_fresh_state(ros, tmp_path):
    """A driver whose clock leaps ahead: its samples are refused, so the state goes stale and the arm stops."""
    arm = ros.arm(PANDA, CAMERA)
    path = tiny_bundle((0.35, 0.45, 0.5), gain=0.5).save(tmp_path / "far")
    ros.gate(path)
    ros.policy(path)
    ros.wait(lambda: len(arm.received) > 40, "the arm to move")
    arm.clock_offset = 60.0
    ros.wait(lambda: ros.policy_state["state"] == "inactive", "the policy to give up", 2.0)
    ros.wait(lambda: ros.gate_state["counts"].get("state_stamp", 0) > 5, "the count", 2.0)


def test_light_is_matched_and_the_match_undone_while_the_policy_runs(ros, tmp_path):
    """Pictures 28 grey levels above all that training saw are brought back; false undoes it; no flag, no answer."""
    seen = Range((80.0, 80.0, 80.0, 0.0, 0.0), (100.0, 100.0, 100.0, 20.0, 20.0))
    path = replace(tiny_bundle(), inputs=InputWatch({"image_front": seen})).save(tmp_path / "lit")
    heard = ros.listen(DiagnosticArray, topics.DIAGNOSTICS, 20)
    client = ros.observer.create_client(SetParameters, "/policy_node/set_parameters")
    ros.arm(PANDA, CAMERA)
    ros.policy(path, shadow=True, match_light=True)

    def said() -> tuple[str | None, ...]:
        statuses = [status for array in heard for status in array.status if status.name == "policy_node"]
        newest = {value.key: value.value for value in statuses[-1].values} if statuses else {}
        return tuple(newest.get(f"light_match_{key}") for key in ("on", "levels", "jumped"))

    def answer(value: ParameterValue) -> SetParametersResult:
        request = SetParameters.Request(parameters=[ParameterMessage(name="match_light", value=value)])
        coming = client.call_async(request)
        ros.wait(coming.done, "the answer", 5.0)
        return coming.result().results[0]

    ros.wait(lambda: said() == ("1", "28", "0"), "pictures 28 levels darker", 10.0)
    refused = answer(ParameterValue(type=ParameterType.PARAMETER_STRING, string_value="maybe"))
    assert not refused.successful
    assert refused.reason.startswith("parameter 'match_light': 'maybe', expected true or false")
    assert answer(ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=False)).successful
    ros.wait(lambda: said() == ("0", "0", "0"), "pictures as they are", 3.0)
    assert ros.policy_state["state"] == "active"


# Refusals at start-up


def altered(path):
    content = bytearray((path / "policy.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "policy.onnx").write_bytes(bytes(content))


def wrong_parity(bundle):
    return replace(bundle, parity={**bundle.parity, "action": bundle.parity["action"] + np.float32(0.01)})


@pytest.fixture(scope="module")
def refusals(ros_environment, tmp_path_factory):
    """Start every node that must refuse at once, to save time; return status and words of each."""
    folder = tmp_path_factory.mktemp("refused")
    good = tiny_bundle()
    paths = {name: good.save(folder / name) for name in ("good", "altered")}
    altered(paths["altered"])
    paths["wrong_parity"] = wrong_parity(good).save(folder / "wrong_parity")
    other_names = replace(PANDA, joint_names=tuple(f"fr3_joint{i}" for i in range(1, 8)))
    renamed = replace(good, robot=replace(other_names, urdf_xml=PANDA.urdf_xml.replace("panda_joint", "fr3_joint")))
    paths["renamed"] = renamed.save(folder / "renamed")
    wide = CameraModel.looking_at("front", (1.25, 0.0, 0.70), (0.45, 0.0, 0.10), 84, 84, 100.0)
    paths["wide"] = tiny_bundle(camera=wide).save(folder / "wide")
    paths["wrist"] = tiny_bundle(camera=replace(CAMERA, name="wrist")).save(folder / "wrist")
    (folder / "of_another_size.json").write_text(json.dumps(WEBCAM.to_dict()))
    described = {"robot_description": "/described"}
    runs = {
        "calibrated size": {"bundle": paths["good"], "camera_calibration": folder / "of_another_size.json"},
        "described": {"bundle": paths["good"], "shadow": True, **described},
        "no bundle": {},
        **{name: {"bundle": paths[name]} for name in ("altered", "wrong_parity", "renamed", "wide")},
        "no camera": {"bundle": paths["wrist"], "image_topics": "wrist=/wrist/image_raw"},
        "unknown camera": {"bundle": paths["wrist"], "image_topics": "front=/front/image_raw"},
        "no gate": {"bundle": paths["good"]},
        "unknown light": {"bundle": paths["good"], "match_light": True},
        "bad limit": {"bundle": paths["good"], "frame_age": 0},
        "no arm": {"bundle": paths["good"], "joint_states": "/other/joint_states"},
    }
    with RosBench(ros_environment) as ros:
        ros.arm(PANDA, CAMERA)
        weaker = PANDA.urdf_xml.replace('upper="2.9671"', 'upper="2.5"')
        assert weaker != PANDA.urdf_xml
        ros.observer.create_publisher(String, "/described", qos.LATCHED).publish(String(data=weaker))
        # thirteen start at once: what is there may come late, and what is not, or does not fit, is waited for
        waits = {name: 10.0 if name in ("no camera", "no gate", "no arm", "renamed") else 20.0 for name in runs}
        children = {
            name: ros.start("policy_node", autostart=True, **{"wait": waits[name], **parameters})
            for name, parameters in runs.items()
        }
        # together they compute for 15 s, which a busy machine's two cores may take minutes for
        yield {name: finish(child, 240.0) for name, child in children.items()}
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no bundle", ["parameter 'bundle' is empty", "-p bundle:="]),
        ("altered", ["policy.onnx has been altered", "the manifest says", "copy the bundle again"]),
        ("wrong_parity", ["differ from the recorded ones by 0.01", "allowed 1e-04"]),
        ("renamed", ["joint 'fr3_joint1' is not among the received joints panda_joint7", "same joint names"]),
        ("wide", ["camera 'front'", "lie outside this camera's view", "use a wider lens"]),
        ("no camera", ["camera 'wrist': no usable CameraInfo within 10 s on /wrist/camera_info"]),
        ("unknown camera", ["'front=/front/image_raw', expected <camera>=<topic>", "wrist"]),
        ("no gate", ["safety gate: never heard on /safety_gate/heartbeat", "start the safety_gate node"]),
        ("unknown light", ["light match: the bundle does not say what training saw of camera 'front'"]),
        ("bad limit", ["limit 'frame_age': 0.0 s, expected within (0, 1]"]),
        (
            "calibrated size",
            ["/camera/image_raw is 84 × 84 pixels", "of_another_size.json' says 480 × 640", "at the size it runs at"],
        ),
        ("described", ["/described: joint 'panda_joint1' moves within [-2.9671, 2.5] rad", "[-2.8973, 2.8973]"]),
        ("no arm", ["joint state: none", "/other/joint_states"]),
    ],
)
def test_refusal_is_one_line_and_a_status(refusals, name, words):
    status, said = refusals[name]
    lines = [line for line in said.splitlines() if line.startswith("policy_node: ")]
    assert status == 1
    assert "Traceback" not in said
    assert "ERROR" not in said
    assert len(lines) == 1
    for part in words:
        assert part in lines[0]


def test_state_topic_is_json(ros, tiny_bundle_path):
    ros.start("policy_node", bundle=tiny_bundle_path)
    ros.wait(lambda: bool(ros.seen[topics.POLICY_STATE]), "the state")
    report = json.loads(ros.seen[topics.POLICY_STATE][-1].data)
    assert set(report) == {"state", "reason", "key", "warning", "done", "thing", "bundle", "hash"}
