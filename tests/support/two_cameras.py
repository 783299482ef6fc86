"""A bundle of two cameras that can do without one of them, without any learning, and an arm whose cameras fail."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from policies.bundle import PolicyBundle
from policies.bundle.camera_mask import CAMERA_MASK, STD_OUTPUT, CameraMasking
from robots.observation import CameraFrame, RobotState
from robots.specs import ArraySpec, ObservationSpec
from tests.support.fakes import FakeRobot
from tests.support.tiny_bundle import CAMERA, GOAL, tiny_bundle

SIDE = replace(CAMERA, name="side")
WITH_BOTH, WITHOUT_SIDE, WITHOUT_FRONT, LIMIT = 0.009, 0.019, 0.059, 0.026
"""Predicted std of the goal [m], and the greatest that is allowed."""


def two_camera_bundle(goal: tuple[float, float, float] = GOAL, gain: float = 2.0) -> PolicyBundle:
    """Build `tiny_bundle` with a second camera; it may do without 'side', and without 'front' is too unsure."""
    bundle = tiny_bundle(goal, gain=gain)
    model = onnx.load_from_string(bundle.onnx)
    graph = model.graph
    graph.input.append(helper.make_tensor_value_info("image_side", TensorProto.UINT8, [1, 84, 84, 3]))
    graph.input.append(helper.make_tensor_value_info(CAMERA_MASK, TensorProto.FLOAT, [1, 2]))
    graph.output.append(helper.make_tensor_value_info(STD_OUTPUT, TensorProto.FLOAT, [1, 1]))
    worth = np.float32([[WITHOUT_FRONT - WITH_BOTH], [WITHOUT_SIDE - WITH_BOTH]])
    graph.initializer.extend(
        [numpy_helper.from_array(worth, "worth"), numpy_helper.from_array(worth.sum(0) + WITH_BOTH, "blind")]
    )
    graph.node.append(helper.make_node("MatMul", [CAMERA_MASK, "worth"], ["seen"]))
    graph.node.append(helper.make_node("Sub", ["blind", "seen"], [STD_OUTPUT]))
    records = len(bundle.parity["action"])
    more = {
        "observation.image_side": np.zeros((records, 84, 84, 3), np.uint8),
        f"observation.{CAMERA_MASK}": np.resize(np.float32([[1, 1], [1, 0], [0, 1]]), (records, 2)),
    }
    return replace(
        bundle,
        observation=ObservationSpec((*bundle.observation.arrays, ArraySpec.image("image_side", 84, 84))),
        cameras={**bundle.cameras, "side": SIDE},
        onnx=model.SerializeToString(),
        parity={**bundle.parity, **more},
        masking=CameraMasking(("front", "side"), ("goal",), (WITH_BOTH,), (LIMIT,)),
    )


@dataclass
class TwoCameraRobot(FakeRobot):
    """An arm with two noisy cameras, 'front' and 'side', which fail when told."""

    silent_for: dict[str, float] = field(default_factory=dict)
    """Age of the newest frame of a camera [s]; infinite for none at all."""
    frozen: set[str] = field(default_factory=set)
    """Cameras that deliver one picture again and again."""
    grey: dict[str, int] = field(default_factory=dict)
    """Grey level of a camera's pictures where it is not 128."""

    def read(self) -> RobotState | None:
        """Return the state, with a frame of each camera that is not silent for ever."""
        state, now = super().read(), self.clock()
        assert state is not None
        frames = {}
        for name in ("front", "side"):
            age = self.silent_for.get(name, 0.0)
            if np.isfinite(age):
                noise = np.random.default_rng(0 if name in self.frozen else round(1e4 * now)).integers(
                    0, 9, (84, 84, 3)
                )
                frames[name] = CameraFrame(now - age, (self.grey.get(name, 124) + noise).astype(np.uint8))
        return replace(state, frames=frames)
