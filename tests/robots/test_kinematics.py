"""Kinematics against pinocchio and against their own derivatives."""

from __future__ import annotations

import numpy as np
import pinocchio
import pytest

from robots.kinematics import KinematicChain, KinematicsError
from robots.registry import load_robot
from robots.rotations import rpy_matrix
from robots.urdf import UrdfError

PANDA = load_robot("franka_panda")


@pytest.fixture(scope="module")
def reference() -> tuple[pinocchio.Model, pinocchio.Data]:
    model = pinocchio.buildModelFromXML(PANDA.urdf_xml)
    return model, model.createData()


def random_q(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(PANDA.limits.q_low, PANDA.limits.q_high)


def test_every_link_is_where_pinocchio_puts_it(reference) -> None:
    model, data = reference
    rng = np.random.default_rng(0)
    for _ in range(20):
        q, opening = random_q(rng), rng.uniform(0, 0.04)
        pinocchio.framesForwardKinematics(model, data, np.r_[q, opening, opening])
        for name, T in zip(PANDA.tree.links, PANDA.link_poses(q, opening)):
            np.testing.assert_allclose(T, data.oMf[model.getFrameId(name)].homogeneous, atol=1e-12)
        R, p = PANDA.chain.pose(q)
        ee = data.oMf[model.getFrameId(PANDA.ee_link)]
        np.testing.assert_allclose(R, ee.rotation, atol=1e-12)
        np.testing.assert_allclose(p, ee.translation, atol=1e-12)


def test_jacobian_is_the_derivative() -> None:
    rng = np.random.default_rng(1)
    q = random_q(rng)
    J = PANDA.chain.jacobian(q)
    for i, step in enumerate(np.eye(7) * 1e-6):
        R, p = PANDA.chain.pose(q)
        R_moved, p_moved = PANDA.chain.pose(q + step)
        np.testing.assert_allclose(J[:3, i], (p_moved - p) / 1e-6, atol=1e-5)
        spin = (R_moved - R) / 1e-6 @ R.T
        np.testing.assert_allclose(J[3:, i], [spin[2, 1], spin[0, 2], spin[1, 0]], atol=1e-5)


def test_a_step_moves_the_end_effector_by_what_was_asked() -> None:
    q = np.array(PANDA.home)
    dp = np.array([0.005, -0.004, 0.003])
    R, p = PANDA.chain.pose(PANDA.chain.step_towards(q, dp, PANDA.R_home))
    _, start = PANDA.chain.pose(q)
    np.testing.assert_allclose(p - start, dp, atol=2e-4)
    assert np.trace(R.T @ PANDA.R_home) == pytest.approx(3.0, abs=1e-3)


def test_a_step_at_a_singularity_stays_small() -> None:
    stretched = np.zeros(7)  # the Panda upright: no way to go further up
    step = PANDA.chain.step_towards(stretched, np.array([0.0, 0.0, 0.01]), PANDA.chain.pose(stretched)[0]) - stretched
    assert np.abs(step).max() < 0.5


def test_inverse_round_trip_and_out_of_reach() -> None:
    goal = np.array([0.5, 0.15, 0.2])
    q = PANDA.chain.inverse(np.array(PANDA.home), goal, PANDA.R_home)
    np.testing.assert_allclose(PANDA.chain.pose(q)[1], goal, atol=1e-4)
    with pytest.raises(KinematicsError, match="is the point within reach"):
        PANDA.chain.inverse(np.array(PANDA.home), np.array([2.0, 0.0, 0.2]), PANDA.R_home)


def test_rpy_is_yaw_pitch_roll() -> None:
    np.testing.assert_allclose(rpy_matrix(np.array([0, 0, np.pi / 2])) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(rpy_matrix(np.array([np.pi / 2, 0, np.pi / 2])) @ [0, 1, 0], [0, 0, 1], atol=1e-12)


def test_unknown_links_are_named() -> None:
    with pytest.raises(UrdfError, match=r"no link .hand.; its links are .*panda_hand"):
        KinematicChain.from_urdf(PANDA.urdf, "hand")
    with pytest.raises(UrdfError, match="does not descend from 'panda_hand'"):
        KinematicChain.from_urdf(PANDA.urdf, "panda_link3", "panda_hand")
    with pytest.raises(KinematicsError, match="has 7 joints"):
        PANDA.chain.pose(np.zeros(6))
