"""Collects calibration images from live topics: one image of every rest of the arm, with the joints, in a folder.

    sim2real collect-views --out views/ --count 12 --image /camera/image_raw

Move the arm from pose to pose and let it rest for half a second at each; the node logs each image and ends by itself.
`sim2real calibrate … --images views/ --poses views/frames.json` reads the folder. It publishes nothing.
"""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path

import cv2
import numpy as np
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, JointState

from robots.host.writing import write_bytes, write_json
from robots.registry import load_robot
from robots.specs import SpecError
from ros_nodes import process, qos, topics
from ros_nodes.arm import joint_names
from ros_nodes.arm.joint_names import JointNames
from ros_nodes.messages import rgb, seconds
from ros_nodes.parameters import Parameter, Parameters, resolved

REST = 0.4
"""[s] after which an arm that has not moved is at rest."""
STILL = 2e-3
"""[rad] largest joint motion within a rest; more than the encoders' noise."""
MOVED = 0.05
"""[rad] least motion of some joint since the last image: the same pose twice adds nothing."""
SILENCE = 10.0
"""[s] without an image or a joint state after which the node fails and names the missing one."""

PARAMETERS = (
    Parameter("out", "", "folder of the views; must not exist"),
    Parameter("image", topics.CAMERA_IMAGE, "topic of the pictures, sensor_msgs/Image"),
    Parameter("info", topics.CAMERA_INFO, "topic of the camera's CameraInfo; K is kept if it comes"),
    Parameter("robot", "franka_panda", "the arm, whose order of joints is kept: a name, or an arm file (.json)"),
    Parameter("joints", topics.JOINT_STATES, "topic of the arm's joint states"),
    *joint_names.PARAMETERS,
    Parameter("count", 12.0, "views after which the node ends"),
    Parameter("moving", False, "true: a picture every half second, for 'calibrate refine', in place of one a rest"),
)
EVERY = 0.5
"""[s] between two views of a moving arm."""


