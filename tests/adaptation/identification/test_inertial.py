"""Inertial parameters and friction from torques: exact on exact data, consistent on any."""

from __future__ import annotations

import numpy as np
import pinocchio
import pytest

from adaptation.identification.torque.inertial import (
    PRESLIDING,
    Motion,
    _from_cholesky,
    _to_cholesky,
    arm_model,
    filtered,
    fit_inertial,
    friction_direction,
    regressor,
)
from robots.registry import load_robot

ROBOT = load_robot("xarm6")
FRICTION = np.array([[0.5, 0.8, 0.1, 0.05], [0.6, 0.7, -0.1, 0.06]] + [[0.2, 0.3, 0.05, 0.02]] * 4)


@pytest.fixture(scope="module")
def model():
    return arm_model(ROBOT.urdf_xml, ROBOT.joint_names)


def motion(model, seed, seconds=20.0, noise=0.0):
    """A multisine, and the torques of an arm whose links weigh 1.3 times the URDF's, with friction."""
    rng = np.random.default_rng(seed)
    t = np.arange(0, seconds, 0.01)
    w = 2 * np.pi * np.arange(1, 6) * 0.15
    a = rng.normal(0, 0.25, (2, 6, 5))
    q = np.array(ROBOT.home) + np.sin(t[:, None] * w) @ a[0].T + np.cos(t[:, None] * w) @ a[1].T
    dq = (np.cos(t[:, None] * w) * w) @ a[0].T - (np.sin(t[:, None] * w) * w) @ a[1].T
    ddq = -(np.sin(t[:, None] * w) * w**2) @ a[0].T - (np.cos(t[:, None] * w) * w**2) @ a[1].T
    links = 1.3 * np.concatenate([model.inertias[j + 1].toDynamicParameters() for j in range(6)])
    empty = Motion(t, q, dq, ddq, np.zeros_like(q), friction_direction(dq, 0.01))
    tau = regressor(model, empty) @ np.concatenate([links, FRICTION.ravel()])
    return Motion(t, q, dq, ddq, tau + noise * rng.standard_normal(tau.shape), friction_direction(dq, 0.01))


def test_the_regressor_is_inverse_dynamics(model):
    m = motion(model, 0, seconds=0.5)
    links = np.concatenate([model.inertias[j + 1].toDynamicParameters() for j in range(6)])
    tau = regressor(model, m) @ np.concatenate([links, np.zeros(24)])
    data = model.createData()
    for i in (0, 20, 49):
        assert tau[i] == pytest.approx(pinocchio.rnea(model, data, m.q[i], m.dq[i], m.ddq[i]), abs=1e-9)


def test_cholesky_coordinates_go_there_and_back():
    rng = np.random.default_rng(0)
    for _ in range(20):
        size, mass = rng.uniform(0.05, 0.4, 3), rng.uniform(0.3, 5.0)
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        moments = turn @ np.diag(mass / 12 * (np.sum(size**2) - size**2)) @ turn.T  # a box of that size
        body = pinocchio.Inertia(mass, rng.uniform(-0.1, 0.1, 3), moments)
        parameters = np.array(body.toDynamicParameters())
        assert _from_cholesky(_to_cholesky(parameters)) == pytest.approx(parameters, rel=1e-7, abs=1e-9)


def test_an_arm_is_found_and_predicts_another_motion(model):
    found = fit_inertial(model, motion(model, 1, noise=0.02))
    other = motion(model, 2)
    rmse = np.sqrt(np.mean((found.torque(model, other) - other.tau) ** 2, axis=0))
    assert (rmse < 0.05).all()
    assert found.friction[:, 0] == pytest.approx(FRICTION[:, 0], abs=0.05)
    assert found.friction[:, 1] == pytest.approx(FRICTION[:, 1], abs=0.05)


def test_every_link_is_a_possible_body(model):
    wild = motion(model, 3, seconds=3.0, noise=2.0)  # short and noisy: plain least squares gives negative masses
    for parameters in fit_inertial(model, wild, rounds=1).inertial:
        inertia = pinocchio.Inertia.FromDynamicParameters(parameters)
        assert inertia.mass > 0
        moments = np.linalg.eigvalsh(inertia.inertia)
        assert moments[0] > 0
        assert moments[0] + moments[1] >= moments[2] * (1 - 1e-9)


def test_friction_turns_over_a_way_and_stays_where_a_joint_stands():
    """After a reversal at constant speed: 1 - 2 exp(-x / way), whatever the speed; nothing changes at rest."""
    for speed, dt in ((0.2, 0.001), (0.05, 0.0005)):
        dq = np.concatenate([np.full(200, -speed), np.full(200, speed), np.zeros(50)])[:, None]
        found = friction_direction(dq, dt)[:, 0]
        way = speed * dt * np.arange(1, 201)
        assert found[:200] == pytest.approx(np.full(200, -1.0))
        assert found[200:400] == pytest.approx(1 - 2 * np.exp(-way / PRESLIDING), abs=1e-9)
    assert friction_direction(np.array([[0.0], [0.1], [0.0], [0.0]]), 0.1)[1:, 0] == pytest.approx(
        np.full(3, 1.0), abs=1e-4
    )


def test_a_filter_adds_no_lag():
    t = np.arange(0, 10, 0.001)
    q = np.sin(2 * np.pi * t)[:, None]
    m = filtered(t, q, np.gradient(q, t, axis=0), q)
    assert m.q[:, 0] == pytest.approx(np.sin(2 * np.pi * m.t), abs=1e-3)
    assert m.ddq[:, 0] == pytest.approx(-((2 * np.pi) ** 2) * np.sin(2 * np.pi * m.t), abs=0.05)
    with pytest.raises(ValueError, match="expected at least 50 Hz"):
        filtered(t[::100], q[::100], q[::100], q[::100])
