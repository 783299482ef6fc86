"""Episodes in simulation become a data set that holds what happened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluation.simulation.simulated_episodes import EpisodeRunner, export_simulated
from policies.training.progress import silent
from robots.action import ActionResolver, actions_between
from robots.datasets.checks import problems
from robots.datasets.layout import ACTION, CAMERA, DONE, EXPERT_ACTION, POLICY_ACTION, STATE, SUCCESS, DatasetError
from robots.datasets.reader import open_dataset
from robots.specs import SpecError
from tests.support.tiny_bundle import CAMERA as FRONT
from tests.support.tiny_bundle import tiny_bundle


def test_an_experts_episodes_are_written_as_they_were(tmp_path: Path) -> None:
    runner = EpisodeRunner("reach", "franka_panda", "nominal")
    found = export_simulated(runner, tmp_path / "set", range(5, 99), 2, "reach the cube", silent)
    again = [runner.run(seed) for seed in (5, 6)]
    runner.close()
    assert found["succeeded"] == 2
    dataset = open_dataset(tmp_path / "set")
    assert list(problems(dataset)) == []
    assert dataset.about is not None
    assert dataset.about.action == runner.action
    for k, episode in enumerate(again):
        assert dataset.entries[k].tasks == ("reach the cube",)
        assert dataset.entries[k].facts["seed"] == 5 + k
        for key, values in episode.columns.items():
            np.testing.assert_array_equal(dataset.column(k, key), values)
        assert dataset.column(k, DONE).tolist() == [False] * (dataset.entries[k].length - 1) + [True]
        assert dataset.column(k, SUCCESS)[-10:].all()
        np.testing.assert_array_equal(dataset.column(k, POLICY_ACTION), dataset.column(k, EXPERT_ACTION))
        q, action = dataset.column(k, STATE).astype(float), dataset.column(k, ACTION).astype(float)
        resolver = ActionResolver(runner.action, runner.env.robot)
        resolver.reset(q[0])
        told = [resolver.resolve(a, b) for a, b in zip(dataset.column(k, POLICY_ACTION), q)]
        np.testing.assert_allclose(action, told, atol=0.02)  # sensors' noise at the start
        back = actions_between(runner.action, runner.env.robot, q, action)
        assert np.median(np.abs(back - dataset.column(k, POLICY_ACTION))) < 0.02


def test_a_camera_policys_pictures_are_its_own(tmp_path: Path) -> None:
    bundle = tiny_bundle()
    runner = EpisodeRunner(bundle.task, bundle.arm, "nominal", bundle)
    export_simulated(runner, tmp_path / "set", range(9), 1, "reach", silent)
    episode = runner.run(0)
    runner.close()
    dataset, key = open_dataset(tmp_path / "set"), f"{CAMERA}{FRONT.name}"
    assert dataset.info.cameras == (key,)
    shown = np.stack(list(dataset.pictures(0, key))).astype(int)
    assert np.abs(shown - np.stack(episode.pictures[key])).mean() < 4
    assert (dataset.column(0, POLICY_ACTION) != dataset.column(0, EXPERT_ACTION)).any()
    with pytest.raises(SpecError, match="observes its own cameras; leave --cameras out"):
        EpisodeRunner(bundle.task, bundle.arm, "nominal", bundle, "front_side")


def test_too_few_successes_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    runner = EpisodeRunner("reach", "franka_panda", "nominal", tiny_bundle((0.3, -0.5, 0.6), camera=None))
    with pytest.raises(DatasetError, match="0 of 2 episodes succeeded, 1 were to be written"):
        export_simulated(runner, tmp_path / "set", range(2), 1, "reach", silent, successes=True)
    runner.close()
    assert list(tmp_path.iterdir()) == []
