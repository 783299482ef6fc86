"""Policies of action chunks: their plan, the chunks they learn, and the whole way from a data set to a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.simulation.simulated_episodes import EpisodeRunner, export_simulated
from policies.bundle import PolicyBundle
from policies.cloning.chunk_policy import ChunkPolicy
from policies.cloning.clone_run import chunks_of, without_rests
from policies.models.keypoint_encoder import ForwardKinematics, KeypointEncoder
from policies.training.progress import silent
from robots.registry import load_robot
from sim.tasks import load_task
from sim2real.command_line import main
from tests.policies.cloning.test_labels import placing

ROBOT = load_robot("franka_panda")


def test_the_action_is_the_weighted_mean_of_what_chunks_say_of_now() -> None:
    torch.manual_seed(0)
    encoder = KeypointEncoder(2, 20, 20, 4).eval()
    policy = ChunkPolicy(encoder, ForwardKinematics(ROBOT.chain), 7, False, 1, ("x", "y"), 3, (8,), 0.5).eval()
    said = iter(torch.tensor([[[0.1, 0.0], [0.2, 0.0], [0.3, 0.0]], [[0.8, 0.0], [0.9, 0.0], [1.0, 0.0]]])[:, None])
    policy.chunk = lambda points, measured: next(said)  # type: ignore[method-assign]
    arrays = torch.zeros(1, 7), torch.zeros(1, 20, 20, 3, dtype=torch.uint8)
    memory = [torch.zeros(1, *shape) for shape in policy.memory.values()]
    with torch.no_grad():
        first, *memory = policy(*arrays, *memory)
        second, *memory = policy(*arrays, *memory)
    assert first[0, 0] == pytest.approx(0.1)
    assert second[0, 0] == pytest.approx((0.5 * 0.2 + 0.8) / 1.5)
    assert memory[1][0].tolist() == pytest.approx([1.5, 1.5, 1.0])


def test_a_chunk_is_what_follows_and_then_no_motion() -> None:
    actions = np.array([[0.1, 0.0, 0.0, 0.0, 1.0], [0.2, 0.0, 0.0, 0.0, -1.0]], np.float32)
    chunks = chunks_of(actions, 3)
    assert chunks[0, :, 0].tolist() == pytest.approx([0.1, 0.2, 0.0])
    assert chunks[1, :, 4].tolist() == [-1.0, -1.0, -1.0]


def test_rests_are_cut_out_but_not_where_the_fingers_change() -> None:
    episode = placing()
    episode.actions[:] = 0.0
    episode.actions[:60, 0] = 0.5
    episode.actions[:, 4] = np.where(np.arange(len(episode)) < 100, 1.0, -1.0)
    found = without_rests(episode, load_task("pick_place").action)
    kept = len(found)
    assert 60 + 20 + 12 <= kept < 100
    assert len(found.q) == len(found.images["front"]) == kept


@pytest.mark.slow
def test_a_policy_is_cloned_from_a_data_set_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runner = EpisodeRunner("reach", "franka_panda", "nominal", cameras="front_side")
    export_simulated(runner, tmp_path / "set", range(2), 2, "reach", silent)
    runner.close()
    command = ["train", "--algorithm", "cloning", "--task", "reach", "--out", str(tmp_path / "run")]
    assert main(command) == 1
    assert "give --demonstrations DATASET" in capsys.readouterr().err
    few = ["--recipe.landmark-steps", "5", "--recipe.steps", "5", "--recipe.frames", "60", "--recipe.channels", "8"]
    assert main([*command, "--demonstrations", str(tmp_path / "set"), *few]) == 0
    assert "2 demonstrations" in capsys.readouterr().out
    bundle = PolicyBundle.load(tmp_path / "run" / "bundle")
    assert bundle.check_parity() < 1e-3
    assert set(bundle.memory) == {"plan", "plan_weights"}
    assert set(bundle.inputs.ranges) == {"image_front", "image_side"}
