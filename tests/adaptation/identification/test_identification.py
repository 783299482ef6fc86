"""An arm that is known is found again from its own motion; what the motion cannot tell is said."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from adaptation.identification.fit import PRIOR_STD, FitConfig
from adaptation.identification.joint_log import JointLog, LogError
from adaptation.identification.pipeline import Identification, IdentifyConfig, identify_arm, split_recordings
from adaptation.identification.posterior import WIDENING, _information
from adaptation.identification.replay import Replay, ReplayWindow, replay_windows
from adaptation.identification.report import identification_page
from robots.dynamics import ArmDynamics
from robots.model import RobotModel
from sim.physics.servo_model import ServoArm
from sim.randomization.parameters import ParameterSpace
from sim.randomization.servo_parameters import prior
from sim2real.command_line import main

ARM = """<robot name="two"><link name="base"/>
<joint name="lift" type="revolute"><parent link="base"/><child link="upper"/><axis xyz="0 1 0"/>
 <limit lower="-3" upper="3" velocity="6" effort="20"/></joint>
<link name="upper"><inertial><origin xyz="0.2 0 0"/><mass value="1.0"/>
 <inertia ixx="0.001" ixy="0" ixz="0" iyy="0.01" iyz="0" izz="0.01"/></inertial></link>
<joint name="elbow" type="revolute"><parent link="upper"/><child link="lower"/><origin xyz="0.4 0 0"/>
 <axis xyz="0 1 0"/><limit lower="-3" upper="3" velocity="6" effort="10"/></joint>
<link name="lower"><inertial><origin xyz="0.15 0 0"/><mass value="0.6"/>
 <inertia ixx="0.001" ixy="0" ixz="0" iyy="0.005" iyz="0" izz="0.005"/></inertial></link>
