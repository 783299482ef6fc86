"""CycleGAN (Zhu et al., ICCV 2017): there and back again must give the picture that it began with."""

from __future__ import annotations

import numpy as np
import torch

from adaptation.visual.translation.networks import Discriminator, Generator, as_tensor, real_loss, translated_loss
from adaptation.visual.translation.training import TranslationConfig, adam, check_domains, step

CYCLE = 10.0
"""Weight of the way there and back (the paper's)."""
IDENTITY = 5.0
"""Weight of leaving alone what is of the other domain already (the paper's): keeps colours where they belong."""

FREE = 0.5
"""Share of the steps in which both weights grow from nothing. Untrained generators return what they are given, which
costs neither way anything: held by the whole weights from the start, they never leave that."""


def learn_cycle_gan(
    source: np.ndarray, target: np.ndarray, config: TranslationConfig, seed: int
) -> tuple[Generator, Generator]:
    """Learn to translate source pictures (N, H, W, 3) uint8 into the target's looks, and back; none is paired.

    Returns:
        The generators from source to target and from target to source.

    Raises:
        ImageError: for pictures that cannot be translated between.
    """
    config.validate()
    check_domains(source, target)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    there, back = Generator(config.width), Generator(config.width)
    judge_target, judge_source = Discriminator(config.width), Discriminator(config.width)
    generate = adam([*there.parameters(), *back.parameters()], config)
    judge = adam([*judge_target.parameters(), *judge_source.parameters()], config)
    for k in range(config.steps):
        held = min(1.0, k / (FREE * config.steps))
        s = as_tensor(source[rng.integers(len(source), size=config.batch)])
        t = as_tensor(target[rng.integers(len(target), size=config.batch)])
        as_target, as_source = there(s), back(t)
        fooled = real_loss(judge_target(as_target)) + real_loss(judge_source(as_source))
        cycle = (back(as_target) - s).abs().mean() + (there(as_source) - t).abs().mean()
        same = (there(t) - t).abs().mean() + (back(s) - s).abs().mean()
        step(generate, fooled + held * (CYCLE * cycle + IDENTITY * same))
        told = translated_loss(judge_target(as_target.detach())) + translated_loss(judge_source(as_source.detach()))
        step(judge, told + real_loss(judge_target(t)) + real_loss(judge_source(s)))
    return there.eval(), back.eval()
