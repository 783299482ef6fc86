"""Driver of a USB camera (UVC) by OpenCV: images with the stamps of their exposure, at a fixed exposure.

    sim2real uvc-camera --device /dev/video0 --camera wrist --exposure 10 --calibration wrist.json

A camera that gives no frame any more ends the node: what uses its images stops by itself.
"""

from __future__ import annotations

import array
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from robots.camera import CameraModel
from robots.rig import read_cameras
from robots.specs import SpecError
from ros_nodes import process, qos, topics
from ros_nodes.parameters import Parameter, Parameters

MANUAL = 1.0
"""V4L2_EXPOSURE_MANUAL of the control exposure_auto."""
EXPOSURE_UNIT = 1e-4
"""Of the control exposure_absolute [s]."""
OLDEST = 1.0
"""Age of a frame up to which the camera's own stamp is believed [s]."""
QUALITY = 90
"""Of published JPEG images."""

PARAMETERS = (
    Parameter("device", "/dev/video0", "the camera, or a recorded video that is played in its place"),
    Parameter("camera", "camera", "its name, NAME/image_raw with compressed and camera_info its topics"),
    Parameter("height", 480.0, "of the images [px]", 16, 4320),
    Parameter("width", 640.0, "of the images [px]", 16, 7680),
    Parameter("rate", 30.0, "frames a second", 1.0, 240.0),
    Parameter("exposure", 10.0, "exposure, which stays as it is [ms]", 0.1, 1000.0),
    Parameter("timeout", 1.0, "longest wait for a frame, after which the node ends [s]", 0.05, 10.0),
    Parameter("calibration", "", "file of the camera (.json), as sim2real calibrate writes it; empty: uncalibrated"),
)


class FrameSource:
    """A USB camera, or a recorded video at its pace."""

    def __init__(self, device: str, height: int, width: int, rate: float, exposure: float):
        """Open `device` and set it up: size [px], `rate` [Hz] and `exposure` [s].

        Raises:
            SpecError: if it cannot be opened, or does not take a setting; names what it has instead.
        """
        self.device, self.live = device, device.startswith("/dev/")
        self._period, self._due = 1.0 / rate, time.monotonic()
        self._capture = cv2.VideoCapture(device, cv2.CAP_V4L2 if self.live else cv2.CAP_ANY)
        if not self._capture.isOpened():
            raise SpecError(
                f"camera '{device}' cannot be opened; is it plugged in, is another program using it, may this user?"
            )
        if self.live:
            self._set_up(height, width, rate, exposure)
        found = tuple(int(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
        if found != (height, width):
            raise SpecError(
                f"camera '{device}': images are {found[0]} × {found[1]} px, expected {height} × {width}; set height "
                "and width to a size that it offers (v4l2-ctl --list-formats-ext)"
            )

    def _set_up(self, height: int, width: int, rate: float, exposure: float) -> None:
        capture = self._capture
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))  # raw images fill a USB 2 bus
        for name, value in (
            (cv2.CAP_PROP_FRAME_HEIGHT, height),
            (cv2.CAP_PROP_FRAME_WIDTH, width),
            (cv2.CAP_PROP_FPS, rate),
            (cv2.CAP_PROP_BUFFERSIZE, 1),
            (cv2.CAP_PROP_AUTO_EXPOSURE, MANUAL),
            (cv2.CAP_PROP_EXPOSURE, round(exposure / EXPOSURE_UNIT)),
        ):
            capture.set(name, value)
        automatic, steps = (capture.get(p) for p in (cv2.CAP_PROP_AUTO_EXPOSURE, cv2.CAP_PROP_EXPOSURE))
        if automatic != MANUAL or abs(steps * EXPOSURE_UNIT - exposure) > 0.1 * exposure:
            raise SpecError(
                f"camera '{self.device}': exposure is {1e3 * steps * EXPOSURE_UNIT:.1f} ms, exposure_auto "
                f"{automatic:g}; expected {1e3 * exposure:.1f} ms, fixed; choose one that v4l2-ctl --list-ctrls shows"
            )

    def read(self) -> tuple[np.ndarray, float] | None:
        """Wait for the next frame; return it, BGR uint8, and its age [s]; None if there is none any more."""
        if not self.live:
            self._due = max(self._due + self._period, time.monotonic() - self._period)
            time.sleep(max(0.0, self._due - time.monotonic()))
        ok, frame = self._capture.read()
        if not ok or frame is None:
            return None
        # V4L2 stamps with the monotonic clock, in ms
        age = time.monotonic() - 1e-3 * self._capture.get(cv2.CAP_PROP_POS_MSEC) if self.live else 0.0
        return frame, age if 0.0 <= age < OLDEST else 0.0

    def close(self) -> None:
        """Release the device."""
        self._capture.release()


