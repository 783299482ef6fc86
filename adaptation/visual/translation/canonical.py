"""RCAN (James et al., CVPR 2019): learn to turn any randomised rendering into the plain one of the same scene.

What has learned to see past all looks turns a real picture into a rendering too, though it has never seen a real one.
"""

from __future__ import annotations

import numpy as np
import torch

from adaptation.visual.translation.networks import Generator, as_tensor
from adaptation.visual.translation.training import TranslationConfig, adam, check_domains, step
from sim.env import ArmEnv
from sim.tasks.state_samples import sample_approach


def canonical_pairs(env: ArmEnv, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw `count` scenes twice: with the looks of `env`'s space, and with nominal ones; (N, H, W, 3) uint8 each.

    Things, arm and camera stand in the same places in both.

    Args:
        env: whose observation has one image.
        count: number of pairs.
        seed: of everything random.
    """
    (image,) = (array.name for array in env.observation_spec.arrays if array.is_image)
    plain = {p.name: p.nominal for p in env.parameter_space.params if p.group == "visual"}
    rng = np.random.default_rng(seed)
    randomised, canonical = [], []
    for pair in range(count):
        env.reset(seed=seed + pair)
        q = sample_approach(env.robot, env.world.ee_pos, env.task.desired_goal(env.world), rng)
        randomised.append(env.place_arm(q)[image])
        env.reset(seed=seed + pair, options={"parameters": plain})  # the same draws but for the looks
        canonical.append(env.place_arm(q)[image])
    return np.stack(randomised), np.stack(canonical)


def learn_canonical(randomised: np.ndarray, canonical: np.ndarray, config: TranslationConfig, seed: int) -> Generator:
    """Learn the way from randomised to canonical pictures (N, H, W, 3) uint8, which are paired.

    Raises:
        ImageError: for pictures that cannot be translated between.
    """
    config.validate()
    check_domains(randomised, canonical)
    if len(randomised) != len(canonical):
        raise ValueError(f"{len(randomised)} randomised and {len(canonical)} canonical pictures, expected pairs")
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    generator = Generator(config.width)
    optimiser = adam(generator.parameters(), config)
    for _ in range(config.steps):
        rows = rng.integers(len(randomised), size=config.batch)
        away = generator(as_tensor(randomised[rows])) - as_tensor(canonical[rows])
        step(optimiser, away.abs().mean())
    return generator.eval()