<joint name="tip" type="fixed"><parent link="lower"/><child link="hand"/><origin xyz="0.3 0 0"/></joint>
<link name="hand"/></robot>"""
PERIOD = 0.02
TRUTH = {
    "servo_delay": 0.06,
    "servo_kp_lift": 90.0,
    "servo_kp_elbow": 60.0,
    "servo_damping_lift": 8.0,
    "servo_damping_elbow": 3.0,
    "servo_coulomb_lift": 0.5,
    "servo_coulomb_elbow": 0.3,
    "servo_offset_elbow": 0.02,
}
FAST = IdentifyConfig(
    window=6.0,
    most_windows=4,
    held_out=0.34,
    fit=FitConfig(delays=5, leads=2, screen=8, descent=5, kept=2, rounds=1, evaluations=0, iterations=12),
    workers=1,
)


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    path = tmp_path_factory.mktemp("arm") / "two.urdf"
    path.write_text(ARM)
    return RobotModel.from_urdf(path, "hand", (0.3, 0.4), ddq=(20.0, 20.0), jerk=(500.0, 500.0))


def recording(robot, name, seed, seconds=14.0, joints=(0, 1)):
    rng = np.random.default_rng(seed)
    t = np.arange(0, seconds, PERIOD)
    command = np.tile(robot.home, (len(t), 1))
    for j in joints:
        for _ in range(4):
            command[:, j] += rng.uniform(0.05, 0.2) * np.sin(rng.uniform(1, 6) * t + rng.uniform(0, 6))
        command[:, j] += 0.15 * np.sign(np.sin(rng.uniform(0.8, 1.2) * t))  # steps, which show friction and play
    arm = ServoArm.from_parameters(ArmDynamics.from_robot(robot), {**prior(robot).nominal(), **TRUTH})
    q = arm.rollout(command[0], np.zeros(2), command, len(t), PERIOD)
    return JointLog(name, robot.joint_names, t, command, t, q + 0.0003 * rng.standard_normal(q.shape))


@pytest.fixture(scope="module")
def found(robot) -> Identification:
    return identify_arm(robot, [recording(robot, name, seed) for seed, name in enumerate("abc")], FAST)


@pytest.mark.slow
def test_held_out_motions_are_replayed_to_the_noise(found):
    figures = found.figures()
    assert len(found.evaluated_on) == 1
    assert not set(found.evaluated_on) & set(found.trained_on)
    assert figures["rmse_after"] < 0.001
    assert figures["rmse_after"] < 0.05 * figures["rmse_before"]


@pytest.mark.slow
def test_what_the_motion_tells_is_found(found):
    best, known, interval = found.posterior.best, found.posterior.known, found.posterior.interval()
    for joint in ("lift", "elbow"):
        for term in ("kp", "damping", "coulomb"):
            name = f"servo_{term}_{joint}"
            assert best[name] == pytest.approx(TRUTH[name], rel=0.15), name
            assert known[name], name
    assert best["servo_delay"] == pytest.approx(TRUTH["servo_delay"], abs=0.006)
    assert best["servo_lead"] < 0.1
    assert best["servo_offset_elbow"] == pytest.approx(TRUTH["servo_offset_elbow"], abs=0.004)
    assert known["servo_delay"]
    low, high = interval["servo_delay"]
    assert high - low < 0.02 * WIDENING["servo_delay"]  # of the prior's 0.15; calibration decides how cautious that is


@pytest.mark.slow
def test_the_band_holds_most_of_the_samples(found):
    assert 0.8 <= found.figures()["coverage_90"] <= 0.97


@pytest.mark.slow
def test_what_the_motion_does_not_tell_is_named_by_term(found):
    known = found.posterior.known
    named = " ".join(found.untold)
    assert "arm_mass_scale" in found.untold
    assert "kp" not in named  # of both joints it is known
    for term in ("stribeck", "backlash", "torque_limit"):
        missing = sum(not known[f"servo_{term}_{joint}"] for joint in ("lift", "elbow"))
        assert (f"{term} ({missing} of 2 joints)" in found.untold) == (missing > 0)
    assert not found.quick


@pytest.mark.slow
def test_the_space_narrows_what_is_known_and_keeps_the_rest(found):
    space, before = found.posterior.space(), found.posterior.prior
    low, high = space["servo_delay"].range
    assert low <= space["servo_delay"].nominal <= high
    assert high - low < 0.135 * WIDENING["servo_delay"] * np.ptp(before["servo_delay"].range)
    unknown = [name for name, known in found.posterior.known.items() if not known]
    assert unknown
    assert all(space[name] == before[name] for name in unknown)
    assert ParameterSpace.from_dict(json.loads(json.dumps(space.to_dict()))) == space
    rng = np.random.default_rng(0)
    for _ in range(200):
        for name, value in space.sample(rng).items():
            space[name].check(value)


@pytest.mark.slow
def test_draws_stay_within_the_prior(found):
    draws = found.posterior.draws(np.random.default_rng(0), 100)
    for name in found.posterior.prior.names:
        low, high = found.posterior.prior[name].range
        values = np.array([draw[name] for draw in draws])
        assert values.min() >= low - 1e-9
        assert values.max() <= high + 1e-9


def test_noise_of_the_differences_is_no_information():
    rng = np.random.default_rng(0)
    tell = rng.standard_normal((400, 2, 1))
    J, K = (np.concatenate([tell, 0.02 * rng.standard_normal((400, 2, 3))], axis=-1) for _ in range(2))
    information = _information(J, K, np.full(2, 100.0))
    assert information[0, 0] == pytest.approx(100.0 * np.sum(tell**2), rel=0.01)
    squared = np.einsum("tja,tja->a", J, J) * 100.0  # one Jacobian alone takes its noise for knowledge
    assert np.all(np.diag(information)[1:] < 0.3 * squared[1:])
    assert np.linalg.eigvalsh(information).min() > -1e-6


@pytest.mark.slow
def test_a_joint_that_never_moved_stays_at_its_prior(robot):
    result = identify_arm(robot, [recording(robot, "a", 5, joints=(0,)), recording(robot, "b", 6, joints=(0,))], FAST)
    assert "servo of elbow" in result.left_out
    space = result.posterior.space()
    assert space["servo_kp_elbow"] == result.posterior.prior["servo_kp_elbow"]
    assert result.posterior.std[result.posterior.prior.names.index("servo_kp_elbow")] == pytest.approx(PRIOR_STD)
    assert not result.posterior.known["servo_kp_elbow"]


def test_a_refused_recording_stops_everything(robot):
    good, bad = recording(robot, "good", 1), recording(robot, "bad", 2)
    with pytest.raises(LogError, match=r"log 'bad'.*degrees"):
        identify_arm(robot, [good, replace(bad, q=np.degrees(bad.q), command=np.degrees(bad.command))], FAST)


def test_the_split_depends_on_names_and_seed_alone(robot):
    logs = [empty_log(robot, name) for name in "abcdefghij"]
    train, test = split_recordings(logs, 0.5, 3)
    again = split_recordings(logs[::-1], 0.5, 3)
    assert [log.name for log in train] == [log.name for log in again[0]]
    assert len(train) == len(test) == 5
    assert {log.name for log in split_recordings(logs, 0.5, 4)[0]} != {log.name for log in train}


def empty_log(robot, name):
    from adaptation.identification.uniform_log import UniformLog

    zeros = np.zeros((100, 2))
    return UniformLog(name, PERIOD, zeros, zeros, ((0, 100),), np.ones(2, bool))


def test_windows_never_cross_a_gap(robot):
    log = replace(empty_log(robot, "a"), segments=((0, 45), (60, 100)))
    cut = replay_windows([log], 0.7)
    assert cut == (ReplayWindow(log, 0, 35), ReplayWindow(log, 60, 35))
    with pytest.raises(LogError, match="record longer"):
        replay_windows([log], 3.0)


def test_replaying_the_truth_leaves_the_noise(robot):
    from adaptation.identification.log_inspection import inspect
    from adaptation.identification.uniform_log import resample_log

    log = recording(robot, "a", 3)
    uniform = resample_log(log, inspect(log, robot))
    rmse = Replay(robot, replay_windows([uniform], 4.0), workers=2).rmse({**prior(robot).nominal(), **TRUTH})
    assert rmse == pytest.approx([0.0003, 0.0003], rel=0.5)


@pytest.mark.slow
def test_the_report_says_what_was_found_and_loads_nothing(found):
    page = identification_page(found)
    assert "src=" not in page
    assert "http" not in page
    for text in ("servo_delay", "unknown", "90 % band", found.evaluated_on[0]):
        assert text in page
    told = sum(found.posterior.known.values())
    assert page.count("<polygon points=") == told  # a hill for each parameter that the logs tell, and no other
    assert page.count("<circle") == 300 * min(8, len(found.posterior.correlations()))


def test_the_command_writes_space_and_report(robot, tmp_path, capsys, monkeypatch):
    logs = tmp_path / "logs"
    logs.mkdir()
    for seed, name in enumerate("ab"):
        log = recording(robot, name, seed)
        np.savez(logs / f"{name}.npz", t=log.t, q=log.q, q_cmd=log.command)
    monkeypatch.setattr("robots.registry.ROBOTS", {"two": lambda: robot})
    out = tmp_path / "space.json"
    arguments = ["--robot", "two", "--logs", str(logs), "--out", str(out), "--window", "6", "--quick"]
    assert main(["identify", *arguments, "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "states at 50.0 Hz" in printed
    assert "mrad after" in printed
    assert "quick: a first look, whose search may have missed the best" in printed
    assert "not told: " in printed
    assert json.loads(out.with_suffix(".report.json").read_text())["quick"]
    assert "servo_delay" in ParameterSpace.from_json(out)
    assert out.with_suffix(".html").read_text().startswith("<!doctype html>")
    assert json.loads(out.with_suffix(".report.json").read_text())["trained_on"]
    assert main(["identify", "--robot", "two", "--logs", str(tmp_path / "none"), "--out", str(out)]) == 1
    assert "does not exist" in capsys.readouterr().err
