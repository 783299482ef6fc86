"""From a log of torques or currents to a URDF, by the library and by the command."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pinocchio
import pytest

from adaptation.identification.fit import FitConfig
from adaptation.identification.joint_log import JointLog, LogError
from adaptation.identification.pipeline import IdentifyConfig, identify_arm
from adaptation.identification.torque.identification import identify_torques, inspect_torques
from adaptation.identification.torque.identified_urdf import FRICTION, identified_urdf, predicted_torques, subtree
from adaptation.identification.torque.inertial import (
    Motion,
    arm_model,
    fit_inertial,
    friction_direction,
    regressor,
)
from adaptation.identification.torque.report import torque_page
from adaptation.identification.torque.told import base_combinations
from robots.dynamics import ArmDynamics
from robots.registry import load_robot
from robots.specs import SpecError
from robots.urdf import parse, read_urdf, to_text
from sim.randomization.parameters import ParameterSpace
from sim.randomization.servo_parameters import prior
from sim2real.command_line import main

ROBOT = load_robot("xarm6")
VISCOUS, COULOMB, ROTOR = (
    np.array(v) for v in ([0.5, 0.6, 0.4, 0.2, 0.2, 0.1], [0.8, 0.7, 0.5, 0.3, 0.3, 0.2], [0.05] * 6)
)
CONSTANTS = np.array([10.0, 10.0, 8.0, 6.0, 6.0, 4.0])


def heavier(robot, factor=1.3):
    """The arm with other masses than its URDF has."""
    root = parse(robot.urdf_xml)
    for link in root.iter("link"):
        if link.find("inertial") is not None:
            for element in (link.find("inertial/mass"), link.find("inertial/inertia")):
                for name, value in element.attrib.items():
                    element.set(name, repr(factor * float(value)))
    return replace(robot, urdf_xml=to_text(root))


def recorded(robot, seconds=18.0, noise=0.02, seed=0):
    """A multisine of our own dynamics, with friction."""
    rng = np.random.default_rng(seed)
    t = np.arange(0, seconds, 0.01)
    n = len(robot.joint_names)
    w = 2 * np.pi * np.arange(1, 6) * 0.15
    a, b = rng.normal(0, 0.12, (2, n, 5))
    q = np.array(robot.home) + np.sin(t[:, None] * w) @ a.T + np.cos(t[:, None] * w) @ b.T
    dq = (np.cos(t[:, None] * w) * w) @ a.T - (np.sin(t[:, None] * w) * w) @ b.T
    ddq = -(np.sin(t[:, None] * w) * w**2) @ a.T - (np.cos(t[:, None] * w) * w**2) @ b.T
    dynamics = ArmDynamics.from_robot(robot)
    tau = np.array([dynamics.inverse(*state) for state in zip(q, dq, ddq)])
    tau += VISCOUS[:n] * dq + COULOMB[:n] * friction_direction(dq, 0.01) + ROTOR[:n] * ddq
    tau += noise * rng.standard_normal(tau.shape)
    return JointLog("waves", robot.joint_names, np.zeros(0), np.zeros((0, n)), t, q, dq, tau)


@pytest.fixture(scope="module")
def log():
    return recorded(heavier(ROBOT))


@pytest.fixture(scope="module")
def found(log):
    return identify_torques(ROBOT, [log])


def test_held_out_torques_are_predicted_through_the_urdf(found):
    before, after = found.rmse
    assert found.difference < 1e-8
    assert (after < 0.08).all()
    assert (before > 3 * after).all()
    assert found.held_out.t[0] == pytest.approx(12.0, abs=0.2)  # the last third


def test_the_urdf_has_every_link_and_friction(found):
    urdf = read_urdf(found.urdf_xml)
    for joint, body in zip(ROBOT.joint_names, found.fit.inertial):
        link = urdf.links[urdf.joints[joint].child].inertial
        assert link.mass == pytest.approx(body[0])
        moments = np.linalg.eigvalsh(link.inertia)
        assert moments[0] > 0
        assert moments[0] + moments[1] >= moments[2] * (1 - 1e-9)
    model = arm_model(found.urdf_xml, ROBOT.joint_names)
    assert model.damping == pytest.approx(found.fit.friction[:, 0])
    dynamics = ArmDynamics.from_robot(found.identified_robot())  # our own reader, and our own recursion
    held, friction = found.held_out, found.fit.friction
    for i in (0, 100, 300):
        tau = dynamics.inverse(held.q[i], held.dq[i], held.ddq[i])
        tau += friction[:, 0] * held.dq[i] + friction[:, 1] * held.direction[i] + friction[:, 2]
        assert tau + friction[:, 3] * held.ddq[i] == pytest.approx(found.after[i], abs=1e-6)


def test_what_is_told_is_right_and_the_rest_is_said_to_be_unknown(found):
    told = {each.name: each for each in found.told.parameters}
    for k, joint in enumerate(ROBOT.joint_names):
        for term, truth in (("viscous", VISCOUS[k]), ("coulomb", COULOMB[k])):
            each = told[f"{term}_{joint}"]
            assert each.told
            assert abs(each.value - truth) < max(4 * each.std, 0.1 * truth)
    assert not told["mass_joint1"].told  # it turns about a vertical axis: no torque depends on it
    assert told["mass_joint1"].to_dict()["interval_90"] is None
    assert 0.7 < np.mean([each.told for each in found.told.base]) <= 1.0
    page = torque_page(found)
    assert page.count("not told by this recording") == 1 + sum(
        not each.told for each in (*found.told.parameters, *found.told.base)
    )


def test_an_arm_at_rest_tells_nothing_of_its_friction(log):
    still = recorded(heavier(ROBOT), seed=2)
    q, dq = still.q.copy(), still.dq.copy()
    q[:, 5], dq[:, 5] = ROBOT.home[5], 0.0
    result = identify_torques(ROBOT, [replace(still, q=q, dq=dq)])
    assert not result.told.friction("joint6", "viscous").told
    before, space = prior(result.identified_robot()), result.space()
    assert space["servo_coulomb_joint6"] == before["servo_coulomb_joint6"]
    assert space["servo_coulomb_joint2"] != before["servo_coulomb_joint2"]
    assert "joint6" in result.inspections[0].left_out


def test_base_parameters_are_all_that_torques_depend_on():
    model = arm_model(ROBOT.urdf_xml, ROBOT.joint_names)
    base = base_combinations(model)
    assert len(base) < 14 * 6
    rng = np.random.default_rng(1)
    q, dq, ddq = rng.normal(size=(3, 20, 6))
    Y = regressor(model, Motion(np.arange(20), q, dq, ddq, q, np.sign(dq)))
    nothing = np.linalg.svd(base)[2][len(base) :]  # directions that no base parameter has
    assert np.abs(Y @ nothing.T).max() < 2e-3 * np.abs(Y).max()
    assert np.linalg.matrix_rank(np.reshape(Y, (-1, 14 * 6)), 1e-3) <= len(base)


@pytest.mark.parametrize(("name", "without"), [("xarm6_gripper", ()), ("franka_panda", ("panda_hand",))])
def test_grippers_and_removed_tools_are_kept(name, without):
    robot = load_robot(name)
    model = arm_model(robot.urdf_xml, robot.joint_names, subtree(robot.urdf, without))
    rng = np.random.default_rng(0)
    n = model.nv
    q, dq, ddq = rng.normal(size=(3, 60, n))
    data = model.createData()
    tau = np.array([1.2 * pinocchio.rnea(model, data, *state) for state in zip(q, dq, ddq)])
    motion = Motion(0.01 * np.arange(60), q, dq, ddq, tau, np.sign(dq))
    fit = fit_inertial(model, motion, rounds=1)
    text = identified_urdf(robot, fit, without)
    assert predicted_torques(text, robot.joint_names, motion, without) == pytest.approx(
        fit.torque(model, motion), abs=1e-7
    )
    given, written = robot.urdf.links, read_urdf(text).links
    for link in written.values():
        if link.visuals and given[link.name].inertial is not None and given[link.name].inertial.mass:
            assert link.inertial is not None, link.name  # without, PyBullet makes it 1 kg
            assert link.inertial.mass > 0
    for link in subtree(robot.urdf, without):
        if given[link].inertial is not None:
            assert written[link].inertial.mass == given[link].inertial.mass


def test_a_torque_of_the_wrong_sign_is_refused(log):
    tau = log.tau.copy()
    tau[:, 1] *= -1
    texts = [f.text for f in inspect_torques(replace(log, tau=tau), ROBOT).refused]
    assert any("joint2" in text and "gravity" in text for text in texts)
    assert inspect_torques(log, ROBOT).refused == ()
    with pytest.raises(LogError, match="joint2"):
        identify_torques(ROBOT, [replace(log, tau=tau)])


def write_rtde(path, log, factor=1.0, unit=1.0):
    """Write a log as the RTDE client of Universal Robots does, currents in place of torques."""
    names = ("target_q", "actual_q", "actual_qd", "actual_current")
    head = ["timestamp", *(f"{name}_{i}" for name in names for i in range(6))]
    table = np.column_stack([log.t, log.q, factor * log.q, factor * log.dq, unit * log.tau / CONSTANTS])
    np.savetxt(path, table, header=" ".join(head), comments="", fmt="%.8g")


def test_one_command_reads_currents_of_an_rtde_log_and_writes_a_urdf(log, tmp_path, capsys):
    write_rtde(tmp_path / "robot_data.csv", log)
    words = ["identify", "--from", "torque", "--robot", "xarm6", "--logs", str(tmp_path / "robot_data.csv")]
    constants = ["--torque-constants", *map(str, CONSTANTS)]
    assert main([*words, *constants, "--out", str(tmp_path / "twin.json")]) == 0
    said = capsys.readouterr().out
    assert "q=actual_q_0 … actual_q_5" in said
    assert "current=actual_current_0 … actual_current_5" in said
    figures = json.loads((tmp_path / "twin.torque.json").read_text())
    assert max(figures["rmse_after"].values()) < 0.08
    assert "mass_joint1" in figures["not_told"]
    urdf = (tmp_path / "twin.urdf").read_text()
    joints = {joint.get("name"): joint for joint in parse(urdf).findall("joint")}
    assert set(FRICTION) <= set(joints["joint1"].find("dynamics").attrib)
    space = ParameterSpace.from_json(tmp_path / "twin.json")
    low, high = space["servo_coulomb_joint2"].range
    assert low - 0.1 < COULOMB[1] < high + 0.1
    assert high - low < 0.3
    assert (tmp_path / "twin.torque.html").is_file()


LINK = """<link name="{0}"><inertial><origin xyz="0.2 0 0"/><mass value="{1}"/>
 <inertia ixx="0.001" ixy="0" ixz="0" iyy="0.01" iyz="0" izz="0.01"/></inertial>
 <visual><geometry><mesh filename="{0}.stl"/></geometry></visual></link>"""
JOINT = """<joint name="{0}" type="continuous"><parent link="{1}"/><child link="{2}"/><origin xyz="{3} 0 0"/>
 <axis xyz="0 1 0"/><limit velocity="6" effort="{4}"/></joint>"""


def two_links(folder):
    """An arm file whose URDF has no meshes beside it, and joints without ends."""
    joints = JOINT.format("lift", "base", "upper", 0, 20) + JOINT.format("elbow", "upper", "lower", 0.4, 10)
    links = '<link name="base"/>' + LINK.format("upper", 1.0) + LINK.format("lower", 0.6)
    (folder / "two.urdf").write_text(f'<robot name="two">{links}{joints}</robot>')
    each = {"lift": 20.0, "elbow": 20.0}
    limits = {"q_low": dict.fromkeys(each, -3.0), "q_high": dict.fromkeys(each, 3.0), "ddq": each, "jerk": each}
    arm = {"urdf": "two.urdf", "ee_link": "lower", "home": {"lift": 0.3, "elbow": 0.4}}
    arm["table_area"] = {"x": [0.3, 0.4], "y": [-0.1, 0.1]}
    (folder / "two.json").write_text(json.dumps(arm | {"limits": limits | {"source": "made up"}}))
    return str(folder / "two.json")


def test_meshes_are_not_needed(tmp_path):
    path = two_links(tmp_path)
    with pytest.raises(SpecError, match=r"upper\.stl"):
        load_robot(path)
    robot = load_robot(path, shapes=False)
    result = identify_torques(robot, [recorded(heavier(robot), seconds=8.0)])
    assert (result.rmse[1] < 0.1).all()
    assert "upper.stl" in result.urdf_xml


def test_servos_are_fitted_on_the_arm_that_the_torques_tell(tmp_path):
    robot = load_robot(two_links(tmp_path), shapes=False)
    moved = recorded(heavier(robot), seconds=12.0)
    logs = [replace(moved, t_command=moved.t - 0.03, command=moved.q + 1e-4 * np.sin(moved.t)[:, None])]
    torques = identify_torques(robot, logs)
    fit = FitConfig(delays=2, leads=1, screen=2, descent=1, kept=1, rounds=1, evaluations=0, iterations=1)
    config = IdentifyConfig(window=3.0, most_windows=2, fit=fit, workers=1)
    both = identify_arm(torques.identified_robot(), logs, config, space=torques.space())
    ends = both.posterior.prior["servo_coulomb_lift"].range
    assert ends == torques.space()["servo_coulomb_lift"].range
    assert ends[0] == pytest.approx(COULOMB[0], abs=0.1)


def test_the_command_says_all_that_is_wrong_with_a_log(log, tmp_path, capsys):
    t = log.t.copy()
    t[900:] += 20.0
    write_rtde(tmp_path / "robot_data.csv", replace(log, t=t), factor=180 / np.pi, unit=1000.0)
    words = ["identify", "--from", "torque", "--robot", "xarm6", "--logs", str(tmp_path), "--out", str(tmp_path / "a")]
    assert main(words) != 0
    said = capsys.readouterr()
    for text in ("--torque-constants", "--units degrees", "--units mA", "the clock jumps"):
        assert said.out.count(f"{text}") == 1, text
    assert said.err.count("\n") == 1
    assert "(4)" in said.err
    assert not (tmp_path / "a.urdf").exists()
