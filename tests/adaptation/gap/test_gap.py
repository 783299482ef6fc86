"""The gap: closed forms, factors that are found, and a page that loads nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from adaptation.gap.camera_gap import CameraGap
from adaptation.gap.camera_pose import camera_factors
from adaptation.gap.image_gap import (
    FACTORS,
    GapError,
    LayerGap,
    factors,
    frechet,
    layer_gaps,
    mean_discrepancy,
    nearest_across,
    noise,
    proxy_a_distance,
    side_by_side,
)
from adaptation.gap.layers import layer_features
from adaptation.gap.page import gap_page, write_gap_page
from adaptation.visual.self_calibration import Calibration
from policies.models.keypoint_encoder import KeypointEncoder
from robots.registry import load_robot
from sim.catalogue import parameter_space
from sim.sensing.image_disturbance import ImageDisturbance, disturb
from sim.tasks import load_task
from sim2real.command_line import main


def gaussians(seed: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (200, 4)), rng.normal(0, 1, (200, 4)) + np.array([shift, 0, 0, 0])


def test_domains_that_are_one_cannot_be_told_apart() -> None:
    same, apart = gaussians(0, 0.0), gaussians(0, 8.0)
    assert proxy_a_distance(*same) < 0.4
    assert proxy_a_distance(*apart) > 1.95
    assert abs(mean_discrepancy(*same)) < 0.01
    assert mean_discrepancy(*apart) > 0.3


def test_frechet_distance_of_known_gaussians() -> None:
    corners = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert frechet(corners, corners) == pytest.approx(0.0, abs=1e-6)
    # means 3 apart, standard deviations s and 2 s in x with s² = 4 / 3
    assert frechet(corners, corners * [2, 1] + [3, 0]) == pytest.approx(9 + 4 / 3, rel=1e-6)


def test_too_few_pictures_are_refused() -> None:
    source, target = gaussians(1, 0.0)
    with pytest.raises(GapError, match="200 source and 5 target pictures, expected at least 10"):
        layer_gaps({"last": source}, {"last": target[:5]})
    (gap,) = layer_gaps({"last": source}, {"last": target + 5})
    assert gap.a_distance > 1.9


def test_neighbours_are_found_across_domains() -> None:
    source = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    assert nearest_across(source, source[::-1] + 0.1, 3) == [(0, 2), (1, 1), (2, 0)]


def pictures(count: int, seed: int, **effects: float) -> np.ndarray:
    """Pictures of coloured boxes, disturbed a little at random and by `effects` always."""
    rng = np.random.default_rng(seed)

    def one() -> np.ndarray:
        image = np.full((64, 64, 3), rng.integers(90, 140, 3), np.uint8)
        for _ in range(6):
            row, column, height, width = rng.integers([0, 0, 8, 8], [50, 50, 30, 30])
            image[row : row + height, column : column + width] = rng.integers(20, 235, 3)
        usual = {"exposure": rng.uniform(-0.3, 0.3), "white_balance": rng.uniform(-0.1, 0.1), "read_noise": 0.001}
        return disturb(image, ImageDisturbance(**{**usual, **effects}), rng)

    return np.stack([one() for _ in range(count)])


@pytest.mark.parametrize(
    ("factor", "effects"),
    [
        ("exposure", {"exposure": -4.0}),
        ("white_balance", {"white_balance": 3.5}),
        ("noise", {"read_noise": 0.03, "shot_noise": 0.15}),
        ("blur", {"blur": 4.0}),
    ],
)
def test_the_factor_that_differs_is_the_one_that_is_named(factor: str, effects: dict) -> None:
    source, same, other = pictures(60, 0), pictures(40, 1), pictures(40, 2, **effects)
    by_name = {each.name: each.covered for each in factors(source, same)}
    assert set(by_name) == set(FACTORS)
    assert min(by_name.values()) > 0.6
    assert {each.name: each.covered for each in factors(source, other)}[factor] < by_name[factor] - 0.3


def test_noise_is_measured_in_grey_levels() -> None:
    rng = np.random.default_rng(0)
    flat = np.repeat(np.clip(rng.normal(128, 6, (80, 80, 1)), 0, 255), 3, axis=2).astype(np.uint8)
    assert noise(flat) == pytest.approx(6.0, rel=0.15)
    assert noise(np.full((20, 20, 3), 90, np.uint8)) == 0.0


def test_layers_answer_and_the_page_loads_nothing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = KeypointEncoder(3, 64, 64, channels=8)
    source, target = pictures(24, 0), pictures(24, 1, exposure=-3.0)
    here, there = layer_features(encoder, source), layer_features(encoder, target)
    assert list(here) == ["pixels", "block 1", "block 2", "block 3", "block 4", "block 5"]
    assert here["block 5"].shape == (24, 16)
    gap = CameraGap("front", layer_gaps(here, there), factors(source, target), [(target[0], source[0])])
    page = gap_page("policy <b> against lab", [gap])
    assert "does not cover the target in exposure" in page
    assert "Camera front" in page
    assert "policy &lt;b&gt; against lab" in page
    assert "http" not in page
    assert "<script" not in page
    write_gap_page(tmp_path / "pages" / "gap.html", page)
    assert (tmp_path / "pages" / "gap.html").read_text() == page
    assert [path.name for path in (tmp_path / "pages").iterdir()] == ["gap.html"]


def test_the_plane_puts_across_what_tells_the_domains_apart() -> None:
    source, target = gaussians(3, 6.0)
    here, there = side_by_side(source, target)
    assert here.shape == (200, 2)
    assert there[:, 0].min() > here[:, 0].max() - 1.0
    assert abs(here[:, 1].mean() - there[:, 1].mean()) < 0.5
    same, _ = side_by_side(source, source)
    assert np.isfinite(same).all()


def test_a_camera_that_stands_outside_the_range_is_named_first() -> None:
    space = parameter_space(load_task("reach"), load_robot("franka_panda")).preset("mild")
    mean, sure = np.zeros(9), np.diag(np.full(9, 1e-8))
    mean[3] = 0.02  # x [m]; mild draws ±0.009
    camera = load_task("reach").cameras[0]
    first, *others = camera_factors(Calibration(camera, mean, sure, 2.0, 1.0, 40), space, "front")
    assert first.name == "camera_front_x"
    assert first.covered < 0.01
    assert "widen camera_front_x to hold 0.02 m" in first.remedy
    assert min(factor.covered for factor in others) > 0.99
    page = gap_page("a", [CameraGap("front", [LayerGap("last", 1.0, 0.1, 0.1)], poses=[first, *others])])
    assert "does not cover the target in camera_front_x." in page


def test_a_page_of_two_cameras_has_a_section_for_each_and_says_which_is_not_covered() -> None:
    layers = [LayerGap("last", 1.0, 0.1, 0.1)]
    source, dark = pictures(24, 0), pictures(24, 1, exposure=-4.0)
    front = CameraGap("front", layers, factors(source, source))
    side = CameraGap("side", [LayerGap("last", 1.5, 0.1, 0.1)], factors(source, dark))
    page = gap_page("a", [front, side])
    assert page.index("<h2>Camera front") < page.index("<h2>Camera side")
    assert "exposure (side)" in page
    assert "exposure (front)" not in page
    assert "1.00 (front), 1.50 (side)" in page


def test_the_command_refuses_what_makes_no_sense(tmp_path: Path, capsys) -> None:
    files = [
        "--bundle",
        str(tmp_path / "none"),
        "--target",
        str(tmp_path / "none"),
        "--out",
        str(tmp_path / "gap.html"),
    ]
    assert main(["gap", *files, "--views", "3"]) == 1
    assert "views is 3, expected at least 20" in capsys.readouterr().err
    assert main(["gap", *files]) == 1
    assert "none" in capsys.readouterr().err
