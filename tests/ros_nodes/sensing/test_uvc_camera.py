"""A USB camera's driver: images, their stamps and calibration from a recorded video; what is wrong is named."""

from __future__ import annotations

import json
import time

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from robots.specs import SpecError
from ros_nodes.messages import camera_model, rgb, seconds
from ros_nodes.sensing.uvc_camera import FrameSource
from tests.support.ros_bench import finish

HEIGHT, WIDTH, FRAMES = 48, 64, 120


@pytest.fixture
def video(tmp_path):
    """A video whose red grows from frame to frame."""
    path = tmp_path / "recorded.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (WIDTH, HEIGHT))
    for k in range(FRAMES):
        writer.write(np.full((HEIGHT, WIDTH, 3), (10, 10, 2 * k), np.uint8))
    writer.release()
    return path


def test_a_video_is_played_at_its_pace_and_ends(video):
    source = FrameSource(str(video), HEIGHT, WIDTH, 100.0, 0.01)
    began, frames = time.monotonic(), []
    while (read := source.read()) is not None:
        frames.append(read[0])
    source.close()
    assert len(frames) == FRAMES
    assert time.monotonic() - began > 0.9 * FRAMES / 100.0
    reds = [int(frame[..., 2].mean()) for frame in frames]
    assert reds == sorted(reds)


def test_what_a_camera_does_not_offer_is_named(video):
    with pytest.raises(SpecError, match="images are 48 × 64 px, expected 480 × 640; set height"):
        FrameSource(str(video), 480, 640, 30.0, 0.01)
    with pytest.raises(SpecError, match="camera '/dev/video77' cannot be opened; is it plugged in"):
        FrameSource("/dev/video77", 480, 640, 30.0, 0.01)


@pytest.mark.ros
def test_images_have_stamps_and_the_calibration_and_the_node_ends_with_its_camera(ros, video, tmp_path):
    camera = {"name": "wrist", "height": HEIGHT, "width": WIDTH, "fov_y_deg": 60, "eye": [1, 0, 1], "target": [0, 0, 0]}
    calibration = tmp_path / "wrist.json"
    calibration.write_text(json.dumps(camera))
    images = ros.listen(Image, "wrist/image_raw")
    infos = ros.listen(CameraInfo, "wrist/camera_info")
    compressed = ros.listen(CompressedImage, "wrist/image_raw/compressed")
    given = {"device": video, "camera": "wrist", "height": HEIGHT, "width": WIDTH, "calibration": calibration}
    child = ros.start("sensing.uvc_camera", **given)
    ros.wait(lambda: len(images) > 30 and len(compressed) > 30, "images")
    status, told = finish(child)
    assert status == 1
    assert "camera 'wrist' gives no frame any more; is it still plugged in?" in told
    stamps = np.array([seconds(image.header.stamp) for image in images])
    assert np.median(np.diff(stamps)) == pytest.approx(1 / 30, rel=0.3)
    assert abs(stamps[-1] - time.time()) < 15.0
    picture = rgb(images[-1], "wrist")
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert picture[..., 0].mean() > 100 > picture[..., 2].mean()
    again = cv2.imdecode(np.frombuffer(compressed[-1].data, np.uint8), cv2.IMREAD_COLOR)
    same = next(image for image in images if image.header.stamp == compressed[-1].header.stamp)
    assert np.abs(again[..., ::-1].astype(int) - rgb(same, "wrist")).max() < 20
    assert camera_model(infos[-1], "wrist").fy == pytest.approx(0.5 * HEIGHT / np.tan(np.pi / 6))


@pytest.mark.ros
def test_a_calibration_of_another_size_is_refused(ros, video, tmp_path):
    camera = {"name": "wrist", "height": 480, "width": 640, "fov_y_deg": 60, "eye": [1, 0, 1], "target": [0, 0, 0]}
    calibration = tmp_path / "wrist.json"
    calibration.write_text(json.dumps(camera))
    given = {"device": video, "camera": "wrist", "height": HEIGHT, "width": WIDTH, "calibration": calibration}
    status, told = finish(ros.start("sensing.uvc_camera", **given), timeout=30.0)
    assert status == 1
    assert "has wrist 480 × 640 px, expected 'wrist' of 48 × 64 px" in told
