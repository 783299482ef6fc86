"""Targets come from a held and fresh dead-man alone, start where the arm is, and are no faster than asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from robots.action import MAX_LEAD
from robots.dynamics import GravitySag
from robots.model import Drives
from robots.observation import RobotState
from robots.registry import load_robot
from robots.specs import SpecError
from robots.teleoperation.steering import STALE, LeaderPose, Speeds, Steering, Teleoperator

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
RATE, SPEEDS = 30.0, Speeds(hand=0.1, turn=0.5, joint=0.3)


def make(mode="hand", gripper=False, leader=False):
    return Teleoperator(PANDA, mode, RATE, SPEEDS, gripper, leader)


def at(q, now=0.0, opening=None):
    return RobotState(now, np.array(q), np.zeros(len(q)), opening=opening)


def angle(R):
    return float(np.arccos(np.clip((np.trace(R) - 1) / 2, -1, 1)))


def steer(operator, q, seconds, opening=None, **said):
    """Steer an arm that follows at once; return where it ends, and the last target."""
    target = None
    for k in range(round(seconds * RATE)):
        now = k / RATE
        target = operator.target(Steering(now, True, **said), at(q, now, opening), now)
        assert target is not None, operator.reason
        q = target.q
    return q, target


def test_the_hand_moves_as_fast_as_asked():
    q, _ = steer(make(), HOME, 1.0, move={"x": 1.0})
    moved = PANDA.chain.pose(q)[1] - PANDA.chain.pose(HOME)[1]
    assert moved == pytest.approx([0.1, 0.0, 0.0], abs=2e-3)


def test_a_joint_moves_as_fast_as_asked_and_no_other_does():
    operator = make("joints")
    operator.share = 0.5
    q, _ = steer(operator, HOME, 1.0, move={PANDA.joint_names[2]: -1.0})
    assert q - HOME == pytest.approx([0, 0, -0.15, 0, 0, 0, 0], abs=1e-9)


@pytest.mark.parametrize(
    ("steering", "state", "said"),
    [
        (Steering(1.0, False, {"x": 1.0}), at(HOME, 1.0), ""),
        (Steering(0.9 - STALE, True, {"x": 1.0}), at(HOME, 1.0), "device: silent for 0.30 s"),
        (Steering(1.0, True, {"x": 1.0}, trouble="gamepad: unplugged"), at(HOME, 1.0), "gamepad: unplugged"),
        (Steering(1.0, True, {"x": 1.0}), None, "joint state: none that is fresh"),
        (Steering(1.0, True, {"x": 1.0}), at(HOME, 0.85), "joint state: none that is fresh"),
        (Steering(1.0, True, {"x": 1.0}), at(HOME * np.nan, 1.0), "joint state: none that is fresh"),
        (Steering(np.nan, True, {"x": 1.0}), at(HOME, 1.0), "device: silent"),
    ],
)
def test_nothing_is_commanded_on_a_default(steering, state, said):
    operator = make()
    assert operator.target(steering, state, 1.0) is None
    assert not operator.engaged
    assert operator.reason.startswith(said)
    assert bool(operator.reason) == bool(said)


def test_after_a_release_the_next_target_starts_from_where_the_arm_is():
    operator = make()
    steer(operator, HOME, 0.5, move={"x": 1.0})
    operator.target(Steering(1.0, False), at(HOME, 1.0), 1.0)
    elsewhere = HOME + 0.1  # led by hand meanwhile
    target = operator.target(Steering(2.0, True), at(elsewhere, 2.0), 2.0)
    assert target.q == pytest.approx(elsewhere)


@pytest.mark.parametrize("mode", ["hand", "joints"])
def test_an_arm_that_hangs_from_its_targets_neither_falls_nor_lags(mode):
    """Its joints rest where gravity's torque is their servos' stiffness times how far the target is ahead."""
    robot = replace(PANDA, drives=Drives(0.0, 0.0, 0.0, 0.0, 0.0, 300.0))
    sag, operator, q = GravitySag(robot), Teleoperator(robot, mode, RATE, SPEEDS, False, False), HOME
    height = PANDA.chain.pose(HOME)[1][2]
    assert PANDA.chain.pose(HOME - sag.at(HOME))[1][2] < height - 0.03  # what it would fall by
    for k in range(60):
        q = operator.target(Steering(k / RATE, True), at(q, k / RATE), k / RATE).q - sag.at(q)
    assert PANDA.chain.pose(q)[1][2] == pytest.approx(height, abs=1e-3)
    move = {"z": 1.0} if mode == "hand" else {PANDA.joint_names[3]: 1.0}
    for k in range(60, 90):
        q = operator.target(Steering(k / RATE, True, move), at(q, k / RATE), k / RATE).q - sag.at(q)
    if mode == "hand":
        assert PANDA.chain.pose(q)[1][2] == pytest.approx(height + 0.1, abs=0.01)
    else:
        assert q[3] == pytest.approx(HOME[3] + 0.3, abs=0.02)


def test_a_turned_hand_stays_turned_across_a_release():
    operator = make()
    turned, _ = steer(operator, HOME, 1.5, move={"yaw": 1.0})
    before = PANDA.chain.pose(turned)[0]
    assert angle(before @ PANDA.R_home.T) == pytest.approx(0.75, abs=0.02)
    operator.target(Steering(2.0, False), at(turned, 2.0), 2.0)
    after, _ = steer(operator, turned, 1.0)
    assert angle(PANDA.chain.pose(after)[0] @ before.T) < 0.01


def test_a_tilted_hand_is_not_set_upright_unasked():
    tilted = HOME + np.array([0, 0, 0, 0, 0, 0.6, 0])
    before = PANDA.chain.pose(tilted)[0]
    assert steer(make(), tilted, 0.5)[0] == pytest.approx(tilted)
    after, _ = steer(make(), tilted, 1.0, move={"z": 1.0})
    assert angle(PANDA.chain.pose(after)[0] @ before.T) < 0.01


def test_small_tilts_do_not_add_up():
    tilted = HOME + np.array([0, 0, 0, 0, 0, 0.04, 0])
    assert steer(make(), tilted, 0.5)[0] == pytest.approx(tilted)
    after, _ = steer(make(), tilted, 0.5, move={"z": 1.0})
    assert angle(PANDA.chain.pose(after)[0] @ PANDA.R_home.T) < 0.005


def test_a_grip_is_kept_across_a_release():
    """The fingers are measured at what they hold; commanding that would let it slip."""
    gripper, operator = PANDA.gripper, make(gripper=True)
    held = 0.5 * (gripper.closed + gripper.opened)
    _, first = steer(operator, HOME, 0.1, opening=held)
    assert first.opening == pytest.approx(held)
    _, closing = steer(operator, HOME, 0.1, opening=held, gripper=-1.0)
    assert closing.opening == pytest.approx(gripper.closed)
    operator.target(Steering(1.0, False), at(HOME, 1.0, held), 1.0)
    _, again = steer(operator, HOME, 0.1, opening=held)
    assert again.opening == pytest.approx(gripper.closed)


def test_fingers_that_are_not_measured_are_not_steered():
    operator = make(gripper=True)
    assert operator.target(Steering(0.0, True), at(HOME), 0.0) is None
    assert "fingers: no position received" in operator.reason
    with pytest.raises(SpecError, match="no gripper to steer"):
        Teleoperator(load_robot("kuka_iiwa"), "hand", RATE, SPEEDS, True, False)


def test_a_leader_is_followed_no_faster_than_asked_and_never_when_stale():
    operator, goal = make(leader=True), HOME + 0.5
    now, q = 0.0, HOME
    for k in range(30):
        now = k / RATE
        q = operator.target(Steering(now, True), at(q, now), now, LeaderPose(now, goal)).q
    assert q - HOME == pytest.approx(np.full(7, 0.3), abs=1e-6)  # a second of it, straight there
    later = now + STALE + 0.01
    for pose in (None, LeaderPose(now, goal), LeaderPose(later, goal * np.nan)):
        assert operator.target(Steering(later, True), at(q, later), later, pose) is None
        assert "leader: no fresh reading" in operator.reason


@pytest.mark.parametrize("mode", ["hand", "joints"])
def test_whatever_a_device_says_targets_are_near_and_finite(mode):
    rng, operator = np.random.default_rng(0), make(mode)
    names, q = ("x", "y", "z", "yaw", *PANDA.joint_names), HOME
    for k in range(300):
        values = rng.choice([1.0, -1.0, 50.0, np.nan, np.inf, -np.inf], len(names))
        now = k / RATE
        target = operator.target(Steering(now, True, dict(zip(names, values))), at(q, now), now)
        if target is None:
            continue  # the hand has been turned too far
        assert np.abs(target.q - q).max() <= MAX_LEAD + 1e-9
        if mode == "joints":
            assert np.abs(target.q - q).max() <= SPEEDS.joint / RATE + 1e-9
        q = target.q
