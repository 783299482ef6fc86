"""Rotations there and back, and against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from robots.rotations import matrix_quaternion, matrix_rpy, quaternion_matrix, rpy_matrix


def test_rotations_survive_roll_pitch_yaw() -> None:
    rng = np.random.default_rng(0)
    for rpy in [*rng.uniform(-1.5, 1.5, (20, 3)), np.array([0.3, np.pi / 2, 0.8])]:
        R = rpy_matrix(rpy)
        assert rpy_matrix(np.array(matrix_rpy(R))) == pytest.approx(R, abs=1e-7)


def test_quaternions_are_scipys_up_to_half_a_turn() -> None:
    half_turns = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.6, 0.8, 0.0], [0.0, 0.0, 1.0, 1e-9]])
    for quat in [*np.random.default_rng(0).normal(size=(50, 4)), *half_turns, np.array([0.0, 0.0, 0.0, 2.0])]:
        R = Rotation.from_quat(quat).as_matrix()
        assert quaternion_matrix(quat) == pytest.approx(R, abs=1e-12)
        found = matrix_quaternion(R)
        assert found[3] >= 0
        assert abs(found @ (quat / np.linalg.norm(quat))) == pytest.approx(1.0, abs=1e-12)
