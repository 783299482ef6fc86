"""The recipes by which policies are learned: each task states its own, tuned for the arms that it names."""

from __future__ import annotations

import logging
from dataclasses import replace

from robots.registry import load_robot
from sim.tasks import load_task
from sim.tasks.recipe import PerceptionRecipe, StateRecipe


def state_recipe(task: str, robot: str) -> StateRecipe:
    """Return the recipe of `task` for `robot`; where none was tuned, that for another arm, or the default.

    Raises:
        SpecError: for an unknown task.
    """
    recipes = load_task(task).recipes
    return recipes.get(robot) or next(iter(recipes.values()), StateRecipe())


def action_head_recipe(task: str, robot: str) -> StateRecipe:
    """Return how the action head of a camera policy is trained: as a policy from state, with episodes that go on longer
    after success, and with more validation episodes, in the last two rounds only, because success is lower.
    """
    recipe = state_recipe(task, robot)
    return replace(recipe, linger=1.0, validate_from=max(1, recipe.rounds - 1), validation_episodes=96)


def perception_recipe(task: str, robot: str) -> PerceptionRecipe:
    """Return how the perception of a camera policy for `task` is trained: as the task says, else the default.

    An arm without landmarks leaves fewer keypoints, each of which has one crop refiner at most.

    Raises:
        SpecError: for an unknown task.
    """
    found = load_task(task)
    keypoints = len(found.landmarks) + len(load_robot(robot).landmarks)
    return replace(found.perception, refiner_steps=found.perception.refiner_steps[:keypoints])


def is_tuned(task: str, robot: str) -> bool:
    """Whether `task` states a recipe that was tuned for `robot`."""
    return robot in load_task(task).recipes


def warn_if_untuned(task: str, robot: str) -> None:
    """Log a warning where the recipe of `task` for `robot` is not a tuned one."""
    if not is_tuned(task, robot):
        tuned = ", ".join(load_task(task).recipes) or "no arm"
        logging.getLogger(__name__).warning(
            "task '%s' on '%s': the recipe is untuned (tuned for %s); if success is low, train longer by the options "
            "of --recipe or --perception",
            task,
            robot,
            tuned,
        )
