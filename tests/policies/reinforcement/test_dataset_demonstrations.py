"""A LeRobot data set as demonstrations: its transitions are the recorded ones, and what does not fit is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.simulation.simulated_episodes import EpisodeRunner, export_simulated
from policies.reinforcement.dataset_demonstrations import read_demonstrations
from policies.reinforcement.demonstrations import DemonstrationError
from policies.training.progress import silent
from robots.datasets.layout import ABOUT, ACTION, REWARD, STATE, SUCCESS, About
from robots.datasets.reader import Dataset, open_dataset
from robots.datasets.writer import write_dataset
from robots.registry import load_robot
from sim.tasks import load_task
from sim2real.command_line import main

NAMES = ("q", "dq", "ee_pos", "goal")
ROBOT, SPEC = load_robot("franka_panda"), load_task("reach").action


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two episodes of the expert."""
    out = tmp_path_factory.mktemp("demonstrations") / "set"
    runner = EpisodeRunner("reach", "franka_panda", "nominal")
    export_simulated(runner, out, range(2), 2, "reach", silent)
    runner.close()
    return open_dataset(out)


def rewritten(source: Dataset, out: Path, keys: tuple[str, ...], about: About, success: bool | None = True) -> Path:
    """A data set with some of the features alone."""
    features = {key: source.info.features[key] for key in keys}
    with write_dataset(out, source.info.fps, features, about) as writer:
        for k in range(len(source)):
            facts = {} if success is None else {"success": success}
            writer.add({key: source.column(k, key) for key in keys}, "reach", facts)
    return out


def test_transitions_are_those_that_were_recorded(recorded: Dataset) -> None:
    found = read_demonstrations(recorded.folder, ROBOT, SPEC, NAMES, sparse=False)
    lengths = [entry.length - 1 for entry in recorded.entries]
    assert len(found) == sum(lengths)
    assert np.flatnonzero(found.truncated).tolist() == [lengths[0] - 1, sum(lengths) - 1]
    assert not found.terminated.any()
    first = slice(0, lengths[0])
    np.testing.assert_array_equal(found.observation["q"][first], recorded.column(0, STATE)[:-1])
    np.testing.assert_array_equal(found.following["goal"][first], recorded.column(0, "observation.goal")[1:])
    np.testing.assert_array_equal(found.action[first], recorded.column(0, "policy.action")[:-1])
    np.testing.assert_array_equal(found.reward[first], recorded.column(0, REWARD)[:-1])
    sparse = read_demonstrations(recorded.folder, ROBOT, SPEC, NAMES, sparse=True)
    np.testing.assert_array_equal(sparse.reward[first] == 0, recorded.column(0, SUCCESS)[:-1])


def test_what_was_not_recorded_follows_from_the_joints(recorded: Dataset, tmp_path: Path) -> None:
    folder = rewritten(recorded, tmp_path / "set", (STATE, ACTION, "observation.goal"), About(ROBOT.name))
    found = read_demonstrations(folder, ROBOT, SPEC, NAMES, sparse=True)
    whole = read_demonstrations(recorded.folder, ROBOT, SPEC, NAMES, sparse=True)
    np.testing.assert_allclose(found.observation["ee_pos"], whole.observation["ee_pos"], atol=1e-6)
    assert np.median(np.abs(found.observation["dq"] - whole.observation["dq"])) < 0.05
    assert np.median(np.abs(found.action - whole.action)) < 0.02
    ends = np.flatnonzero(found.truncated)
    assert (found.reward[ends] == 0).all()
    assert (found.reward[ends - 2] == -1).all()


def test_what_does_not_fit_is_named(recorded: Dataset, tmp_path: Path) -> None:
    def told(folder: Path, robot=ROBOT, spec=SPEC, sparse=True) -> str:
        with pytest.raises(DemonstrationError) as error:
            read_demonstrations(folder, robot, spec, NAMES, sparse)
        return str(error.value)

    assert "is of arm 'franka_panda', not 'kuka'" in told(recorded.folder, replace(ROBOT, name="kuka"))
    assert "import it with --rate 50" in told(recorded.folder, spec=replace(SPEC, rate_hz=50.0))
    bare = rewritten(recorded, tmp_path / "bare", (STATE, ACTION), About(ROBOT.name))
    assert "lacks 'observation.goal', which the policy observes; it has observation.state" in told(bare)
    keys = (STATE, ACTION, "observation.goal")
    unjudged = rewritten(recorded, tmp_path / "unjudged", keys, About(ROBOT.name), success=None)
    assert "note each episode's success" in told(unjudged)
    assert "learn with --recipe.reward sparse" in told(
        rewritten(recorded, tmp_path / "c", keys, About(ROBOT.name)), sparse=False
    )
    (bare / ABOUT).unlink()
    assert "does not say its units; import it first: sim2real dataset import" in told(bare)
    stats = json.loads((unjudged / "meta/stats.json").read_text())
    stats[ACTION]["mean"][0] += 1.0
    (unjudged / "meta/stats.json").write_text(json.dumps(stats))
    assert "statistics lie: mean of 'action' of panda_joint1.pos" in told(unjudged)
    assert "meta/info.json is missing" in told(tmp_path)


def test_training_refuses_before_it_begins(
    recorded: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--demonstrations", str(recorded.folder), "--out", str(tmp_path / "run")]
    assert main([*command, "--algorithm", "sac", "--task", "pick_place"]) == 1
    assert "has 20 frames a second, the task 25 actions; import it with --rate 25" in capsys.readouterr().err
    assert main([*command, "--algorithm", "recurrent_ppo", "--task", "reach"]) == 1
    assert "'recurrent_ppo' does not imitate; leave --demonstrations out" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_data_set_is_exported_imported_and_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown, taken, run = (str(tmp_path / name) for name in ("shown", "taken", "run"))
    options = ["--task", "reach", "--episodes", "2", "--randomise", "nominal", "--cameras", "front_side"]
    assert main(["dataset", "export", *options, "--successes", "--out", shown]) == 0
    assert "2 of 2 succeeded" in capsys.readouterr().out
    assert main(["dataset", "import", shown, "--out", taken]) == 0
    assert main(["dataset", "check", taken]) == 0
    assert "2 of 2 episodes succeeded" in capsys.readouterr().out
    recipe = ["--recipe.steps", "160", "--recipe.segment", "160", "--recipe.envs", "2", "--recipe.hidden", "16"]
    recipe += ["--recipe.imitation-steps", "20", "--recipe.critic-steps", "5", "--recipe.validation-episodes", "2"]
    recipe += ["--evaluation-episodes", "2", "--workers", "1", "--randomise", "nominal", "--recipe.batch", "40"]
    assert (
        main(["train", "--algorithm", "sac", "--task", "reach", "--demonstrations", taken, *recipe, "--out", run]) == 0
    )
    assert (tmp_path / "run" / "best").is_dir()
