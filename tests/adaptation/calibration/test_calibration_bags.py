"""Calibration from recordings: pictures and joints come off a bag as they went in; what is missing is named."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from adaptation.calibration.bags import MOST, read_bag
from adaptation.calibration.boards import CalibrationError
from adaptation.calibration.recordings import read_camera
from sim2real.command_line import main
from tests.adaptation.calibration.test_calibration import CAMERA, PANDA, chessboard_texture, picture, rigid

TOPIC = "/camera/image_raw"
STORE = get_typestore(Stores.ROS2_HUMBLE)


def stamped(t: float):
    at = STORE.types["builtin_interfaces/msg/Time"](int(t), round(1e9 * (t % 1)))
    return STORE.types["std_msgs/msg/Header"](at, "")


def plain(t: float, image: np.ndarray, encoding: str):
    """A picture whose rows are padded, as drivers may."""
    rows = image.reshape(image.shape[0], -1)
    padded = np.pad(rows, ((0, 0), (0, 5)))
    kind = STORE.types["sensor_msgs/msg/Image"]
    return kind(stamped(t), *image.shape[:2], encoding, 0, padded.shape[1], padded.ravel())


def jpeg(t: float, image: np.ndarray):
    data = cv2.imencode(".jpg", image)[1].ravel()
    return STORE.types["sensor_msgs/msg/CompressedImage"](stamped(t), "jpeg", data)


def state(t: float, names: Sequence[str], q: np.ndarray):
    kind = STORE.types["sensor_msgs/msg/JointState"]
    return kind(stamped(t), list(names), np.asarray(q, float), np.zeros(0), np.zeros(0))


def write(path: Path, messages: list[tuple[str, object]], storage: str = "mcap") -> Path:
    plugin = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}[storage]
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        topics = {}
        for topic, message in messages:
            if topic not in topics:
                topics[topic] = writer.add_connection(topic, message.__msgtype__, typestore=STORE)
            stamp = message.header.stamp
            # it reaches the recorder 20 ms later
            received = stamp.sec * 10**9 + stamp.nanosec + 20_000_000
            writer.write(topics[topic], received, STORE.serialize_cdr(message, message.__msgtype__))
    return path


def hand(q: np.ndarray) -> np.ndarray:
    """T_base_ee at `q`."""
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = PANDA.chain.pose(q)
    return T


def noise(seed: int, *size: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, size, np.uint8)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_pictures_come_off_a_bag_as_they_went_in(tmp_path: Path, storage: str) -> None:
    shown = noise(0, 24, 32, 4)
    sent = {
        "bgr8": (shown[..., :3], shown[..., :3]),
        "rgb8": (shown[..., :3], shown[..., 2::-1]),
        "bgra8": (shown, shown[..., :3]),
        "rgba8": (shown, shown[..., 2::-1]),
        "mono8": (shown[..., :1], np.repeat(shown[..., :1], 3, axis=2)),
    }
    messages = [(f"/{encoding}", plain(t, image, encoding)) for encoding, (image, _) in sent.items() for t in (7, 8.5)]
    bag = write(tmp_path / "bag", messages, storage)
    for encoding, (_, bgr) in sent.items():
        taken = read_bag(bag, f"/{encoding}")
        assert list(taken.pictures) == [f"/{encoding}#0", f"/{encoding}#1"]
        np.testing.assert_array_equal(taken.pictures[f"/{encoding}#1"], bgr)
        np.testing.assert_allclose(taken.t, [7, 8.5])


def test_compressed_pictures_are_read(tmp_path: Path) -> None:
    image = cv2.resize(noise(0, 3, 4, 3), (64, 48), interpolation=cv2.INTER_CUBIC)
    bag = write(tmp_path / "bag", [(f"{TOPIC}/compressed", jpeg(5.0, image))])
    (found,) = read_bag(bag, None).pictures.values()
    assert np.abs(found.astype(int) - image).mean() < 4


def test_joints_are_those_of_the_moment_and_in_the_robots_order(tmp_path: Path) -> None:
    backwards = PANDA.joint_names[::-1]
    messages = [("/joint_states", state(0.1 * i, backwards, np.arange(7) + 0.1 * i)) for i in range(21)]
    # neither another device's states nor pictures from before the arm's first count
    messages += [("/joint_states", state(0.55, ["gripper"], np.array([9.0])))]
    messages += [(TOPIC, plain(t, noise(int(100 * t), 6, 8, 3), "rgb8")) for t in (0.25, 1.0, 1.96, 2.5)]
    frames = read_bag(write(tmp_path / "bag", messages), TOPIC, joints=True).frames(PANDA.joint_names)
    assert [frame["t"] for frame in frames] == pytest.approx([0.25, 1.0, 1.96])
    for frame in frames:
        np.testing.assert_allclose(frame["q"], np.arange(7)[::-1] + frame["t"], atol=1e-6)
    with pytest.raises(CalibrationError, match="joint 'elbow' was not recorded; there are panda_joint7, panda_joint6"):
        read_bag(tmp_path / "bag", TOPIC, joints=True).frames(["elbow"])


def test_of_many_pictures_some_are_taken_evenly(tmp_path: Path) -> None:
    messages = [(TOPIC, plain(i, noise(i, 4, 4, 3), "rgb8")) for i in range(1, 200)]
    taken = read_bag(write(tmp_path / "bag", messages), TOPIC)
    assert len(taken.pictures) == MOST
    assert taken.t[0] == 1
    assert taken.t[-1] == 199
    assert np.ptp(np.diff(taken.t)) <= 1


def test_what_a_bag_lacks_is_named(tmp_path: Path) -> None:
    image = noise(0, 4, 4, 3)
    joints = [("/joint_states", state(t, PANDA.joint_names, np.zeros(7))) for t in (1.0, 2.0)]
    bag = write(
        tmp_path / "two", [(TOPIC, plain(1.5, image, "rgb8")), ("/wrist/image_raw", plain(9.0, image, "16UC1"))]
    )
    listed = re.escape(f"topics with pictures are {TOPIC}, /wrist/image_raw")
    with pytest.raises(CalibrationError, match=f"no pictures on '/camera'; {listed}"):
        read_bag(bag, "/camera")
    with pytest.raises(CalibrationError, match=f"name the pictures with --topic; {listed}"):
        read_bag(bag, None)
    with pytest.raises(CalibrationError, match=r"/wrist/image_raw#0 has encoding '16UC1', expected one of bgr8, rgb8"):
        read_bag(bag, "/wrist/image_raw")
    with pytest.raises(CalibrationError, match=r"no /joint_states .*its topics are /camera/image_raw"):
        read_bag(bag, TOPIC, joints=True)
    blind = write(tmp_path / "blind", joints)
    with pytest.raises(CalibrationError, match="topics with pictures are none; it holds /joint_states"):
        read_bag(blind, TOPIC)
    early = write(tmp_path / "early", [(TOPIC, plain(0.5, image, "rgb8")), *joints])
    with pytest.raises(
        CalibrationError, match=r"none of the 1 pictures on .* was taken while joint states were recorded"
    ):
        read_bag(early, TOPIC, joints=True)
    with pytest.raises(CalibrationError, match=r"none of the 1 pictures on .* in a rest of 0\.3 s"):
        read_bag(early, TOPIC, joints=True, at_rest=True)
    (tmp_path / "text.mcap").write_text("hello")
    with pytest.raises(CalibrationError, match="cannot be read"):
        read_bag(tmp_path / "text.mcap", TOPIC)


@pytest.mark.slow
def test_a_mount_is_found_from_a_recording_of_the_arms_rests(tmp_path: Path, capsys) -> None:
    X = rigid(np.array([0.1, -0.2, 0.3]), np.array([0.05, -0.03, 0.04]))
    rng = np.random.default_rng(0)
    home = np.array(PANDA.home)
    T_base_board = hand(home) @ X @ rigid(np.zeros(3), np.array([-0.15, -0.11, 0.5]))
    corners = np.array([[x, y, 0.0, 1.0] for x in (0.0, 0.3) for y in (0.0, 0.225)])
    rests, views = [], []
    while len(rests) < 6:
        q = home + rng.uniform(-0.25, 0.25, 7)
        T = np.linalg.inv(hand(q) @ X) @ T_base_board
        seen = corners @ T[:3].T @ np.array(CAMERA.K).T
        x, y = seen[:, :2].T / seen[:, 2]
        if x.min() > 10 and x.max() < 630 and y.min() > 10 and y.max() < 470:
            rests.append(q)
            views.append(T)
    # a second at rest, half a second on the way, when the picture would be blurred and is black here
    messages: list[tuple[str, object]] = []
    for i, (q, T) in enumerate(zip(rests, views)):
        start, sharp = 10 + 1.5 * i, picture(*chessboard_texture(), T)
        after = rests[min(i + 1, len(rests) - 1)]
        for k in range(75):
            share = np.clip((0.02 * k - 1.0) / 0.5, 0, 1)
            messages.append(("/joint_states", state(start + 0.02 * k, PANDA.joint_names, q + share * (after - q))))
        for k in range(6):
            t = start + 0.25 * k
            image = sharp if t <= start + 1.0 else np.zeros_like(sharp)
            messages.append((TOPIC, plain(t, image[..., None], "mono8")))
    bag = write(tmp_path / "bag", messages)
    (tmp_path / "lens.json").write_text(json.dumps(CAMERA.to_dict()))
    files = ["--images", str(bag), "--camera", str(tmp_path / "lens.json"), "--square", "0.025"]
    out = tmp_path / "wrist.json"
    assert main(["calibrate", "hand-eye", *files, "--topic", "/camera", "--out", str(out)]) == 1
    assert f"no pictures on '/camera'; topics with pictures are {TOPIC}" in capsys.readouterr().err
    assert main(["calibrate", "hand-eye", *files, "--topic", TOPIC, "--out", str(out)]) == 0
    found = np.array(read_camera(out).T_ee_camera)
    np.testing.assert_allclose(found[:3, 3], X[:3, 3], atol=4e-3)
    np.testing.assert_allclose(found[:3, :3], X[:3, :3], atol=8e-3)


def test_the_command_tells_folders_from_recordings(tmp_path: Path, capsys) -> None:
    bag = write(tmp_path / "bag", [(TOPIC, plain(1.0, noise(0, 4, 4, 3), "rgb8"))])
    (tmp_path / "lens.json").write_text(json.dumps(CAMERA.to_dict()))
    rest = ["--camera", str(tmp_path / "lens.json"), "--out", str(tmp_path / "out.json")]
    for kind in ("hand-eye", "refine"):
        assert main(["calibrate", kind, "--images", str(tmp_path), *rest]) == 1
        assert "is a folder of images; say where the arm was at each with --poses" in capsys.readouterr().err
        assert main(["calibrate", kind, "--images", str(bag), "--poses", "poses.json", *rest]) == 1
        assert "is a recording, and its joint states say where the arm was" in capsys.readouterr().err
        assert main(["calibrate", kind, "--images", str(tmp_path), "--topic", "/camera", *rest]) == 1
        assert "is no ROS 2 recording" in capsys.readouterr().err