class RestDetector:
    """Detects that an arm is at rest, and that it has moved since the last image."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, np.ndarray]] = deque()
        self._taken: np.ndarray | None = None

    def add(self, t: float, q: np.ndarray) -> None:
        """Add a joint state: stamp [s] and positions (n,) [rad]."""
        self._samples.append((t, q))
        while self._samples[0][0] < t - 3 * REST:
            self._samples.popleft()

    def view(self, t: float) -> np.ndarray | None:
        """Return the joints (n,) [rad] at an image of stamp `t` [s] if it is to be kept, else None."""
        recent = [q for stamp, q in self._samples if t - REST <= stamp <= t + REST]
        begun = bool(self._samples) and self._samples[0][0] <= t - REST
        if not begun or len(recent) < 3 or np.ptp(recent, axis=0).max() > STILL:
            return None
        q = np.mean(recent, axis=0)
        if self._taken is not None and np.abs(q - self._taken).max() < MOVED:
            return None
        self._taken = q
        return q

    def between(self, t: float) -> np.ndarray | None:
        """Return the joints (n,) [rad] at `t` [s] of an arm that may move, None where `t` is outside what is known."""
        stamps = [stamp for stamp, _ in self._samples]
        if len(stamps) < 2 or not stamps[0] <= t <= stamps[-1]:
            return None
        rows = np.stack([q for _, q in self._samples])
        return np.array([np.interp(t, stamps, column) for column in rows.T])


class ViewCollector(Node):
    """Writes images until there are enough."""

    def __init__(self) -> None:
        """Read the parameters and make the folder.

        Raises:
            SpecError: if one makes no sense, or the folder exists.
        """
        super().__init__("view_collector")
        parameters = Parameters(self, PARAMETERS)
        out, self._count = parameters.text("out"), parameters.number("count")
        self._moving = parameters.flag("moving")
        if not out or Path(out).exists():
            raise SpecError(f"out is '{out}', expected a folder that does not exist yet")
        if self._count < 1 or self._count != round(self._count):
            raise SpecError(f"count is {self._count:g}, expected a whole number of views, at least 1")
        self._out = Path(out)
        self._topics = {name: resolved(self, parameters.text(name)) for name in ("image", "joints")}
        self._last = dict.fromkeys(self._topics, time.monotonic())
        robot = load_robot(parameters.text("robot"))
        self._watcher, self._names = RestDetector(), robot.joint_names
        self._ours = JointNames.of(parameters, robot).ours
        self._frames: list[dict] = []
        self._K: list[list[float]] | None = None
        self._pending: deque[tuple[float, np.ndarray]] = deque(maxlen=64)
        self.failure = ""
        self.create_subscription(Image, self._topics["image"], self._on_image, qos.EVENT)
        self.create_subscription(JointState, self._topics["joints"], self._on_joints, qos.EVENT)
        self.create_subscription(CameraInfo, parameters.text("info"), self._on_info, qos.EVENT)
        self.create_timer(0.1, self._look)

    @property
    def done(self) -> bool:
        """Whether there are enough views, or there can be none."""
        return len(self._frames) >= self._count or bool(self.failure)

    def _on_joints(self, message: JointState) -> None:
        named = dict(zip(self._ours(message.name), message.position))
        if not any(name in named for name in self._names):
            return  # another device's
        self._last["joints"] = time.monotonic()
        missing = [name for name in self._names if name not in named]
        if missing:
            self.failure = (
                f"{self._topics['joints']} has no joint '{missing[0]}'; there are {', '.join(named)}; is --robot right?"
            )
            return
        q = np.array([named[name] for name in self._names])
        if np.isfinite(q).all():
            self._watcher.add(seconds(message.header.stamp), q)

    def _on_info(self, message: CameraInfo) -> None:
        self._K = np.array(message.k, float).reshape(3, 3).tolist()

    def _on_image(self, message: Image) -> None:
        self._last["image"] = time.monotonic()
        try:
            self._pending.append((seconds(message.header.stamp), rgb(message, self._topics["image"])))
        except SpecError as error:
            self.failure = str(error)

    def _look(self) -> None:
        """Select among the images for which joint states before and after have come."""
        for name, last in self._last.items():
            if time.monotonic() - last > SILENCE:
                self.failure = f"nothing of this arm on {self._topics[name]} for {SILENCE:g} s; is its driver running?"
        while self._pending and not self.done:
            t, picture = self._pending[0]
            newest = self._watcher.between(t + REST)
            if newest is None and len(self._pending) < (self._pending.maxlen or 0):
                return
            self._pending.popleft()
            q = self._watcher.between(t) if self._moving else self._watcher.view(t)
            if q is None or (self._moving and self._frames and t - self._frames[-1]["t"] < EVERY):
                continue
            self._keep(t, picture, q)

    def _keep(self, t: float, picture: np.ndarray, q: np.ndarray) -> None:
        self._out.mkdir(parents=True, exist_ok=True)
        file = f"view_{len(self._frames):03d}.png"
        _, encoded = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
        write_bytes(self._out / file, encoded.tobytes())
        self._frames.append({"file": file, "q": q.tolist(), "t": t})
        content = {"joint_names": list(self._names), "K": self._K, "frames": self._frames}
        write_json(self._out / "frames.json", content, indent=1)
        self.get_logger().info(f"view {len(self._frames)} of {self._count:g}")


def main(args: list[str] | None = None) -> int:
    """Collect until there are enough views, SIGINT or SIGTERM; return the exit status."""
    ended = process.start(args)
    try:
        node = ViewCollector()
    except SpecError as error:
        return process.fail("view_collector", str(error))
    executor = process.make_executor(node)
    try:
        while not ended.is_set() and not node.done and rclpy.ok(context=executor.context):
            executor.spin_once(timeout_sec=0.05)
    except OSError as error:  # a view finds no room
        return process.fail("view_collector", str(error))
    finally:
        rclpy.try_shutdown()
    return process.fail("view_collector", node.failure) if node.failure else 0


if __name__ == "__main__":
    raise SystemExit(main())
