"""The virtual arm's camera drivers: each camera exposes, draws and publishes at its own time, late as real ones are."""

from __future__ import annotations

import array
import threading
import time
from collections.abc import Callable

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from robots.camera import CameraModel
from ros_nodes import qos, topics
from sim.virtual_arm.interface import Snapshot, VirtualArm
from sim.virtual_arm.mujoco_camera import VirtualCameras
from sim.virtual_arm.real_camera import RealCamera

FASTER = "; MUJOCO_GL=disabled draws by sim2real's rasteriser, in less time than a software OpenGL"
"""What helps a camera that misses images."""


class CameraDriver:
    """One camera's topics, its next exposure and the image that waits to be published."""

    def __init__(self, node: Node, name: str, camera: RealCamera, named: topics.CameraTopics, first: float):
        """Announce the topics `named` of camera `name`; expose at time `first` [s, monotonic]."""
        self.name, self._delay = name, camera.hidden.delay
        self._period = 1 / camera.hidden.rate_hz
        self.missed = False
        """Whether there was no time for the exposures before the next one."""
        self._images = node.create_publisher(Image, named.image, qos.EVENT)
        self._infos = node.create_publisher(CameraInfo, named.info, qos.EVENT)
        self._message, self._pixels = _image_message(camera.model)
        self._info = CameraInfo(**camera.model.info_fields())
        self._info.header.frame_id = self._message.header.frame_id
        self._exposure, self._due, self._frame = first, -1.0, 0

    @property
    def next_time(self) -> float:
        """When there is something to do: to publish the image that waits, else to expose [s, monotonic]."""
        return self._due if self.waits else self._exposure

    @property
    def waits(self) -> bool:
        """Whether an image waits to be published."""
        return self._due >= 0

    def take(self, image: np.ndarray | None, stamp: Time, late: float) -> None:
        """Keep an image, None for the last one again, until it is delivered, `late` [s] beyond the camera's delay."""
        if image is not None:
            self._pixels[:] = image
        self._message.header.stamp = self._info.header.stamp = stamp
        self._due = self._exposure + self._delay + late
        earliest = time.monotonic() - self._period
        self.missed = self._exposure + self._period < earliest
        self._exposure = max(self._exposure + self._period, earliest)

    def deliver(self, fault: str) -> None:
        """Publish the image that waits, unless `fault` loses it."""
        self._due = -1.0
        self._frame += 1
        if not (fault == "camera_stop" or (fault == "camera_drop" and self._frame % 3)):
            self._infos.publish(self._info)
            self._images.publish(self._message)


def run_cameras(
    node: Node,
    arm: VirtualArm,
    cameras: VirtualCameras,
    ended: threading.Event,
    snapshot: Callable[[], tuple[Snapshot, Time]],
    fault: Callable[[], tuple[str, float]],
) -> None:
    """Expose, draw and publish until `ended` is set, in the thread that opened the renderer.

    Args:
        node: publishes.
        arm: whose cameras they are.
        cameras: draw.
        ended: set when it is time to stop.
        snapshot: returns the scene and its time stamp.
        fault: returns the fault that is shown now, and by how much everything is late [s].
    """
    began, named = time.monotonic(), topics.camera_topics(list(arm.cameras))
    drivers = [
        # free-running cameras expose at different times
        CameraDriver(node, name, camera, named[name], began + k / len(named) / camera.hidden.rate_hz)
        for k, (name, camera) in enumerate(arm.cameras.items())
    ]
    rng, faster = np.random.default_rng(), FASTER if cameras.renderer.name.startswith("mujoco") else ""
    while not ended.is_set():
        driver = min(drivers, key=lambda each: each.next_time)
        if ended.wait(max(0.0, driver.next_time - time.monotonic())):
            return
        shown, late = fault()
        if driver.waits:
            driver.deliver(shown)
            continue
        scene, stamp = snapshot()
        image = None if shown == "camera_freeze" else cameras.take(driver.name, scene, rng)
        if image is not None and shown == "camera_black":
            image[:] = 0
        driver.take(image, stamp, late)
        if driver.missed:
            node.get_logger().warning(
                f"camera '{driver.name}' misses images, for which {cameras.renderer.name} has too little time{faster}",
                throttle_duration_sec=10.0,
                skip_first=True,  # a single stall of the machine is no lack of time
            )


def _image_message(camera: CameraModel) -> tuple[Image, np.ndarray]:
    """Make a message whose pixels (height, width, 3) can be written in place: assigning would copy, slowly."""
    data = array.array("B", bytes(camera.height * camera.width * 3))
    message = Image(height=camera.height, width=camera.width, encoding="rgb8", step=camera.width * 3, data=data)
    message.header.frame_id = f"camera_{camera.name}_optical_frame"
    pixels = np.frombuffer(message.data, np.uint8).reshape(camera.height, camera.width, 3)
    return message, pixels
