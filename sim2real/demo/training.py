"""How large the demo's trainings are, and about how long the whole demo takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

from policies.imitation.camera_run import check_locatable
from policies.imitation.recipes import action_head_recipe, perception_recipe
from robots.host.writing import write_json
from robots.registry import load_robot
from robots.rig import Rig, load_rig
from sim.tasks import fitted_task
from sim.tasks.recipe import PerceptionRecipe
from sim2real.demo.options import DemoOptions

NOMINAL_SHARE = 0.25
"""Size of the training without randomisation over that with it: one scene is learned from fewer images."""
TRAINING, TRIALS, COLLECTING, ADAPTATION, KNOCKED_TRIALS = (
    ("train nominal", "train randomised"),
    "trials",
    "collect frames",
    "adapt",
    "trials, knocked",
)
RIG = "rig.json"
"""Name of the rig's file in the demo's folder."""
RENDER, STEP, REST = 1.5e-3, 1.3e-3, 90.0
"""Processor time [s] of a render, of an image in a gradient step at 32 channels, and of all else in a training."""
START, TURN = 15.0, 1.5
"""Of a session, and of a trial beside its own time [s]."""


def scaled_recipes(config: DemoOptions) -> dict[str, PerceptionRecipe]:
    """Return how the perception of each policy is trained: the task's recipe, scaled.

    Raises:
        ValueError: if no camera policy can be trained for the task.
    """
    robot = load_robot(config.robot)
    task = fitted_task(config.task, robot, load_rig(config.cameras, robot))
    check_locatable(task)
    if any(camera.pose_range is not None for camera in task.cameras):
        raise ValueError(f"cameras is '{config.cameras}', expected cameras in one place each: the demo knocks them")
    recipe = perception_recipe(config.task, config.robot)
    return {"nominal": _scaled(recipe, NOMINAL_SHARE * config.scale), "randomised": _scaled(recipe, config.scale)}


def write_rig(config: DemoOptions, path: Path) -> None:
    """Write the rig with the uncertainty that the policies are trained for."""
    rig = load_rig(config.cameras, load_robot(config.robot))
    cameras = (
        replace(
            each,
            position_error=config.calibration * each.position_error,
            rotation_error=config.calibration * each.rotation_error,
        )
        for each in rig.cameras
    )
    write_json(path, Rig(rig.name, tuple(cameras)).to_dict())


def _scaled(recipe: PerceptionRecipe, factor: float) -> PerceptionRecipe:
    def times(count: int) -> int:
        return max(1, round(factor * count))

    return replace(
        recipe,
        renders=times(recipe.renders),
        held_out=min(recipe.held_out, max(1, times(recipe.renders) // 4)),
        steps=times(recipe.steps),
        refiner_steps=tuple(times(steps) for steps in recipe.refiner_steps),
        geometry_steps=min(recipe.geometry_steps, times(2 * recipe.geometry_steps)),
    )


def _episodes(count: int, config: DemoOptions) -> int:
    return max(1, round(min(1.0, config.scale) * count))


def training_commands(config: DemoOptions, recipes: Mapping[str, PerceptionRecipe], out: Path) -> dict[str, list[str]]:
    """Return the words after `sim2real` that train each policy in the folder `out`, which holds the rig, or go on."""
    jobs, head = {}, action_head_recipe(config.task, config.robot)
    for name, preset, cores in (("nominal", "nominal", 1), ("randomised", "full", 2)):
        options: dict[str, object] = {
            "--task": config.task,
            "--robot": config.robot,
            "--out": out / name,
            "--name": name,
            "--cameras": out / RIG,
            "--randomise": preset,
            "--seed": config.seed,
            "--workers": cores,
            "--threads": cores,
            "--evaluation-episodes": _episodes(100, config),
            "--recipe.validation-episodes": _episodes(head.validation_episodes, config),
        }
        jobs[name] = ["train", *(str(word) for option in options.items() for word in option)]
        default = perception_recipe(config.task, config.robot)
        for field in fields(default):
            value = getattr(recipes[name], field.name)
            if value != getattr(default, field.name):
                words = value if isinstance(value, tuple) else (value,)
                jobs[name] += [f"--perception.{field.name.replace('_', '-')}", *map(str, words)]
        if (out / name / "config.json").is_file():
            jobs[name] = ["train", "--resume", str(out / name)]
    return jobs


def expected_seconds(config: DemoOptions, recipes: Mapping[str, PerceptionRecipe]) -> dict[str, float]:
    """Return about how long each stage takes on two cores [s]; its own pace corrects that as soon as it has one."""
    cameras = len(load_rig(config.cameras, load_robot(config.robot)).cameras)
    work = 0.0
    for recipe in recipes.values():
        steps = recipe.steps + 0.5 * sum(recipe.refiner_steps)
        work += RENDER * cameras * recipe.renders + STEP * recipe.batch * recipe.channels / 32 * steps + REST
    trial = fitted_task(config.task, load_robot(config.robot)).time_limit + TURN
    session = START + 2 * config.trials * trial
    return {
        **dict.fromkeys(TRAINING, work / 2),
        TRIALS: session,
        COLLECTING: START + config.collect * trial,
        ADAPTATION: REST,
        KNOCKED_TRIALS: session,
    }
