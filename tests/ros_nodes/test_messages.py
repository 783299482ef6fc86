"""What messages are made into: observations, images, joint states and stamps."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.clock import Clock, ClockType
from rclpy.serialization import serialize_message
from rclpy.time import Time as RosTime
from sensor_msgs.msg import CameraInfo, JointState
from std_msgs.msg import String

from robots.camera import CameraModel
from robots.observation import CameraFrame, ObservationBuilder, RobotState
from robots.registry import load_robot
from robots.specs import SpecError
from ros_nodes.messages import JointStateReader, RawImage, StampError, camera_model, local_stamp, rgb
from tests.support.ros_bench import image_message
from tests.support.tiny_bundle import CAMERA, tiny_bundle

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
WEBCAM = CameraModel.looking_at("front", (1.25, 0.0, 0.70), (0.45, 0.0, 0.10), 480, 640, 46.0)


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8"])
@pytest.mark.parametrize("camera", [CAMERA, WEBCAM, replace(WEBCAM, distortion=(-0.1, 0.02, 1e-3, -1e-3, 0.0))])
def test_ros_and_simulation_give_identical_observations(encoding, camera):
    """One frame and joint state, once handed over directly and once through messages with padding and another order."""
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (camera.height, camera.width, 3), np.uint8)
    q = HOME + rng.uniform(-0.5, 0.5, 7)
    bundle = tiny_bundle()
    builder = ObservationBuilder(bundle.observation, PANDA, bundle.cameras, {"front": camera})
    direct = builder.build(RobotState(1.0, q, np.zeros(7), {"front": CameraFrame(1.0, image)}))

    message, pixels = image_message(camera.height, camera.width + 5, encoding)  # rows padded to 15 bytes more
    pixels[:, : camera.width] = image if encoding == "rgb8" else image[:, :, ::-1]
    message.width = camera.width
    names = ["panda_finger_joint1", *reversed(PANDA.joint_names)]
    joints = JointState(name=names, position=[0.04, *q[::-1].tolist()])
    state = JointStateReader(PANDA).read(joints, 1.0)
    info = camera_model(CameraInfo(**camera.info_fields()), "front")
    frame = CameraFrame(1.0, rgb(message, "front"))
    again = ObservationBuilder(bundle.observation, PANDA, bundle.cameras, {"front": info})
    heard = again.build(replace(state, frames={"front": frame}))
    assert set(heard) == set(direct)
    for name in direct:
        np.testing.assert_array_equal(heard[name], direct[name])
        assert heard[name].dtype == direct[name].dtype


def test_pictures_that_cannot_be_read_are_refused():
    message, _ = image_message(10, 10, "mono8")
    with pytest.raises(SpecError, match="encoding 'mono8', expected rgb8 or bgr8"):
        rgb(message, "front")
    message, _ = image_message(10, 10)
    message.height = 11
    with pytest.raises(SpecError, match="300 bytes with step 30"):
        rgb(message, "front")


@pytest.mark.parametrize("frame_id", ["", "c", "camera_front_optical_frame"])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono16"])
def test_a_picture_is_read_from_the_wire_as_rclpy_reads_it(frame_id, encoding):
    """Every alignment of what follows the two texts; and what is no picture is refused."""
    message, pixels = image_message(3, 5, encoding)
    pixels[:] = np.arange(45).reshape(3, 5, 3)
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = 1_700_000_000, 987_654_321
    wire = serialize_message(message)
    picture = RawImage.read(wire)
    assert (picture.stamp, picture.height, picture.width) == (message.header.stamp, 3, 5)
    assert (picture.encoding, picture.step) == (encoding, 15)
    assert bytes(picture.data) == bytes(message.data)
    if encoding != "mono16":
        np.testing.assert_array_equal(rgb(picture, "front"), rgb(message, "front"))
    for bad in (b"", wire[:20], wire[:-20], b"\x00\x07" + wire[2:], serialize_message(String(data="no picture"))):
        with pytest.raises(SpecError, match=r"bytes that are no sensor_msgs/Image"):
            RawImage.read(bad)


@pytest.mark.real_time
def test_stamps_that_make_no_sense_are_refused():
    clock = Clock(clock_type=ClockType.SYSTEM_TIME)
    now = clock.now().nanoseconds
    stamp = RosTime(nanoseconds=now - 20_000_000).to_msg()
    assert local_stamp(stamp, clock, "state") == pytest.approx(time.monotonic() - 0.02, abs=5e-3)
    for bad, words in ((Time(), "is empty"), (RosTime(nanoseconds=now + 10**9).to_msg(), "ahead")):
        with pytest.raises(StampError, match=words):
            local_stamp(bad, clock, "state")


def test_velocities_that_the_driver_leaves_out_are_differences():
    reader = JointStateReader(PANDA)
    names = list(PANDA.joint_names)
    reader.read(JointState(name=names, position=HOME.tolist()), 1.0)
    state = reader.read(JointState(name=names, position=(HOME + 0.01).tolist()), 1.01)
    np.testing.assert_allclose(state.dq, 1.0)
    with pytest.raises(SpecError, match="joint 'panda_joint7' is not among the received"):
        reader.read(JointState(name=names[:-1], position=HOME[:-1].tolist()), 1.02)
    with pytest.raises(SpecError, match="6 positions for 7 joints"):
        reader.read(JointState(name=names, position=HOME[:-1].tolist()), 1.03)
