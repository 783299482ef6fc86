"""An environment of which one can tell what is in the picture."""

from __future__ import annotations

import numpy as np

from sim.env import ArmEnv

VIEW = ("q", "image_front", "depth_front", "segmentation_front")


def seen(env: ArmEnv, **values: float) -> tuple[dict, set[str]]:
    """Reset with parameters; return the observation, and the names of all bodies in the picture."""
    observation, _ = env.reset(seed=1, options={"parameters": {"start_spread": 0.0, **values}})
    return observation, {env.segmentation_names[i] for i in np.unique(observation["segmentation_front"]) if i >= 0}
