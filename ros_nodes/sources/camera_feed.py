"""Watches the pictures that a demonstration is recorded with, and shows them to the operator."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping

import cv2
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image

from robots.specs import SpecError
from ros_nodes import qos
from ros_nodes.messages import RawImage, rgb

LATE = 0.25
"""Longest time without a picture [s], as a data set is refused with."""
SHOWN_HEIGHT = 360
"""Of the pictures for the operator [px]."""


class CameraFeed:
    """The newest picture of each camera, undecoded."""

    def __init__(self, node: Node, topics: Mapping[str, str]):
        """Subscribe on `node` to the `topics` by camera."""
        self._topics = dict(topics)
        self._newest: dict[str, tuple[float, bytes]] = {}
        for name, topic in topics.items():
            node.create_subscription(Image, topic, functools.partial(self._take, name), qos.NEWEST, raw=True)

    def late(self, now: float) -> str:
        """Return which camera is silent, in a sentence; empty if none is. `now` is monotonic [s]."""
        for name, topic in self._topics.items():
            if name not in self._newest:
                return f"camera '{name}': no picture yet on {topic}; is its driver running?"
            silence = now - self._newest[name][0]
            if silence > LATE:
                return f"camera '{name}': no picture for {silence:.1f} s (limit {LATE} s) on {topic}"
        return ""

    def picture(self) -> np.ndarray | None:
        """Return the newest pictures side by side, RGB uint8 (height, width, 3); None without any."""
        found = []
        for name, (_, wire) in sorted(self._newest.items()):
            try:
                image = rgb(RawImage.read(wire), name)
            except SpecError:
                continue  # the recording keeps it as it is; the export says what is wrong with it
            width = round(image.shape[1] * SHOWN_HEIGHT / image.shape[0])
            found.append(cv2.resize(image, (width, SHOWN_HEIGHT), interpolation=cv2.INTER_AREA))
        return np.hstack(found) if found else None

    def _take(self, name: str, wire: bytes) -> None:
        self._newest[name] = (time.monotonic(), wire)
