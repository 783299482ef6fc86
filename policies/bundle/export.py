"""Export a torch network as a policy bundle; parity is checked before anything is written."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from policies.bundle.camera_mask import CAMERA_MASK, STD_OUTPUT, CameraMasking
from policies.bundle.input_watch import InputWatch
from policies.bundle.landmark_residuals import KEYPOINTS, LandmarkResiduals
from policies.bundle.policy_bundle import BEGIN, PolicyBundle
from policies.bundle.things import Things
from robots.camera import CameraModel
from robots.model import RobotModel
from robots.specs import ActionSpec, ObservationSpec

OPSET = 18
"""Version of ONNX's operators, which every onnxruntime from 1.14 on runs."""


@dataclass(frozen=True)
class Contract:
    """Observation and action of a policy, and its robot."""

    task: str
    """Name of the task."""
    observation: ObservationSpec
    """Observation."""
    action: ActionSpec
    """Action."""
    robot: RobotModel
    """The arm."""
    cameras: dict[str, CameraModel]
    """The cameras, by name."""
    things: Things | None = None
    """What it can be asked for, of a policy for several things."""


def export_bundle(
    name: str,
    network: nn.Module,
    contract: Contract,
    observations: Mapping[str, np.ndarray],
    architecture: dict,
    provenance: dict,
    seen: Mapping[str, np.ndarray] | None = None,
    memory: Mapping[str, tuple[int, ...]] | None = None,
    begin: np.ndarray | None = None,
    masking: CameraMasking | None = None,
    landmarks: LandmarkResiduals | None = None,
) -> PolicyBundle:
    """Export `network` with its contract and `observations` (N, …) by array name, recorded for parity.

    The network takes the contract's arrays in order, with a leading batch, and returns actions. Training observations
    `seen` (N, …) by array name, if given, define the input ranges that the control loop checks. A network with a
    `memory` (shapes by name) also takes that, after the arrays, and returns the actions and the next memory, in that
    order; the observations are then those of whole episodes, which start where `begin` (N,) is True. One that can do
    without cameras, with a `masking`, takes `camera_mask` (N, C) after the contract's arrays, and returns the predicted
    std after the memory. Where residuals of `landmarks` are known, it returns the keypoints last.

    Raises:
        BundleError: if the exported graph's actions differ from the network's.
    """
    network.eval()
    names = (*contract.observation.names, *((CAMERA_MASK,) if masking else ()))
    inputs = tuple(torch.from_numpy(np.ascontiguousarray(observations[key])) for key in names)
    memory = memory or {}
    fresh = tuple(torch.zeros(1, *shape) for shape in memory.values())
    begins = np.ones(len(inputs[0]), bool) if begin is None else begin
    actions = []
    carried = fresh
    with torch.no_grad():
        for i in range(len(inputs[0])):  # one at a time, as on the robot: batched kernels may round differently
            carried = fresh if begins[i] else carried
            found = network(*(array[i : i + 1] for array in inputs), *carried)
            action, *following = found if isinstance(found, tuple) else (found,)
            carried = tuple(following[: len(memory)])
            actions.append(action)
    parity = {f"observation.{key}": value.numpy() for key, value in zip(names, inputs)}
    outputs = ("action", *(f"next_{name}" for name in memory), *((STD_OUTPUT,) if masking else ()))
    outputs += (KEYPOINTS,) if landmarks else ()
    parity |= {BEGIN: begins} if memory else {}
    bundle = PolicyBundle(
        name=name,
        task=contract.task,
        observation=contract.observation,
        action=contract.action,
        robot=contract.robot,
        cameras=contract.cameras,
        onnx=to_onnx(network, (*(array[:1] for array in inputs), *fresh), (*names, *memory), outputs),
        parity={**parity, "action": torch.cat(actions).numpy()},
        provenance=provenance,
        network=architecture,
        inputs=InputWatch.record(contract.observation, seen) if seen is not None else InputWatch({}),
        memory=dict(memory),
        masking=masking,
        landmarks=landmarks,
        things=contract.things,
        weights={key: value.detach().float().numpy() for key, value in network.state_dict().items()},
    )
    bundle.check_parity()
    return bundle


def to_onnx(
    network: nn.Module, example: tuple[torch.Tensor, ...], names: tuple[str, ...], outputs: tuple[str, ...]
) -> bytes:
    """Export the network's graph for a batch of one, with inputs `names` and `outputs`."""
    graph = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of traced shapes, which are those of every call; and the exporter's age
        torch.onnx.export(
            network,
            example,
            graph,  # type: ignore[arg-type]  # files in memory are only missing in the declaration
            input_names=list(names),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=False,  # torch.export writes the same graph of a camera policy in 8 s instead of 0.7
        )
    return graph.getvalue()
