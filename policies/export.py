"""From a torch network to a policy bundle, with parity checked before anything is written."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from policies.bundle import PolicyBundle
from policies.input_watch import InputWatch
from sim.camera import CameraModel
from sim.robot import RobotModel
from sim.specs import ActionSpec, ObservationSpec


@dataclass(frozen=True)
class Contract:
    """What a policy sees and commands, and on which robot."""

    task: str
    """Name of the task."""
    observation: ObservationSpec
    """What goes in."""
    action: ActionSpec
    """What comes out."""
    robot: RobotModel
    """The arm."""
    cameras: dict[str, CameraModel]
    """The cameras, by name."""


def export_bundle(
    name: str,
    network: nn.Module,
    contract: Contract,
    observations: Mapping[str, np.ndarray],
    architecture: dict,
    provenance: dict,
    seen: Mapping[str, np.ndarray] | None = None,
) -> PolicyBundle:
    """Pack `network` with its contract and `observations` (N, …) by array name, recorded for parity.

    The network takes the contract's arrays in order, with a leading batch, and returns actions. What it has `seen`
    (N, …) by array name, if given, is what the control loop will hold its inputs against.

    Raises:
        BundleError: if the exported graph's actions differ from the network's.
    """
    network.eval()
    inputs = tuple(torch.from_numpy(np.ascontiguousarray(observations[key])) for key in contract.observation.names)
    with torch.no_grad():
        # One at a time, as the robot does: batched kernels may round otherwise.
        actions = torch.cat([network(*(array[i : i + 1] for array in inputs)) for i in range(len(inputs[0]))])
    parity = {f"observation.{key}": value.numpy() for key, value in zip(contract.observation.names, inputs)}
    bundle = PolicyBundle(
        name=name,
        task=contract.task,
        observation=contract.observation,
        action=contract.action,
        robot=contract.robot,
        cameras=contract.cameras,
        onnx=to_onnx(network, tuple(array[:1] for array in inputs), contract.observation.names),
        parity={**parity, "action": actions.numpy()},
        provenance=provenance,
        network=architecture,
        inputs=InputWatch.record(contract.observation, seen) if seen is not None else InputWatch({}),
        weights={key: value.detach().float().numpy() for key, value in network.state_dict().items()},
    )
    bundle.check_parity()
    return bundle


def to_onnx(network: nn.Module, example: tuple[torch.Tensor, ...], names: tuple[str, ...]) -> bytes:
    """Export the network's graph for a batch of one, inputs called `names`, output `action`."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it reports optional packages that are not needed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                example,
                input_names=list(names),
                output_names=["action"],
                dynamo=True,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    return program.model_proto.SerializeToString()
