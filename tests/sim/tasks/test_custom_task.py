"""A task in a file of one's own: trained from state, evaluated, and refused where it is none."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from policies.bundle import PolicyBundle
from robots.registry import load_robot
from robots.specs import SpecError
from sim.catalogue import parameter_space
from sim.env import ArmEnv
from sim.tasks import TASKS, load_task
from sim.vector.vector_env import ArmVectorEnv, EnvConfig
from sim2real.command_line import main
from tests.support.simulated import run_simulated

FILE = Path(__file__).parents[3] / "docs" / "examples" / "my_task.py"
TASK = f"{FILE}:MyTask"
SMALL = (
    "--workers 1 --randomise nominal --evaluation-episodes 4 --recipe.rounds 2 --recipe.envs 2 --recipe.round-steps 60 "
    "--recipe.batch 128 --recipe.gradient-steps 60 --recipe.last-gradient-steps 200 --recipe.validation-episodes 2"
)


def test_the_example_is_short_keeps_gymnasiums_contract_and_its_expert_solves_it() -> None:
    assert len(FILE.read_text().splitlines()) <= 60
    env = ArmEnv(TASK)
    check_env(env, skip_render_check=True)
    succeeded = 0
    for seed in range(8):
        env.reset(seed=seed)
        ended = False
        while not ended:
            _, _, terminated, truncated, info = env.step(env.expert())
            ended = terminated or truncated
        succeeded += info["is_success"]
    env.close()
    assert succeeded >= 7


def test_worker_processes_load_it_and_step_as_here() -> None:
    here = ArmEnv(TASK)
    alone, _ = here.reset(seed=5)
    arms = ArmVectorEnv(EnvConfig(TASK), 2, 1)
    try:
        together, _ = arms.reset(seed=5)
        for name in alone:
            np.testing.assert_array_equal(together[name][0], alone[name])
        together = arms.step(np.zeros((2, 3), np.float32))[0]
        np.testing.assert_array_equal(together["goal"][0], here.step(np.zeros(3, np.float32))[0]["goal"])
    finally:
        arms.close()
        here.close()


@pytest.mark.slow
def test_it_is_trained_from_state_and_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_task.py").write_text(FILE.read_text())
    task = "my_task.py:MyTask"
    command = f"train --observation state --task {task} --out runs/hover {SMALL}"
    assert main(command.split()) == 0
    assert "the recipe is untuned (tuned for no arm)" in caplog.text
    bundle = PolicyBundle.load(Path("runs/hover/best"))
    assert bundle.task == task
    found = bundle.provenance["task_file"]
    assert Path(found["path"]) == tmp_path / "my_task.py"
    assert found["sha256"] == hashlib.sha256(FILE.read_bytes()).hexdigest()
    trials = run_simulated(bundle, "nominal", 2)
    assert [trial.bundle for trial in trials] == [bundle.hash] * 2
    assert (
        main(["evaluate", "--robot", "sim", "--bundles", "runs/hover/best", "--trials", "2", "--out", "runs/evaluated"])
        == 0
    )
    assert Path("runs/evaluated/report.html").is_file()


BODY = """
from sim.tasks.reach import Reach
from sim.tasks.task import Task


class Good(Reach):
    time_limit = 2.0


class Abstract(Task):
    time_limit = 2.0


class Timeless(Reach):
    time_limit = 0.0


class Upside(Reach):
    workspace = ((0.6, 0.4), (0.0, 0.1), (0.1, 0.2))


class Picky(Reach):
    def __init__(self, height):
        pass


class NoTask:
    pass


number = 3
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.py:Good", "task file 'none.py' does not exist"),
        ("tasks.py", "names a file but no class; expected tasks.py:MyTask"),
        ("tasks.py:", "names a file but no class; expected tasks.py:MyTask"),
        ("tasks.py:Missing", "has no class 'Missing'; its tasks are Good, Abstract, Timeless, Upside, Picky"),
        ("tasks.py:NoTask", "'NoTask' is no subclass of sim.tasks.Task; its tasks are Good"),
        ("tasks.py:number", "'number' is no subclass of sim.tasks.Task"),
        ("tasks.py:Abstract", "'Abstract' does not define bodies, desired_goal, expert, is_success"),
        ("tasks.py:Timeless", "time_limit is 0.0, expected a positive number"),
        ("tasks.py:Upside", "expected smallest and largest x, y and z"),
        ("tasks.py:Picky", "a task takes no arguments"),
        ("broken.py:Good", "cannot be run: ZeroDivisionError"),
        ("tasks", "unknown task 'tasks'; known are reach, .*or a file, as my_task.py:MyTask"),
    ],
)
def test_what_is_no_task_is_refused(name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tasks.py").write_text(BODY)
    Path("broken.py").write_text("1 / 0\n")
    assert load_task("tasks.py:Good").time_limit == 2.0
    with pytest.raises(SpecError, match=message):
        load_task(name)


def test_a_file_that_was_written_since_is_run_again(tmp_path: Path) -> None:
    path = tmp_path / "tasks.py"
    path.write_text(BODY)
    assert load_task(f"{path}:Good") is not load_task(f"{path}:Good")
    assert type(load_task(f"{path}:Good")) is type(load_task(f"{path}:Good"))
    path.write_text(BODY.replace("time_limit = 2.0", "time_limit = 2.5"))
    assert load_task(f"{path}:Good").time_limit == 2.5


def test_every_registered_task_is_valid_under_its_own_name() -> None:
    for name in TASKS:
        task = load_task(name)
        task.validate()
        assert task.name == name
        bodies = {body.name for body in task.bodies(parameter_space(task, load_robot("franka_panda")).nominal())}
        assert {task.placed_body, *task.landmarks} <= bodies
        assert task.single_object is (len(bodies) == 1)
