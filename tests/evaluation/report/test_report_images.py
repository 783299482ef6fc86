"""Images and videos of reports."""

from __future__ import annotations

import io

import av
import cv2
import numpy as np
import pytest

from evaluation.report.images import PictureError, data_uri, mp4, png


def decoded(content: bytes) -> tuple[list[np.ndarray], float, str]:
    """Frames of an MP4, its length [s] and its codec."""
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return frames, float(stream.duration * stream.time_base), f"{stream.codec.name} {stream.pix_fmt}"


def test_a_video_shows_its_frames_at_true_speed():
    frames = [np.full((48, 64, 3), (20 * i, 255 - 20 * i, 90), np.uint8) for i in range(10)]
    shown, length, codec = decoded(mp4(frames, 20.0, scale=2))
    assert codec == "h264 yuv420p"  # what every browser plays
    assert length == pytest.approx(10 / 20)
    assert [frame.shape for frame in shown] == [(96, 128, 3)] * 10
    for frame, truth in zip(shown, frames):
        np.testing.assert_allclose(frame.mean(axis=(0, 1)), truth[0, 0], atol=12)


def test_a_video_of_odd_sides_is_extended_by_a_pixel():
    shown, _, _ = decoded(mp4([np.full((33, 45, 3), 128, np.uint8)] * 3, 10.0))
    assert shown[0].shape == (34, 46, 3)
    np.testing.assert_allclose(shown[0], 128, atol=6)


def test_png_keeps_rgb_order():
    image = np.zeros((2, 2, 3), np.uint8)
    image[..., 0] = 200
    assert cv2.imdecode(np.frombuffer(png(image), np.uint8), cv2.IMREAD_COLOR)[0, 0].tolist() == [0, 0, 200]


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "0 frames"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)], "different shapes"),
        ([np.zeros((4, 4, 3), np.float32)], "float32"),
        ([np.zeros((4, 4), np.uint8)], "expected uint8"),
    ],
)
def test_wrong_frames_are_refused(frames, message):
    with pytest.raises(PictureError, match=message):
        mp4(frames, 10)


def test_unknown_picture_format_is_refused():
    with pytest.raises(PictureError, match="expected PNG, JPEG or MP4"):
        data_uri(b"<svg onload=x>")