class UvcCamera(Node):
    """Publishes one camera."""

    def __init__(self) -> None:
        """Read the parameters and open the camera.

        Raises:
            SpecError: for a setting out of range, or one that the camera does not take.
        """
        super().__init__("uvc_camera")
        parameters = Parameters(self, PARAMETERS)
        text, number = parameters.text, parameters.number
        self.name = text("camera")
        height, width = round(number("height")), round(number("width"))
        self._info = CameraInfo(height=height, width=width)
        if text("calibration"):
            self._info = CameraInfo(**_calibrated(text("calibration"), self.name, height, width).info_fields())
        self._source = FrameSource(text("device"), height, width, number("rate"), 1e-3 * number("exposure"))
        self.timeout = number("timeout")
        image = topics.CAMERA_IMAGE if self.name == "camera" else f"{self.name}/image_raw"
        info = topics.CAMERA_INFO if self.name == "camera" else f"{self.name}/camera_info"
        self._images = self.create_publisher(Image, image, qos.EVENT)
        self._compressed = self.create_publisher(CompressedImage, f"{image}/compressed", qos.EVENT)
        self._infos = self.create_publisher(CameraInfo, info, qos.EVENT)
        self._message = Image(height=height, width=width, encoding="bgr8", step=3 * width)
        self._message.data = array.array("B", bytes(3 * height * width))
        self._pixels = np.frombuffer(self._message.data, np.uint8).reshape(height, width, 3)
        self._last = time.monotonic()
        self.lost = threading.Event()
        """Set when the camera gives no frame any more."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.create_timer(0.25 * self.timeout, self._watch)
        self.get_logger().info(f"camera '{self.name}': {text('device')}, {height} × {width} px")

    def _run(self) -> None:
        while not self.lost.is_set():
            read = self._source.read()
            if read is None:
                self.lost.set()
                return
            self._last = time.monotonic()
            self._publish(*read)

    def _publish(self, frame: np.ndarray, age: float) -> None:
        now = self.get_clock().now()
        stamp = Time(nanoseconds=now.nanoseconds - round(1e9 * age), clock_type=now.clock_type).to_msg()
        for message in (self._info, self._message):
            message.header.stamp, message.header.frame_id = stamp, self.name
        self._infos.publish(self._info)
        if self._images.get_subscription_count():
            self._pixels[:] = frame
            self._images.publish(self._message)
        if self._compressed.get_subscription_count():
            _, data = cv2.imencode(".jpg", frame, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
            compressed = CompressedImage(header=self._message.header, format="bgr8; jpeg compressed bgr8")
            compressed.data = array.array("B", data.tobytes())
            self._compressed.publish(compressed)

    def _watch(self) -> None:
        if time.monotonic() - self._last > self.timeout:
            self.lost.set()

    def close(self) -> None:
        """Stop reading, and release the device."""
        self.lost.set()
        self._thread.join(self.timeout)
        self._source.close()


def _calibrated(file: str, name: str, height: int, width: int) -> CameraModel:
    cameras = read_cameras(file)
    found = [camera for camera in cameras if camera.name == name] or list(cameras)
    if len(found) != 1 or (found[0].height, found[0].width) != (height, width):
        listed = ", ".join(f"{camera.name} {camera.height} × {camera.width} px" for camera in cameras)
        raise SpecError(
            f"calibration '{Path(file).name}' has {listed}, expected '{name}' of {height} × {width} px; calibrate the "
            "camera at the size that it is used with"
        )
    return found[0]


def main(args: list[str] | None = None) -> int:
    """Publish until SIGINT or SIGTERM, or until the camera is lost; return the exit status."""
    ended = process.start(args)
    try:
        node = UvcCamera()
    except SpecError as error:
        return process.fail("uvc_camera", str(error))

    def end_when_lost() -> None:
        node.lost.wait()
        ended.set()

    threading.Thread(target=end_when_lost, daemon=True).start()
    try:
        process.spin(process.make_executor(node), ended)
        lost = node.lost.is_set()
        node.close()
    finally:
        rclpy.try_shutdown()
    if lost:
        return process.fail("uvc_camera", f"camera '{node.name}' gives no frame any more; is it still plugged in?")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
