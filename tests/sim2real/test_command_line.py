"""The tree of sub-commands: help everywhere, choices, refusals before anything runs, runs from a file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import sim2real
from policies.bundle import PolicyBundle
from policies.reinforcement.algorithms import ALGORITHMS
from sim.randomization.parameters import PRESETS
from sim.tasks import TASKS
from sim2real.command_line import COMMANDS, TREE, Group, main
from sim2real.options import Preset
from sim2real.train import Algorithm

ROOT = Path(__file__).resolve().parents[2]
LEAVES = [
    [name, *([] if part is None else [part])]
    for name, command in COMMANDS.items()
    for part in (command.commands if isinstance(command, Group) else [None])
]
ROS = {"virtual-arm", "policy-node", "safety-gate", "dry-run", "record", "play-camera", "play-motion", "collect-views"}


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_help_exits_0_and_takes_a_file(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--help"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"usage: sim2real {' '.join(words)} ")
    assert "--config" in shown.out
    assert not shown.err


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_command_refuses_an_unknown_option_in_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--confg", "x"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"sim2real {' '.join(words)}: ")
    assert said.count("\n") == 1
    assert "unknown option '--confg'; did you mean '--config'?" in said


def test_the_overviews_name_every_command_with_its_first_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["-h"]):
        assert main(words) == 0
        shown = capsys.readouterr().out
        for heading, commands in TREE.items():
            assert f"\n{heading}:\n" in shown
            for name, command in commands.items():
                about = command.about if isinstance(command, Group) else command.__doc__
                assert f"\n  {name:16} {str(about).splitlines()[0]}" in shown
    for words in (["session"], ["session", "--help"]):
        assert main(words) == 0
        assert "\n  register " in capsys.readouterr().out


def test_the_overview_needs_no_simulator_no_learning_and_no_ros() -> None:
    code = (
        "import sys; from sim2real.command_line import main; main([]); main(['--version'])\n"
        "heavy = ('pybullet', 'torch', 'stable_baselines3', 'rclpy', 'cv2', 'scipy')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines()[-2:] == [sim2real.__version__, "[]"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tran"], "unknown command 'tran'; did you mean 'train'? known are demo, train, "),
        (["session", "rnu"], "sim2real session: unknown command 'rnu'; did you mean 'run'? known are register, run"),
        (["bundle", "chekc", "x"], "did you mean 'check'?"),
        (["train", "--algorithm", "sacc"], "invalid choice 'sacc' for argument '--algorithm'"),
        (["evaluate", "--bundles", "x", "--out", "y", "--robot", "ros"], "Expected one of ('sim', 'virtual')"),
        (["excite", "--out", "x"], "--robot: required, but not given"),
    ],
)
def test_what_is_no_command_or_choice_exits_2(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_the_algorithms_are_those_that_there_are() -> None:
    assert set(get_args(Algorithm)) == {"imitation", "cloning", *ALGORITHMS}


def test_the_presets_are_those_that_there_are() -> None:
    assert get_args(Preset) == tuple(PRESETS)


def test_help_of_training_shows_the_recipe_of_what_was_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    shown = {}
    for name, words in {
        "camera": [],
        "state": ["--observation", "state"],
        "push": ["--observation", "state", "--task", "push"],
        "sac": ["--algorithm", "sac"],
        "object": ["--task", "push"],
    }.items():
        assert main(["train", *words, "--help"]) == 0
        shown[name] = " ".join(capsys.readouterr().out.split())
        for option in (
            "--algorithm {imitation,cloning,",
            "--resume",
            "--mlflow",
            "--config",
            "FILE.py:CLASS",
            "FILE.json",
        ):
            assert option in shown[name]
        for choice in (*TASKS, "franka_panda,kuka_iiwa,xarm6,xarm6_gripper", "{nominal,mild,full,wild}|FILE.json"):
            assert choice in shown[name]
    assert "--perception.steps" in shown["camera"]
    assert "--recipe.rounds INT" in shown["state"]
    assert shown["state"] != shown["push"]
    assert "(default: push)" in shown["push"]
    assert "--recipe.discount" in shown["sac"]
    assert "(default: sac)" in shown["sac"]
    assert "--perception.renders" in shown["object"]
    assert "--recipe.rounds INT" in shown["object"]


def test_an_arm_without_landmarks_is_offered_refiners_of_what_the_task_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for task, count in (("reach", 1), ("push", 2)):
        assert main(["train", "--task", task, "--robot", "xarm6", "--help"]) == 0
        shown = " ".join(capsys.readouterr().out.replace("│", "").split())
        (steps,) = re.findall(r"--perception\.refiner-steps .*?\(default: ([\d ]+)\)", shown)
        assert len(steps.split()) == count


def test_own_tasks_and_arms_are_offered_an_untuned_recipe_that_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    own = f"{ROOT / 'docs' / 'examples' / 'my_task.py'}:MyTask"
    for words in (["--task", own], ["--task", "push", "--robot", "xarm6"], ["--task", own, "--observation", "cameras"]):
        assert main(["train", "--observation", "state", *words, "--help"]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert f"The recipe is untuned for task '{words[1]}'" in shown
    for words in ([], ["--task", "push"], ["--algorithm", "sac", "--robot", "xarm6"]):
        assert main(["train", "--observation", "state", *words, "--help"]) == 0
        assert "untuned" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--task", "insert"], "its state holds tip, and a camera policy locates only object_pos and goal; choose"),
        (["--task", "insert"], "one of the tasks reach, push, pick_place, stack, reach_clutter"),
        (["--task", "push", "--observation", "camera"], "unknown observation 'camera'; known are state, cameras"),
        (["--algorithm", "sac", "--observation", "sonar"], "no observation 'sonar'; known are state, robot, cameras"),
        (["--algorithm", "sac", "--observation", "cameras"], "takes vectors, but 'image_front' is a picture"),
        (["--cameras", "eyes"], "unknown camera rig 'eyes'; known are front, front_side, front_wrist, wrist"),
        (["--task", "push", "--cameras", "absent.json"], "rig 'absent.json' cannot be read"),
        (["--observation", "state", "--task", "pick_place", "--robot", "xarm6"], "needs a gripper, but robot 'xarm6'"),
        (["--task", "pick_place", "--robot", "xarm6"], "needs a gripper, but robot 'xarm6' has none"),
        (["--task", "absent.py:MyTask"], "absent.py"),
        (["--robot", "absent.json"], "absent.json"),
        (["--robot", "robocop"], "known are franka_panda, kuka_iiwa, so101, xarm6"),
        (["--resume", "x", "--seed", "3"], "nothing else"),
    ],
)
def test_training_that_cannot_work_is_refused_before_anything_runs(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *words, "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["rig", "rig.txt"])
def test_a_rig_is_drawn_only_into_an_image(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Said before any scene is drawn."""
    assert main(["rig", "check", "--out", name]) == 1
    shown = capsys.readouterr()
    assert not shown.out
    assert f"'{name}' has no image's ending; name a .png or .jpg" in shown.err


