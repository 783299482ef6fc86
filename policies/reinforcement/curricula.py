"""Curricula: the parameters of a segment's episodes are drawn before it, their outcomes reported after it."""

from __future__ import annotations

from math import ceil

import numpy as np

from policies.reinforcement.recipe import ReinforcementRecipe
from sim.randomization.curriculum import AutomaticCurriculum, Curriculum, Draw, FixedCurriculum, LinearCurriculum
from sim.randomization.parameters import ParameterSpace
from sim.vector.sb3_vector import Sb3ArmVectorEnv

Plan = list[list[Draw]]
"""The draws of a segment's episodes, for each arm in order."""


def make_curriculum(recipe: ReinforcementRecipe, space: ParameterSpace, episode_steps: int) -> Curriculum:
    """Make the curriculum that `recipe` names; an episode takes `episode_steps` actions."""
    if recipe.curriculum == "linear":
        return LinearCurriculum(space, max(1, recipe.steps // episode_steps))
    if recipe.curriculum == "adr":
        return AutomaticCurriculum(space)
    return FixedCurriculum(space)


def plan_episodes(
    curriculum: Curriculum, arms: Sb3ArmVectorEnv, steps: int, episode_steps: int, seed: list[int]
) -> Plan:
    """Set the parameters of the episodes of `arms` in the next `steps` actions; return them."""
    if isinstance(curriculum, FixedCurriculum):
        return []
    rng = np.random.default_rng(seed)
    episodes = ceil(steps / episode_steps) + 1  # the last one is cut off, and the reset behind it draws as well
    draws = [[curriculum.draw(rng) for _ in range(episodes)] for _ in range(arms.num_envs)]
    for arm, own in enumerate(draws):
        arms.env_method("plan", [draw.parameters for draw in own], indices=arm)
    return draws


def report_outcomes(curriculum: Curriculum, arms: Sb3ArmVectorEnv, draws: Plan) -> None:
    """Report to the curriculum how the episodes of a plan have ended."""
    if draws:
        for own, outcomes in zip(draws, arms.env_method("outcomes")):
            for draw, success in zip(own, outcomes):
                curriculum.report(draw, success)
