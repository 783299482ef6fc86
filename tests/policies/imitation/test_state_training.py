"""State policies: features, imitation, the judge, the run's folder, and a run that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from policies.bundle import BundleError, PolicyBundle
from policies.imitation.recipes import is_tuned, state_recipe, warn_if_untuned
from policies.imitation.state_run import StateRunConfig, resume_state, train_state
from policies.models.state_network import StateNetwork, restore_state_network
from policies.scoring.evaluator import FullLengthEnv, evaluate
from policies.training.run_folder import RunError, RunFolder
from robots.host.locks import LockedError
from sim.tasks import TASKS, load_task
from sim.tasks.recipe import StateRecipe
from sim.vector.vector_env import ArmVectorEnv
from sim2real.command_line import main
from tests.support.servo_arm import write_servo_arm

pytestmark = pytest.mark.slow  # a policy is trained for them, if only a little
ROOT = Path(__file__).resolve().parents[3]
QUIET = lambda *_: None  # noqa: E731
TINY = StateRecipe(
    hidden=(64, 64),
    envs=8,
    rounds=2,
    round_steps=60,
    gradient_steps=150,
    last_gradient_steps=500,
    batch=128,
    learning_rate=3e-3,
    validation_episodes=8,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "reach"
    config = StateRunConfig(out, randomise="nominal", evaluation_episodes=16, recipe=TINY, workers=1)
    train_state(config, QUIET)
    return out


def test_a_tiny_run_learns_to_reach_and_its_bundle_equals_the_network(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["evaluation"]["success"] >= 0.8
    assert metrics["evaluation"]["low"] < metrics["evaluation"]["success"] <= metrics["evaluation"]["high"]
    bundle = PolicyBundle.load(run / "best")
    assert len(bundle.parity["action"]) == 480  # all that the last round of 8 arms and 60 steps has
    assert bundle.check_parity() <= 1e-5
    network = restore_state_network(bundle)
    with torch.no_grad():
        actions = network(
            *(torch.from_numpy(bundle.parity[f"observation.{name}"]) for name in bundle.observation.names)
        )
    np.testing.assert_allclose(actions, bundle.parity["action"], atol=1e-5)
    assert (run / "last" / "manifest.json").is_file()
    assert (run / "curve.png").stat().st_size > 1_000
    assert list((run / "tensorboard").iterdir())
    lines = (run / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["round", "1", "2"]


def test_a_run_never_writes_over_another_and_a_finished_one_does_not_go_on(run: Path) -> None:
    before = (run / "config.json").read_bytes()
    with pytest.raises(BundleError, match="exists already"):
        train_state(StateRunConfig(run, recipe=TINY), QUIET)
    assert (run / "config.json").read_bytes() == before
    with pytest.raises(RunError, match="is finished"):
        resume_state(run, QUIET)
    with pytest.raises(RunError, match="holds no run"):
        resume_state(run / "best", QUIET)
    old = StateRunConfig(run).to_dict()
    with pytest.raises(
        ValueError, match=r"config.json: evaluation_episodes, judge_episodes: .*another version has begun"
    ):
        StateRunConfig.from_dict({{"evaluation_episodes": "judge_episodes"}.get(k, k): v for k, v in old.items()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, "batch is 0"),
        ({"expert_share": 1.5}, "expert_share is 1.5"),
        ({"hidden": ()}, "hidden is"),
        ({"learning_rate": -1.0}, "learning_rate is -1"),
    ],
)
def test_a_recipe_out_of_range_is_refused_before_anything_is_written(
    tmp_path: Path, change: dict, message: str
) -> None:
    out = tmp_path / "run"
    with pytest.raises(ValueError, match=message):
        train_state(StateRunConfig(out, recipe=replace(TINY, **change)), QUIET)
    assert not out.exists()


def test_every_task_has_a_tuned_recipe_and_an_untuned_one_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    for task in TASKS:
        assert is_tuned(task, "franka_panda")
        for recipe in load_task(task).recipes.values():
            recipe.validate()
        warn_if_untuned(task, "franka_panda")
    assert not caplog.records
    assert not is_tuned("stack", "xarm6")
    assert state_recipe("stack", "xarm6") == state_recipe("stack", "franka_panda")
    warn_if_untuned("stack", "xarm6")
    assert "'stack' on 'xarm6': the recipe is untuned (tuned for franka_panda)" in caplog.text
    with pytest.raises(ValueError, match="unknown task 'juggle'; known are reach"):
        state_recipe("juggle", "xarm6")


def test_columns_are_named_and_mean_the_same_in_every_task() -> None:
    push = StateNetwork([("q", (7,)), ("ee_pos", (3,)), ("object_pos", (3,)), ("goal", (3,))], ("x", "y", "z"))
    arrays = [torch.zeros(1, 7), torch.tensor([[0.1, 0, 0]]), torch.tensor([[0.3, 0, 0]]), torch.tensor([[0.6, 0, 0]])]
    row, columns = push.row(*arrays)[0], push.columns()
    np.testing.assert_allclose(row[columns["goal - object_pos"]], [0.3, 0, 0], atol=1e-6)
    np.testing.assert_allclose(row[columns["object_pos - ee_pos"]], [0.2, 0, 0], atol=1e-6)
    np.testing.assert_allclose(row[columns["near(goal - ee_pos)"]], np.tanh([25.0, 0, 0]), atol=1e-6)
    assert sum(f.width for f in push.features) == len(row)


def test_a_cube_turned_by_a_quarter_looks_the_same() -> None:
    network = StateNetwork([("object_quat", (4,)), ("ee_yaw", (1,))], ("x",))
    turn = network.columns()["object_turn"]
    yaw = torch.tensor([0.3, 0.3 + np.pi / 2, 0.7])
    quat = torch.stack([0 * yaw, 0 * yaw, torch.sin(yaw / 2), torch.cos(yaw / 2)], dim=1).float()
    row = network.row(quat, torch.full((3, 1), 0.1))[:, turn]
    np.testing.assert_allclose(row[0], row[1], atol=1e-5)
    np.testing.assert_allclose(row[0], [np.sin(0.8), np.cos(0.8)], atol=1e-5)
    assert (row[0] - row[2]).abs().max() > 0.3


def test_an_arm_with_a_rig_of_its_own_is_trained_from_state(tmp_path: Path) -> None:
    arm, _ = write_servo_arm(tmp_path)
    arm.write_text(json.dumps({**json.loads(arm.read_text()), "rig": "front_wrist"}))
    with closing(StateRunConfig(tmp_path / "run", "reach", robot=str(arm)).environment()()) as env:
        observation, _ = env.reset(seed=0)
    assert set(observation) >= {"q", "goal"}


def test_weights_of_another_shape_are_refused(run: Path) -> None:
    bundle = PolicyBundle.load(run / "best")
    wrong = replace(bundle, weights={**bundle.weights, "body.0.weight": np.zeros((64, 3), np.float32)})
    with pytest.raises(BundleError, match=r"does not fit"):
        restore_state_network(wrong)
    with pytest.raises(BundleError, match="expected 'state_network'"):
        restore_state_network(replace(bundle, network={"kind": "camera_student"}))


def test_the_judge_wants_success_to_last_and_says_the_same_whatever_the_number_of_arms() -> None:
    make = FullLengthEnv("reach", space="nominal")

    def leaves_again(seen):
        """Goes to the goal, and away from it after two seconds."""
        leaves_again.steps += 1
        way = seen["goal"] - seen["ee_pos"]
        return np.clip(5.0 * way if leaves_again.steps < 45 else np.full_like(way, 0.8), -1, 1).astype(np.float32)

    def stays(seen):
        return np.clip(5.0 * (seen["goal"] - seen["ee_pos"]), -1, 1).astype(np.float32)

    leaves_again.steps = 0
    found = []
    for count in (2, 5):
        with closing(ArmVectorEnv(make, count, 1, autoreset_mode=AutoresetMode.SAME_STEP)) as arms:
            found.append(evaluate(stays, arms, make, 5))
            if count == 5:
                left = evaluate(leaves_again, arms, make, 5)
    assert found[0] == found[1]
    assert found[0].successes == 5
    assert left.successes == 0
    assert left.touched == 1.0
    # Wilson's interval of 5 out of 5, in closed form: n / (n + z²)
    assert found[0].low == pytest.approx(5 / (5 + 1.959964**2), abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--observation", "smell"], "known are state, cameras"),
        (["--observation=state", "--task", "juggle"], "unknown task 'juggle'; known are reach, push"),
        (["--observation=state", "--task", "stack", "--robot", "xarm6", "--out", "{out}/run"], "needs a gripper"),
        (["--resume", "{out}"], "holds no run"),
        (["--resume", "{out}", "--seed", "1"], "nothing else"),
        (["--observation", "cameras", "--task", "pick_place"], "'{out}' exists already"),
    ],
)
def test_the_command_refuses_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [argument.format(out=tmp_path) for argument in arguments]
    given += [] if {"--resume", "--out"} & set(given) else ["--out", str(tmp_path)]
    assert main(["train", *given]) == 1
    assert message.format(out=tmp_path) in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_run_has_one_process_at_a_time(tmp_path: Path) -> None:
    config = StateRunConfig(tmp_path / "run", recipe=TINY)
    folder = RunFolder.create(config.out, {"config.json": config.to_dict()})
    with folder.lock(), pytest.raises(LockedError, match=f"run' is in use by process {os.getpid()}; wait until"):
        resume_state(config.out, QUIET)
    assert not list((config.out / "checkpoint").iterdir())


def test_a_run_killed_at_any_moment_ends_with_the_same_weights(tmp_path: Path) -> None:
    recipe = ["--recipe.envs", "8", "--recipe.rounds", "3", "--recipe.round-steps", "40", "--recipe.batch", "64"]
    recipe += ["--recipe.gradient-steps", "120", "--recipe.last-gradient-steps", "120", "--recipe.hidden", "32"]
    recipe += ["--recipe.validation-episodes", "8", "--evaluation-episodes", "8", "--workers", "1"]

    train = ["train", "--observation", "state", *recipe, "--out"]
    assert main([*train, str(tmp_path / "whole")]) == 0
    command = [sys.executable, "-m", "sim2real", *train, str(tmp_path / "killed")]
    killed = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    checkpoint = tmp_path / "killed" / "checkpoint" / "state.pt"
    deadline = time.monotonic() + 240
    while not checkpoint.is_file():
        assert killed.poll() is None, killed.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(float(np.random.default_rng().uniform(0.0, 0.3)))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "metrics.json").exists()
    resume_state(tmp_path / "killed", QUIET)
    for name in ("best", "last"):
        a, b = (PolicyBundle.load(tmp_path / run / name).weights for run in ("whole", "killed"))
        assert set(a) == set(b)
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
    # the curve shows no seam: the same lines, but for the times
    lines = [
        [line.split(",")[:-2] for line in (tmp_path / run / "metrics.csv").read_text().splitlines()]
        for run in ("whole", "killed")
    ]
    assert lines[0] == lines[1]
    killed.stderr.close()
