"""The twin step by step, on an arm whose recordings an operator brings; and nothing is lost between two calls."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from adaptation.identification.pipeline import base_space
from policies.scoring.intervals import wilson
from robots.dynamics import ArmDynamics
from robots.registry import load_robot
from sim.physics.servo_model import ServoArm
from sim.randomization.parameters import CONSTANT, Param, ParameterSpace
from sim.randomization.servo_parameters import prior
from sim2real.command_line import main
from sim2real.twin.folder import TwinFolder, stored_options
from sim2real.twin.options import TwinOptions
from sim2real.twin.page import twin_page
from sim2real.twin.policies import measure_policies
from tests.support.tiny_bundle import tiny_bundle

ROBOT = load_robot("xarm6")
OPTIONS = ["--robot", "xarm6", "--duration", "24.5", "--rate-hz", "50", "--tries", "1", "--motions", "1", "--no-train"]


def play(folder, name: str, echo: bool = False) -> None:
    """Write what the arm does with a planned motion, or a recording whose command repeats the position."""
    with np.load(folder / "motions" / f"{name}.npz") as motion:
        t, command = motion["t"], motion["q"]
    arm = ServoArm.from_parameters(ArmDynamics.from_robot(ROBOT), {**prior(ROBOT).nominal(), "servo_delay": 0.08})
    q = arm.rollout(command[0], np.zeros(6), command, len(t), t[1])
    q = q + 0.0003 * np.random.default_rng(len(name)).standard_normal(q.shape)
    np.savez(folder / "recordings" / f"{name}.npz", t=t, q=q, q_cmd=q if echo else command)


@pytest.fixture
def twin(tmp_path, capsys):
    """Return a function that calls `sim2real twin` in one folder, and returns what it prints."""
    folder = tmp_path / "twin"

    def call(*arguments: str, status: int = 0) -> str:
        assert main(["twin", "--out", str(folder), *arguments]) == status
        printed = capsys.readouterr()
        return printed.err if status else printed.out

    return folder, call


def test_the_operator_is_asked_for_one_motion_after_the_other(twin):
    folder, call = twin
    said = call(*OPTIONS)
    assert "0 of 1 motions fitted" in said
    assert f"sim2real play-motion --motion {folder / 'motions' / 'judge.npz'} --robot xarm6" in said
    planned = (folder / "motions" / "judge.npz").read_bytes()
    play(folder, "judge", echo=True)
    assert "repeats the measured position" in call()  # the options are those of the first call
    assert "repeats the measured position" in (folder / "twin.html").read_text()
    (folder / "recordings" / "judge.npz").unlink()
    play(folder, "judge")
    assert str(folder / "motions" / "1.npz") in call()
    assert (folder / "motions" / "judge.npz").read_bytes() == planned
    state = json.loads((folder / "twin.json").read_text())
    assert set(state["recordings"]) == {"judge"}
    assert state["refused"] == {}
    assert "was begun with robot 'xarm6', not 'franka_panda'" in call("--robot", "franka_panda", status=1)


@pytest.mark.slow
def test_a_fit_is_judged_on_the_motion_that_it_had_not(twin):
    folder, call = twin
    call(*OPTIONS, "--quick", "--workers", "1")
    play(folder, "judge")
    call()
    play(folder, "1")
    said = call()
    state = json.loads((folder / "twin.json").read_text())
    (fit,) = state["fits"]
    assert fit["motions"] == ["1"]
    assert fit["rmse_after"] < 0.3 * fit["rmse_before"]
    assert "judged on the motion left out" in said
    assert "not told by these recordings: " in said
    space = ParameterSpace.from_json(folder / "space.json")
    low, high = space["servo_delay"].range
    assert low < 0.08 < high
    assert fit["width"]["servo_delay"] < 1.0
    assert said.endswith(call())  # nothing is left to do, and nothing is done again
    assert state["fits"] == json.loads((folder / "twin.json").read_text())["fits"]
    assert "not told by these recordings" in (folder / "twin.html").read_text()
    assert str(folder / "motions" / "2.npz") in call("--motions", "2")
    plan = json.loads((folder / "twin.json").read_text())["plans"]["2"]
    assert plan["chosen"].startswith("predicted to narrow the posterior most")
    assert min(plan["narrowed"].values()) < 1.0


@pytest.mark.slow
def test_a_policy_is_tried_in_the_old_and_the_new_ranges(tmp_path):
    """A controller with a known goal holds it in the nominal ranges, and not behind a delay of half a second."""
    bundle, said = tmp_path / "controller.zip", []
    tiny_bundle(camera=None, estimated=("goal",)).save(bundle)
    config = TwinOptions(out=tmp_path / "twin", rest="nominal", bundle=bundle, train=False, trials=2)
    twin = TwinFolder(config)
    twin.state.fits.append({})
    panda = load_robot("franka_panda")
    late = Param("servo_delay", 0.5, "=", CONSTANT, "s", "timing", "Late.")
    base = base_space("reach", panda, "nominal")
    assert base is not None
    base.with_params(*prior(panda).narrowed(0.0).with_params(late).params).to_json(twin.space)
    found = measure_policies(twin, lambda stage, share, text: said.append((stage, share)))
    assert found["old_ranges"] == {"old": {"successes": 2, "trials": 2}}
    assert found["new_ranges"] == {"old": {"successes": 0, "trials": 2}}
    assert "change" not in found
    assert {stage for stage, _ in said} == {"old ranges", "new ranges"}
    said.clear()
    assert measure_policies(twin, lambda stage, share, text: said.append((stage, share))) == found
    assert said == []  # no trial is run again
    twin.config = replace(config, task="push")
    with pytest.raises(ValueError, match="is for task 'reach' on 'franka_panda', the twin is for 'push'"):
        measure_policies(twin, lambda *_: None)


def test_a_folder_that_is_no_twin_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["twin", "--out", str(tmp_path), *OPTIONS]) == 1
    assert "exists and holds no twin" in capsys.readouterr().err
    (tmp_path / "twin.json").write_text('{"options": []}')
    assert main(["twin", "--out", str(tmp_path)]) == 1
    assert "options is a list, expected a dict" in capsys.readouterr().err


def test_options_make_sense_together(tmp_path, capsys):
    assert main(["twin", "--out", str(tmp_path / "a"), "--hidden", "h.json"]) == 1
    assert "add --virtual" in capsys.readouterr().err
    assert main(["twin", "--out", str(tmp_path / "b"), "--motions", "0"]) == 1
    assert "motions is 0, expected at least 1" in capsys.readouterr().err
    assert stored_options(tmp_path / "c") == TwinOptions(out=tmp_path / "c")


def test_the_page_says_what_the_policies_did(tmp_path):
    twin = TwinFolder(TwinOptions(out=tmp_path / "twin"))
    names = ("servo_delay", "payload_mass")
    twin.state.fits.append(
        {
            "rmse_before": 0.02,
            "rmse_after": 0.004,
            "rmse_by_joint": {"joint1": 0.004},
            "coverage_90": 0.91,
            "coverage_by_joint": {"joint1": 0.91},
            "known": {names[0]: True, names[1]: False},
            "untold": [names[1]],
            "shrunk": 0.8,
            "width": {names[0]: 0.2, names[1]: 1.0},
            "interval_90": {names[0]: [0.07, 0.09], names[1]: [0.0, 0.3]},
            "prior_90": {names[0]: [0.0, 0.15], names[1]: [0.0, 0.3]},
            "units": {names[0]: "s", names[1]: "kg"},
            "left_out": [],
            "quick": False,
        }
    )
    counts = {"successes": 45, "trials": 60}
    twin.state.policies["1"] = {
        "old_ranges": {"old": {"successes": 60, "trials": 60}},
        "new_ranges": {"old": counts, "new": {"successes": 57, "trials": 60}},
        "change": {"points": 0.2, "low": 0.08, "high": 0.31},
    }
    page = twin_page(twin, "my arm", ["sim2real train <&>", "record once more"])
    rate = wilson(45, 60)
    assert f"45 of 60 (75 %, {100 * rate.low:.0f}–{100 * rate.high:.0f} %)" in page
    assert "changes success there by +20 points (95 % interval +8 to +31)" in page
    assert "do not show a difference" not in page
    assert "0.07 to 0.09 s" in page
    assert "80 %" in page
    assert page.count("not told by these recordings") == 1
    assert "sim2real train &lt;&amp;&gt;" in page
