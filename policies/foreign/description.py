"""What a policy from elsewhere takes and gives, in a small JSON: names, units, normalisation, rate.

    {"rate_hz": 30, "joints": ["shoulder_pan", …], "gripper": true, "units": "degrees",
     "state": {"input": "observation.state", "mean": […], "std": […]},
     "action": {"output": "action", "mean": […], "std": […]},
     "cameras": {"front": {"input": "observation.images.front", "height": 480, "width": 640, "mean": […], "std": […]}},
     "onnx": "act.onnx"}

Robot side: numpy and OpenCV only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from robots.host.reading import read_json
from robots.host.typed import build
from robots.model import RobotModel
from robots.observation import RobotState
from robots.specs import SpecError

MOST_JSON = 1 << 20
"""Size of a description [bytes]."""


@dataclass(frozen=True)
class Normaliser:
    """Mean and standard deviation, of one element each; empty: as it is."""

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def check(self, size: int, where: str) -> None:
        """Raise `SpecError` unless it fits `size` elements."""
        if len(self.mean) != len(self.std) or len(self.mean) not in (0, size):
            raise SpecError(
                f"{where}: {len(self.mean)} means and {len(self.std)} stds, expected {size} of each, or none"
            )
        if not all(math.isfinite(each) for each in self.mean) or not all(0 < each < math.inf for each in self.std):
            raise SpecError(f"{where}: means must be finite, stds above 0")

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Normalise (…, n)."""
        return (values - np.array(self.mean)) / np.array(self.std) if self.mean else values

    def undo(self, values: np.ndarray) -> np.ndarray:
        """Invert `apply`."""
        return values * np.array(self.std) + np.array(self.mean) if self.mean else values


@dataclass(frozen=True)
class StateInput(Normaliser):
    """The joints, as the policy takes them."""

    input: str = "observation.state"
    """Name of the array."""


@dataclass(frozen=True)
class ActionOutput(Normaliser):
    """Joint positions, as the policy gives them."""

    output: str = "action"
    """Name of the array."""


@dataclass(frozen=True)
class CameraInput(Normaliser):
    """A camera's picture: RGB, channels first, from 0 to 1 before it is normalised."""

    height: int = 0
    """[px]"""
    width: int = 0
    """[px]"""
    input: str = ""
    """Name of the array; empty: `observation.images.<camera>`."""


@dataclass(frozen=True)
class ForeignPolicy:
    """The description."""

    rate_hz: float
    """Actions a second of a chunk."""
    joints: tuple[str, ...]
    """Names of state's and action's joints, in their order, as the arm's model calls them."""
    state: StateInput = field(default_factory=StateInput)
    action: ActionOutput = field(default_factory=ActionOutput)
    cameras: Mapping[str, CameraInput] = field(default_factory=dict)
    gripper: bool = False
    """Whether an element behind the joints is the gripper: LeRobot's 0 (closed) to 100 (open)."""
    units: Literal["radians", "degrees"] = "radians"
    onnx: str = ""
    """A graph beside the description; empty where a server of its own answers."""
    server: tuple[str, ...] = ()
    """Command of that server."""

    def check(self, robot: RobotModel) -> None:
        """Raise `SpecError` unless it fits `robot`."""
        where = "policy"
        if sorted(self.joints) != sorted(robot.joint_names):
            raise SpecError(
                f"{where}: joints are {', '.join(self.joints)}, those of '{robot.name}' {', '.join(robot.joint_names)}"
            )
        if self.gripper and robot.gripper is None:
            raise SpecError(f"{where}: it moves a gripper, and '{robot.name}' has none")
        if not 1.0 <= self.rate_hz <= 1000.0:
            raise SpecError(f"{where}: rate_hz is {self.rate_hz}, expected within [1, 1000]")
        if bool(self.onnx) == bool(self.server):
            raise SpecError(f"{where}: give either 'onnx', a graph, or 'server', the command of a server")
        self.state.check(self.size, f"{where}: state")
        self.action.check(self.size, f"{where}: action")
        for name, camera in self.cameras.items():
            camera.check(3, f"{where}: camera '{name}'")
            if camera.height < 1 or camera.width < 1:
                raise SpecError(f"{where}: camera '{name}': height and width must be above 0")

    @property
    def size(self) -> int:
        """Elements of state and action."""
        return len(self.joints) + int(self.gripper)

    def observe(self, state: RobotState, robot: RobotModel) -> dict[str, np.ndarray]:
        """Return the policy's inputs by name, each with a batch axis of 1, float32.

        Raises:
            SpecError: if a camera or the fingers are missing.
        """
        q = np.asarray(state.q)[[robot.joint_names.index(name) for name in self.joints]]
        values = np.degrees(q) if self.units == "degrees" else q
        if self.gripper:
            gripper = robot.gripper
            if state.opening is None or gripper is None:
                raise SpecError("policy: it observes the fingers, and no position of them is received")
            values = np.append(values, 100.0 * gripper.share(state.opening))
        found = {self.state.input: self.state.apply(values)}
        for name, camera in self.cameras.items():
            frame = state.frames.get(name)
            if frame is None:
                raise SpecError(f"policy: no picture of camera '{name}' yet")
            image = cv2.resize(frame.image, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
            pixels = camera.apply(image.astype(np.float32) / 255.0)
            found[camera.input or f"observation.images.{name}"] = pixels.transpose(2, 0, 1)
        return {name: np.ascontiguousarray(each[None], np.float32) for name, each in found.items()}

    def targets(self, outputs: Mapping[str, np.ndarray], robot: RobotModel) -> np.ndarray:
        """Return a chunk's joint positions [rad] in the order of `robot`, the opening [m] behind them: (k, size).

        Raises:
            SpecError: if the policy gave something else.
        """
        if self.action.output not in outputs:
            raise SpecError(f"policy: gave {', '.join(outputs) or 'nothing'}, expected '{self.action.output}'")
        raw = np.asarray(outputs[self.action.output], np.float64)
        chunk = raw[0] if raw.ndim == 3 and len(raw) == 1 else raw
        if chunk.ndim != 2 or chunk.shape[1] != self.size:
            raise SpecError(f"policy: actions of shape {raw.shape}, expected (1, k, {self.size})")
        values = self.action.undo(chunk)
        n = len(self.joints)
        q = np.radians(values[:, :n]) if self.units == "degrees" else values[:, :n]
        q = q[:, [self.joints.index(name) for name in robot.joint_names]]
        if not self.gripper or robot.gripper is None:
            return q
        return np.column_stack([q, robot.gripper.opening_of(values[:, n] / 100.0)])


def read_foreign(path: Path, robot: RobotModel) -> ForeignPolicy:
    """Read a description and compare it with the arm.

    Raises:
        SpecError: if it cannot be read, or does not fit.
    """
    found = build(ForeignPolicy, read_json(path, "policy", MOST_JSON), f"policy '{path}'")
    found.check(robot)
    return found