def test_a_file_of_another_recipe_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.toml"
    file.write_text('observation = "state"\n[recipe]\nround = 3\n')
    assert main(["train", "--config", str(file), "--out", "x"]) == 1
    assert "unknown 'recipe.round'; known are recipe.hidden, recipe.envs, recipe.rounds" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_from_a_file_is_the_same_again_from_what_it_saved(tmp_path: Path) -> None:
    saved, file = tmp_path / "saved.json", tmp_path / "run.toml"
    file.write_text(
        'observation = "state"\nrandomise = "nominal"\nworkers = 1\nevaluation_episodes = 2\nseed = 3\n'
        "[recipe]\nenvs = 2\n"
        "rounds = 1\nround_steps = 20\nhidden = [8]\nvalidation_episodes = 2\nlast_gradient_steps = 5\nbatch = 16\n"
    )
    words = ["--config", str(file), "--seed", "4", "--save-config", str(saved)]
    assert main(["train", *words, "--out", str(tmp_path / "a")]) == 0
    assert main(["train", "--config", str(saved), "--out", str(tmp_path / "b")]) == 0
    first, again = (json.loads((tmp_path / name / "config.json").read_text()) for name in "ab")
    assert (first["seed"], first["recipe"]["envs"], first["recipe"]["hidden"]) == (4, 2, [8])
    assert again == {**first, "out": str(tmp_path / "b")}
    assert json.loads(saved.read_text()).items() >= {**first, "out": str(tmp_path / "a")}.items()
    weights, others = (PolicyBundle.load(tmp_path / name / "last").weights for name in "ab")
    assert all((weights[key] == others[key]).all() for key in weights)


def test_options_of_a_node_are_its_parameters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ros_nodes import policy_node, recorder, safety_gate

    given: list[list[str]] = []
    for node in (policy_node, safety_gate, recorder):
        monkeypatch.setattr(node, "main", lambda words: given.append(words) or 0)
    repaired: list[Path] = []
    monkeypatch.setattr(recorder, "report_repair", lambda folder: repaired.append(folder) or 0)
    assert main(["policy-node", "--bundle", "a b", "--shadow", "--no-check-inputs", "--wait", "40", "--ros-args", "-r",
                 "__node:=other"]) == 0  # fmt: skip
    assert given.pop() == [
        *["--ros-args", "-p", "bundle:=a b", "-p", "shadow:=true", "-p", "check_inputs:=false", "-p", "wait:=40.0"],
        *["-r", "__node:=other"],
    ]
    assert main(["safety-gate", "--robot", "xarm6", "--workspace-low", "-0.5", "-0.5", "0"]) == 0
    assert given.pop() == ["--ros-args", "-p", "robot:=xarm6", "-p", "workspace_low:=[-0.5, -0.5, 0.0]"]
    file = tmp_path / "node.toml"
    file.write_text('robot_description = ""\nwait = 3\n')
    assert main(["policy-node", "--config", str(file)]) == 0
    assert given.pop() == ["--ros-args", "-p", "wait:=3.0", "-p", "robot_description:=''"]
    assert main(["record", "--repair", "bag"]) == 0
    assert repaired == [Path("bag")]
    assert main(["record", "--repair", "bag", "--out", "x"]) == 1
    assert not given


def test_the_package_offers_what_a_user_needs_and_loads_nothing() -> None:
    code = (
        "import sys, sim2real\n"
        "print([name for name in ('pybullet', 'torch', 'tyro', 'rclpy', 'scipy') if name in sys.modules])\n"
        "assert set(sim2real.__all__) <= set(dir(sim2real))\n"
        "for name in ('PolicyBundle', 'RobotModel', 'CameraModel', 'ControlLoop'): getattr(sim2real, name)\n"
        "print([name for name in ('pybullet', 'torch', 'stable_baselines3') if name in sys.modules])\n"
        "for name in sim2real.__all__: getattr(sim2real, name)"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines() == ["[]", "[]"]
    with pytest.raises(AttributeError, match="no attribute 'Arm'; it offers ArmEnv"):
        _ = sim2real.Arm
    with pytest.raises(ImportError):
        from sim2real import Arm  # type: ignore[attr-defined] # noqa: F401
