"""The parts of the demo that need no training: its sizes, its options, and the story that its report tells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.session.trials import Trial
from policies.imitation.recipes import perception_recipe
from robots.registry import load_robot
from robots.rig import load_rig
from ros_nodes.session.virtual_session import SessionResult
from sim.virtual_arm.hidden_reality import HiddenReality
from sim2real.demo.options import DemoOptions
from sim2real.demo.report import joined, report_notes
from sim2real.demo.training import RIG, expected_seconds, scaled_recipes, training_commands, write_rig
from sim2real.options import Arguments
from sim2real.train import TrainHead, from_cameras


@pytest.mark.parametrize("task", ["reach", "pick_place"])
def test_trainings_are_the_task_s_recipe_scaled(task: str, tmp_path: Path) -> None:
    config = DemoOptions(task=task, cameras="front_side", scale=0.5)
    recipes = scaled_recipes(config)
    whole, half = perception_recipe(task, config.robot), recipes["randomised"]
    assert (half.renders, half.steps) == (whole.renders // 2, whole.steps // 2)
    assert half.refiner_steps == tuple(steps // 2 for steps in whole.refiner_steps)
    assert (half.channels, half.batch, half.geometry_steps) == (whole.channels, whole.batch, whole.geometry_steps)
    assert recipes["nominal"].steps == whole.steps // 8
    write_rig(config, tmp_path / RIG)
    for name, (command, *words) in training_commands(config, recipes, tmp_path).items():
        assert command == "train"
        head, _ = Arguments("sim2real train", words).peek(TrainHead())
        taken = Arguments("sim2real train", words).parse(from_cameras(task, config.robot).default, None, head)
        assert taken.perception == recipes[name]
        assert (taken.task, taken.name, taken.evaluation_episodes) == (task, name, 50)
        assert taken.recipe.validation_episodes == 48
        taken.perception.validate()
        robot = load_robot(config.robot)
        rig, nominal = (load_rig(cameras, robot).cameras for cameras in (taken.cameras, config.cameras))
        assert [each.position_error for each in rig] == [0.5 * each.position_error for each in nominal]
        assert rig == tuple(
            replace(each, position_error=0.5 * each.position_error, rotation_error=0.5 * each.rotation_error)
            for each in nominal
        )
    (tmp_path / "nominal").mkdir()
    (tmp_path / "nominal" / "config.json").touch()
    jobs = training_commands(config, recipes, tmp_path)
    assert jobs["nominal"] == ["train", "--resume", str(tmp_path / "nominal")]
    assert "--resume" not in jobs["randomised"]


def test_the_expected_time_grows_with_all_that_takes_time() -> None:
    small = DemoOptions(scale=0.1)

    def total(config: DemoOptions) -> float:
        return sum(expected_seconds(config, scaled_recipes(config)).values())

    for larger in (
        replace(small, scale=0.2),
        replace(small, trials=40),
        replace(small, collect=40),
        replace(small, task="pick_place"),
    ):
        assert total(larger) > total(small) + 10


def test_what_cannot_be_is_refused_before_anything_starts() -> None:
    for wrong in ({"scale": 0.0}, {"trials": 0}, {"frames": -1}, {"knock_shift": -0.1}):
        name = next(iter(wrong))
        with pytest.raises(ValueError, match=f"{name} is .*, expected"):
            DemoOptions(**wrong).validate()
    with pytest.raises(ValueError, match="no policy from cameras can be trained for task 'insert'"):
        scaled_recipes(DemoOptions(task="insert"))


def session(out: Path, name: str, outcomes: dict[str, list[bool]]) -> SessionResult:
    trials = tuple(
        Trial(name, policy, "0" * 64, index, index, success, 1.0, initial={"x": 0.5, "y": 0.0})
        for policy, successes in outcomes.items()
        for index, success in enumerate(successes)
    )
    latencies = out / f"{name}.npz"
    np.savez(latencies, policy=np.array(list(outcomes)), index=np.zeros(2, int), latency=np.full((2, 5), 1e-3))
    videos = {f"{policy}_0": out / f"{name}_{policy}.npz" for policy in outcomes}
    return SessionResult(trials, "raster", 1.0, 1.0, videos=videos, latencies=latencies)


@pytest.mark.parametrize(
    ("chosen", "ending"),
    [
        ("self-calibration", "After adaptation to 300 unlabelled frames (self-calibration): 2 of 2."),
        ("source-only", "No candidate for an adaptation won; the unchanged policy, tried again, succeeded in 2 of 2."),
    ],
)
def test_the_report_tells_the_story_as_it_went(chosen: str, ending: str, tmp_path: Path) -> None:
    before = session(tmp_path, "before", {"nominal": [False, False], "randomised": [True, True]})
    after = session(tmp_path, "after", {"randomised": [False, True], "adapted": [True, True]})
    both = joined(before, after, tmp_path / "target.npz", tmp_path)
    assert [trial.policy for trial in both.trials[::2]] == ["nominal", "randomised", "randomised_knocked", "adapted"]
    assert list(both.videos) == ["nominal_0", "randomised_0", "randomised_knocked_0", "adapted_0"]
    assert both.latencies is not None
    assert np.load(both.latencies)["latency"].shape == (4, 5)
    for name in ("nominal", "randomised"):
        (tmp_path / name).mkdir()
        figures = '{"keypoint_px": [0.5], "goal_cm": 1.0, "goal_cm_p90": 2.0}'
        (tmp_path / name / "metrics.json").write_text(f'{{"perception": {figures}, "evaluation": {{"success": 1.0}}}}')
    found = {"scatter": 0.01, "misplaced": 0.0, "cameras": {"front": {"shift_m": 0.03, "turn_deg": 3.0}}}
    adaptation = {"chosen": chosen, "frames": 300, "trials": 24, "candidates": {"self-calibration": found}}
    realities = (HiddenReality(), HiddenReality())
    notes = report_notes(DemoOptions(), both.trials, realities, adaptation, tmp_path, {"train": 5.0}, 60.0)
    assert notes.headline == (
        "On the virtual arm the policy trained without randomisation succeeded in 0 of 2 trials, the randomised one in "
        "2 of 2; after its cameras were knocked by 5 cm and 8° and the light changed, in 1 of 2. " + ending
    )
    assert [table.heading for table in notes.tables] == ["What changed", "Adaptation", "Training", "Time"]
