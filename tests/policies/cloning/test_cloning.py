"""Policies of action chunks: their plan, the chunks they learn, and the whole way from a data set to a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.simulation.simulated_episodes import EpisodeRunner, export_simulated
from policies.bundle import PolicyBundle
from policies.cloning import clone_run
from policies.cloning.chunk_policy import ChunkPolicy
from policies.cloning.clone_run import chunks_of, without_rests
from policies.models.keypoint_encoder import ForwardKinematics, KeypointEncoder
from policies.training import checkpoints
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


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """Two demonstrations of `reach` by its expert, as a data set."""
    runner = EpisodeRunner("reach", "franka_panda", "nominal", cameras="front_side")
    export_simulated(runner, tmp_path / "set", range(2), 2, "reach", silent)
    runner.close()
    return tmp_path / "set"


FEW = ["--recipe.landmark-steps", "5", "--recipe.steps", "5", "--recipe.frames", "60", "--recipe.channels", "8"]


@pytest.mark.slow
def test_a_policy_is_cloned_from_a_data_set_alone(
    shown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--algorithm", "cloning", "--task", "reach", "--out", str(tmp_path / "run")]
    assert main(command) == 1
    assert "give --demonstrations DATASET" in capsys.readouterr().err
    assert main([*command, "--demonstrations", str(shown), *FEW]) == 0
    assert "2 demonstrations" in capsys.readouterr().out
    bundle = PolicyBundle.load(tmp_path / "run" / "bundle")
    assert bundle.check_parity() < 1e-3
    assert set(bundle.memory) == {"plan", "plan_weights"}
    assert set(bundle.inputs.ranges) == {"image_front", "image_side"}


@pytest.mark.slow
def test_a_cloning_that_is_interrupted_goes_on_to_the_same_policy(
    shown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoints, "KEPT_EVERY", 0.0)
    command = ["train", "--algorithm", "cloning", "--task", "reach", "--demonstrations", str(shown), *FEW]
    assert main([*command, "--out", str(tmp_path / "whole"), "--name", "cloned"]) == 0
    taken, descend = [], clone_run.gradient_descent

    def interrupted(optimiser, rates, steps, loss, *others, **named):
        def one(step: int):
            if step == 3 and not taken:
                taken.append(step)
                raise KeyboardInterrupt
            return loss(step)

        return descend(optimiser, rates, steps, one, *others, **named)

    monkeypatch.setattr(clone_run, "gradient_descent", interrupted)
    broken = tmp_path / "broken"
    assert main([*command, "--out", str(broken), "--name", "cloned"]) == 130
    assert f"--resume {broken}" in capsys.readouterr().err
    assert main(["train", "--resume", str(broken)]) == 0
    one, other = (PolicyBundle.load(path / "bundle") for path in (tmp_path / "whole", broken))
    assert (broken / "bundle/policy.onnx").read_bytes() == (tmp_path / "whole/bundle/policy.onnx").read_bytes()
    for name, array in one.parity.items():
        np.testing.assert_array_equal(other.parity[name], array)
    assert {line.split(",")[0] for line in (broken / "perception.csv").read_text().splitlines()[1:]} == {
        "encoder",
        "chunks",
    }
