"""Mass and friction come from torques that pinocchio computes for a known object; what was not recorded is not told."""

from __future__ import annotations

import json

import numpy as np
import pinocchio
import pytest

from adaptation.contact.contact_log import ContactLog, inspect_contact, read_contact_log
from adaptation.contact.object_fit import identify_object
from adaptation.contact.phases import find_phases
from adaptation.identification.joint_log import JointLog, LogError
from adaptation.identification.torque.identification import motion_pieces
from adaptation.identification.torque.inertial import arm_model
from robots.registry import load_robot
from sim.catalogue import parameter_space
from sim.randomization.parameters import ParameterSpace
from sim.tasks import load_task
from sim2real.command_line import main

ROBOT = load_robot("franka_panda")
RATE = 100.0
MASS, FRICTION, PRESSED = 0.3, 0.5, -0.4
"""Of the object [kg, 1], and the upright force of the hand in a push [N]."""
SECONDS = 8.0


def path(t: np.ndarray) -> np.ndarray:
    """Joint positions (T, 7) of a hand that goes up and down and to and fro, and turns every joint."""
    q, out = np.array(ROBOT.home), np.empty((len(t), 7))
    R, p = ROBOT.chain.pose(q)
    for i, s in enumerate(t):
        way = [0.06 * np.sin(1.1 * s), 0.08 * np.sin(0.7 * s), -0.1 + 0.08 * (1 - np.cos(1.5 * s))]
        q = ROBOT.chain.inverse(q, p + way, R, tolerance=1e-6)
        out[i] = q + 0.05 * np.sin(np.arange(1, 8) * 0.31 * s)
    return out


def recording(held: bool, pushed: bool, noise: float = 0.02, seed: int = 0) -> ContactLog:
    """A recording whose torques are the URDF's, joint friction, and those of the object."""
    t = np.arange(0.0, SECONDS, 1 / RATE)
    q = path(t)
    dq = np.gradient(q, t, axis=0)
    ddq = np.gradient(dq, t, axis=0)
    model = arm_model(ROBOT.urdf_xml, ROBOT.joint_names)
    data = model.createData()
    tau = np.array([pinocchio.rnea(model, data, *row) for row in zip(q, dq, ddq)]) + 0.1 * np.sign(dq) + 0.2 * dq
    opening = np.full(len(t), 0.04)
    ee = ROBOT.chain.positions(q)
    p_object = np.tile([0.3, 0.4, 0.02], (len(t), 1))
    if held:
        opening[t > 0.2] = 0.02
        frame = model.frames[model.getFrameId(ROBOT.ee_link)].placement
        load = pinocchio.Inertia(MASS, frame.translation + np.array([0.0, 0.0, 0.01]), 1e-5 * np.eye(3))
        heavy = model.copy()
        heavy.appendBodyToJoint(7, load, pinocchio.SE3.Identity())
        loaded = heavy.createData()
        tau[t > 0.2] = tau[t > 0.2] + [
            pinocchio.rnea(heavy, loaded, *row) - pinocchio.rnea(model, data, *row)
            for row in zip(q[t > 0.2], dq[t > 0.2], ddq[t > 0.2])
        ]
        p_object = ee.copy()
    if pushed:
        hand = np.gradient(ee, t, axis=0)
        way = hand[:, :2] / np.linalg.norm(hand[:, :2], axis=1)[:, None]
        force = FRICTION * (MASS * 9.81 - PRESSED)
        for i in range(len(t)):
            J = ROBOT.chain.jacobian(q[i])[:3]
            tau[i] += J.T @ [*(force * way[i]), PRESSED]
            tau[i] += MASS * J[:2].T @ np.gradient(hand[:, :2], t, axis=0)[i]
        opening[:] = 0.0
        p_object = ee.copy()
        p_object[:, 2] = 0.02
    rng = np.random.default_rng(seed)
    tau += noise * rng.standard_normal(tau.shape)
    opening = opening + 1e-5 * rng.standard_normal(len(t))
    log = JointLog("held" * held + "pushed" * pushed or "free", ROBOT.joint_names, t, q, t, q, dq, tau)
    return ContactLog(log, opening, t[::2], p_object[::2])


FREE, HELD, PUSHED = recording(False, False), recording(True, False), recording(False, True)


def test_mass_and_friction_are_told():
    found = identify_object(ROBOT, [FREE, HELD, PUSHED])
    assert found.mass.told
    assert found.mass.value == pytest.approx(MASS, abs=0.02)
    assert found.mass.low < MASS < found.mass.high
    assert found.friction.told
    assert found.friction.value == pytest.approx(FRICTION, rel=0.1)
    assert found.friction.low < FRICTION < found.friction.high


def test_phases_are_those_that_were_made():
    for log, name in ((FREE, "free"), (HELD, "held"), (PUSHED, "pushed")):
        (motion,) = motion_pieces(log.log)
        phases = find_phases(log, motion, ROBOT)
        shares = {each: getattr(phases, each).mean() for each in ("free", "held", "pushed")}
        assert max(shares, key=shares.__getitem__) == name
        assert shares[name] > 0.4
        assert phases.lifts >= (name == "held")
        assert phases.pushes >= (name == "pushed")
        assert sum(value > 0 for other, value in shares.items() if other != name and other != "free") == 0


def test_fingers_that_close_on_nothing_hold_nothing():
    empty = ContactLog(HELD.log, np.where(HELD.log.t > 0.2, 0.0, 0.04), np.zeros(0), np.zeros((0, 3)))
    (motion,) = motion_pieces(empty.log)
    assert not find_phases(empty, motion, ROBOT).held.any()


