"""Encoders: their shapes, what is frozen, what is refused, and that a picture student learns where the goal is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.parts.encoders import ENCODERS, EncoderError, SpatialSoftmax, Tuning, make_encoder
from benchmarks.parts.regression_student import PictureStudent, fit_picture_student, goal_errors
from policies.models.keypoint_encoder import ForwardKinematics
from policies.models.state_network import StateNetwork
from robots.registry import load_robot
from sim.datasets.labelled_renders import LabelledRenders

PANDA = load_robot("franka_panda")


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_makes_its_features_and_learns(name: str) -> None:
    encoder = make_encoder(name, 84, 84)
    features = encoder(torch.zeros(2, 3, 84, 84))
    assert features.shape == (2, encoder.width)
    features.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_a_spatial_softmax_says_where_the_mass_is() -> None:
    encoder = SpatialSoftmax(torch.nn.Sequential(torch.nn.Identity()), 1, 21, 21)
    with torch.no_grad():
        encoder.maps.weight.fill_(0.0)
        encoder.maps.weight[0, 0] = 1.0
        encoder.maps.bias.zero_()
    image = torch.zeros(1, 3, 21, 21)
    image[0, 0, 5, 15] = 50.0  # row 5 and column 15 of cells from -1 to 1 in steps of 0.1
    np.testing.assert_allclose(encoder(image).detach(), [[0.5, -0.5]], atol=1e-4)


def test_what_is_frozen_stays_and_weights_come_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, target = make_encoder("plain", 84, 84), make_encoder("plain", 84, 84)
    torch.save(source.convolutions.state_dict(), tmp_path / "weights.pt")
    Tuning(tmp_path / "weights.pt", stages=2).apply(target)  # the last convolution and its ReLU
    for ours, theirs in zip(target.convolutions.parameters(), source.convolutions.parameters()):
        torch.testing.assert_close(ours, theirs)
    learns = [p.requires_grad for p in target.convolutions.parameters()]
    assert learns == [False] * 6 + [True] * 2
    Tuning(stages=0).apply(target)
    assert not any(p.requires_grad for p in target.convolutions.parameters())
    assert all(p.requires_grad for p in target.out.parameters())
    with pytest.raises(EncoderError, match=r"weights.pt' do not fit"):
        Tuning(tmp_path / "weights.pt").apply(make_encoder("nature", 84, 84))
    with pytest.raises(EncoderError, match="unknown encoder 'eye'; known are plain,"):
        make_encoder("eye", 84, 84)


@pytest.mark.slow
def test_a_picture_student_learns_where_the_goal_is_and_not_from_noise() -> None:
    rng = np.random.default_rng(0)
    n, size = 1_100, 32
    places = rng.uniform(4, size - 4, (n, 2))
    rows, columns = np.mgrid[:size, :size]
    bright = np.exp(-((columns - places[:, 0, None, None]) ** 2 + (rows - places[:, 1, None, None]) ** 2) / 8)
    images = np.repeat((255 * bright).astype(np.uint8)[..., None], 3, axis=3)
    q = np.tile(np.array(PANDA.home, np.float32), (n, 1))
    goal = np.column_stack([0.3 + 0.01 * places, np.zeros(n)]).astype(np.float32)
    empty = np.zeros((n, 1, 2), np.float32)
    renders = LabelledRenders(images, q, np.zeros((n, 1, 3), np.float32), empty, goal, np.zeros((n, 1), np.float32))

    def trained(pictures: np.ndarray) -> float:
        torch.manual_seed(0)
        head = StateNetwork([("ee_pos", (3,)), ("goal", (3,))], ("x", "y", "z"))
        student = PictureStudent("plain", size, size, ForwardKinematics(PANDA.chain), head, 7)
        known = LabelledRenders(pictures, renders.q, renders.points, renders.pixels, renders.goal, renders.opening)
        fit_picture_student(student, known[100:], 250, seed=0, batch=64, learning_rate=3e-3)
        return float(np.median(goal_errors(student, known[:100])))

    assert trained(images) < 0.02
    assert trained(rng.integers(0, 255, images.shape).astype(np.uint8)) > 0.05
