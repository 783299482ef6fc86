"""Losses of the arm-pose benchmark against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks.arm_pose import losses


def test_mmd_is_nothing_on_average_without_a_shift_and_grows_with_one() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randn(60, 3, generator=generator) for _ in range(60)]
    still = np.mean([float(losses.mmd(a, b)) for a, b in zip(draws[::2], draws[1::2])])
    assert abs(still) < 0.01
    near, far = (float(losses.mmd(draws[0], draws[1] + shift)) for shift in (1.0, 3.0))
    assert 0.02 < near < far


def test_mmd_of_two_points_each() -> None:
    a, b = torch.tensor([[0.0], [0.0]]), torch.tensor([[1.0], [1.0]])
    # squared distances off the diagonal: two pairs of 0 and eight of 1, median 1; k(0) = 1, k(1) = exp(-1/2)
    assert float(losses.mmd(a, b, widths=(1.0,))) == pytest.approx(2 - 2 * math.exp(-0.5), rel=1e-5)


def test_consistency_counts_only_rows_where_the_teacher_is_certain() -> None:
    student, truth = torch.tensor([[1.0, 1.0], [9.0, 9.0]]), torch.zeros(2, 2)
    assert float(losses.consistency(student, truth, torch.tensor([0.1, 5.0]), 1.0)) == pytest.approx(1.0)