def test_an_object_that_is_lost_is_no_longer_held():
    lost = np.where(HELD.log.t > 4.0, 0.0, HELD.opening)
    (motion,) = motion_pieces(HELD.log)
    phases = find_phases(ContactLog(HELD.log, lost, HELD.t_object, HELD.p_base_object), motion, ROBOT)
    assert phases.held.any()
    assert not phases.held[motion.t > 4.1].any()


@pytest.mark.parametrize(
    ("logs", "told", "why"),
    [
        ([FREE], (False, False), "no lift; grasp it"),
        ([FREE, HELD], (True, False), "the force of a push is not told"),
        ([FREE, PUSHED], (False, False), "no lift"),
    ],
)
def test_what_was_not_recorded_is_not_told(logs, told, why):
    found = identify_object(ROBOT, logs)
    assert (found.mass.told, found.friction.told) == told
    assert any(why in each.text() for each in found.estimates)
    assert found.figures()["object_friction"]["value"] is None


def test_an_object_within_the_noise_is_not_told():
    noisy = recording(True, False, noise=8.0, seed=3)
    found = identify_object(ROBOT, [FREE, noisy])
    assert not found.mass.told
    assert "within these torques' noise" in found.mass.why


def test_torques_without_a_free_motion_are_refused():
    with pytest.raises(LogError, match="moving without the object"):
        identify_object(ROBOT, [HELD])


def test_the_space_has_what_is_told_and_keeps_the_rest():
    base = parameter_space(load_task("pick_place"), ROBOT)
    found = identify_object(ROBOT, [FREE, HELD])
    space = found.space(base, "object")
    assert space["object_mass"].range == pytest.approx((found.mass.low, found.mass.high))
    assert space["object_friction"] == base["object_friction"]
    assert space["table_friction"] == base["table_friction"]
    both = identify_object(ROBOT, [FREE, HELD, PUSHED]).space(base, "object")
    assert both["table_friction"].range == (1.0, 1.0)  # the coefficient that was measured is that of both
    assert both["object_friction"].range[0] > base["object_friction"].range[0]


def save(folder, log: ContactLog) -> None:
    assert ROBOT.gripper is not None
    fingers = np.tile(log.opening, (2, 1)).T
    q = np.column_stack([log.log.q, fingers])
    tau = np.column_stack([log.log.tau, np.zeros_like(fingers)])
    names = (*ROBOT.joint_names, *ROBOT.gripper.joint_names)
    place = {"object": log.p_base_object, "t_object": log.t_object}
    np.savez(folder / f"{log.log.name}.npz", t=log.log.t, q=q, tau=tau, joint_names=names, **place)


def test_the_command_writes_a_space(tmp_path, capsys):
    logs = tmp_path / "logs"
    logs.mkdir()
    for log in (FREE, HELD, PUSHED):
        save(logs, log)
    out = tmp_path / "object.json"
    given = ["--robot", "franka_panda", "--logs", str(logs), "--out", str(out)]
    assert main(["identify", "--from", "contact", *given]) == 0
    space = ParameterSpace.from_json(out)
    assert set(space.names) == {"object_mass", "object_friction"}
    assert space["object_mass"].range[0] < MASS < space["object_mass"].range[1]
    assert "object_mass: 0.3" in capsys.readouterr().out
    assert json.loads((tmp_path / "object.contact.json").read_text())["object_friction"]["told"]
    assert "sliding friction" in (tmp_path / "object.contact.html").read_text()
    (logs / "held.npz").unlink()
    (logs / "pushed.npz").unlink()
    assert main(["identify", "--from", "contact", *given]) == 1
    assert "tell nothing of an object" in capsys.readouterr().err


def test_the_object_is_read_from_csv_and_npz(tmp_path):
    names = (*ROBOT.joint_names, "panda_finger_joint1", "panda_finger_joint2")
    head = ["t", *(f"q_{name}" for name in names), *(f"tau_{name}" for name in ROBOT.joint_names)]
    head += ["object_x", "object_y", "object_z"]
    rows = [[0.02 * i, *[0.1] * 7, 0.03, 0.03, *[1.0] * 7, 0.5, 0.0, 0.02] for i in range(4)]
    table = [",".join(head), *(",".join(map(str, row)) for row in rows)]
    table[2] = ",".join([*table[2].split(",")[:-3], "", "", ""])  # between two pictures
    (tmp_path / "log.csv").write_text("\n".join(table) + "\n")
    found = read_contact_log(tmp_path / "log.csv", ROBOT)
    assert found.opening == pytest.approx([0.03] * 4)
    assert found.t_object == pytest.approx([0.0, 0.04, 0.06])
    assert found.p_base_object[0] == pytest.approx([0.5, 0.0, 0.02])
    (tmp_path / "log.csv").write_text("\n".join(table).replace("object_z", "height"))
    with pytest.raises(LogError, match="expected all or none"):
        read_contact_log(tmp_path / "log.csv", ROBOT)
    np.savez(tmp_path / "log.npz", t=np.arange(4), q=np.zeros((4, 9)), object=np.zeros((3, 2)))
    with pytest.raises(LogError, match=r"has shape \(3, 2\), expected \(4, 3\)"):
        read_contact_log(tmp_path / "log.npz", ROBOT)


def test_a_recording_says_what_it_lacks():
    bare = ContactLog(FREE.log, None, np.zeros(0), np.zeros((0, 3)))
    said = " ".join(inspect_contact(bare, ROBOT).lines())
    assert "no lift is recognised" in said
    assert "no push is recognised" in said
    backwards = ContactLog(FREE.log, FREE.opening, FREE.t_object[::-1], FREE.p_base_object)
    assert "stamps that go back" in inspect_contact(backwards, ROBOT).refused[0].text
