"""Markers for RViz: the gate's workspace and keep-out boxes, the policy's goal and object.

Without visualization_msgs nothing is published, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher

from policies.runtime.limits import Box
from robots.observation import PoseEstimate
from ros_nodes import qos

try:
    from visualization_msgs.msg import Marker, MarkerArray
except ImportError:
    Marker = MarkerArray = None

WORKSPACE, KEEP_OUT = (0.2, 0.8, 0.2, 0.1), (0.9, 0.1, 0.1, 0.3)
"""Red, green, blue, opacity."""
GOAL, OBJECT = (0.2, 0.8, 0.2, 0.8), (0.2, 0.4, 0.9, 0.8)
SIZE = 0.04
"""Edge of the cube that marks a pose [m]."""
STAYS = 0.5
"""How long the marker of a pose is shown after its last message [s]."""


class Markers:
    """Publishes markers in one arm's base frame."""

    def __init__(self, node: Node, topic: str, base_frame: str):
        """Advertise `topic`, latched."""
        self._base_frame = base_frame
        self._publisher: Publisher | None = None
        if MarkerArray is None:
            node.get_logger().info("visualization_msgs is not installed: no markers for RViz")
            return
        self._publisher = node.create_publisher(MarkerArray, topic, qos.LATCHED)

    def show_boxes(self, workspace: Box, keep_out: Sequence[Box]) -> None:
        """Show the end effector's workspace, and boxes that no link may enter."""
        boxes = [("workspace", workspace, WORKSPACE), *(("keep_out", box, KEEP_OUT) for box in keep_out)]
        self._publish([self._box(number, *box) for number, box in enumerate(boxes)])

    def show_poses(self, poses: Mapping[str, PoseEstimate]) -> None:
        """Show the pose estimates, by name."""
        self._publish([self._pose(name, pose) for name, pose in poses.items()])

    def _publish(self, markers: list) -> None:
        if self._publisher is not None and markers:
            self._publisher.publish(MarkerArray(markers=[marker for marker in markers if marker is not None]))

    def _marker(self, name: str, number: int, centre, size, colour):
        if Marker is None:
            return None
        marker = Marker(ns=name, id=number, type=Marker.CUBE, action=Marker.ADD)
        marker.header.frame_id = self._base_frame
        place = marker.pose.position
        place.x, place.y, place.z = map(float, centre)
        marker.scale.x, marker.scale.y, marker.scale.z = map(float, size)
        marker.color.r, marker.color.g, marker.color.b, marker.color.a = colour
        return marker

    def _box(self, number: int, name: str, box: Box, colour):
        low, high = np.array(box.low), np.array(box.high)
        return self._marker(name, number, (low + high) / 2, high - low, colour)

    def _pose(self, name: str, pose: PoseEstimate):
        marker = self._marker(name, 0, pose.position, (SIZE, SIZE, SIZE), GOAL if name == "goal" else OBJECT)
        if marker is not None:
            turn = marker.pose.orientation
            turn.x, turn.y, turn.z, turn.w = map(float, pose.quat)
            marker.lifetime.nanosec = int(1e9 * STAYS)
        return marker
