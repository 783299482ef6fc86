"""Bundles of camera policies that are not trained, and targets that such policies can be adapted to."""

from __future__ import annotations

from contextlib import closing
from functools import cache
from pathlib import Path

import numpy as np
import torch

from adaptation.visual.target import TargetData
from policies.bundle import PolicyBundle
from policies.imitation.camera_run import TrainConfig, camera_contract, export_student, untrained
from robots.rig import Rig
from sim.datasets.labelled_renders import draw_renders, sample_states
from sim.env import ArmEnv
from sim.tasks.recipe import PerceptionRecipe, StateRecipe
from sim.tasks.task import CAMERAS

TINY = PerceptionRecipe(
    renders=60, steps=4, batch=8, channels=8, refiner_steps=(2,), geometry_steps=5, geometry_batch=16, held_out=10
)
HEAD = StateRecipe(
    hidden=(32,),
    envs=4,
    rounds=1,
    round_steps=20,
    gradient_steps=20,
    last_gradient_steps=40,
    batch=32,
    validation_episodes=1,
    validate_from=1,
)
"""Of an action head that is trained for a moment."""


@cache
def untrained_bundle(task: str, cameras: str | Rig) -> PolicyBundle:
    """Export a Panda's camera policy with random weights, and a crop refiner; tests share it and leave it as it is."""
    torch.manual_seed(0)
    space = "full" if cameras == "random" else "nominal"  # cameras that may stand anywhere are nowhere in particular
    head = StateRecipe(hidden=(16,))
    config = TrainConfig(Path("nowhere"), task, cameras=cameras, randomise=space, perception=TINY, recipe=head)
    with closing(ArmEnv(task, config.robot, space, CAMERAS, cameras=cameras)) as env:
        renders = draw_renders(env, 60, seed=0)
    contract = camera_contract(task, config.robot, cameras)
    return export_student(
        "untrained", untrained(config), contract, renders, {"parameter_space": config.space().to_dict()}
    )


def recorded_target(bundle: PolicyBundle, frames: int = 40, seed: int = 1) -> TargetData:
    """Images of random states in the bundle's own simulation, five to a trial."""
    rig = Rig("recorded", tuple(bundle.cameras.values()))
    with closing(ArmEnv(bundle.task, bundle.robot.name, "nominal", CAMERAS, cameras=rig)) as env:
        seen = [state.observation for state in sample_states(env, frames, seed)]
    arrays = {name: np.stack([each[name] for each in seen]) for name in bundle.observation.names}
    images = {camera: arrays[f"image_{camera}"] for camera in bundle.cameras}
    return TargetData(images, arrays["q"], np.arange(frames) // 5, arrays.get("opening"))
