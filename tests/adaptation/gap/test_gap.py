"""The gap: closed forms, factors that are found, and a page that loads nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from adaptation.gap.camera_gap import CameraGap
from adaptation.gap.camera_pose import camera_factors
from adaptation.gap.evidence import UNSEEN, Evidence
from adaptation.gap.image_gap import (
    FACTORS,
    Factor,
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

SPACE = parameter_space(load_task("reach"), load_robot("franka_panda")).preset("mild")


def gaussians(seed: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (200, 4)), rng.normal(0, 1, (200, 4)) + np.array([shift, 0, 0, 0])


def test_domains_that_are_one_cannot_be_told_apart() -> None:
    same, apart = gaussians(0, 0.0), gaussians(0, 8.0)
    assert proxy_a_distance(*same) < 0.4
    assert proxy_a_distance(*apart) > 1.95
    assert abs(mean_discrepancy(*same)) < 0.01
    assert mean_discrepancy(*apart) > 0.3


def test_pictures_of_one_trial_do_not_recognise_each_other() -> None:
    rng = np.random.default_rng(4)
    source, places = rng.normal(size=(200, 32)), rng.normal(size=(10, 32))
    trials = np.repeat(places, 20, axis=0) + 0.01 * rng.normal(size=(200, 32))
    assert proxy_a_distance(source, trials) < 0.8
    assert proxy_a_distance(source, rng.permutation(trials)) > 1.2  # neighbours on both sides of the split


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
    by_name = {each.name: each.covered for each in factors(source, same, SPACE)}
    assert set(by_name) == set(FACTORS)
    assert min(by_name.values()) > 0.6
    found = {each.name: each for each in factors(source, other, SPACE)}[factor]
    assert found.covered < by_name[factor] - 0.3
    assert found.verdict != "covered"


def test_a_factor_by_which_scenes_differ_more_than_it_could_is_not_called_covered() -> None:
    """The boxes' colours hide a white balance far outside the range; nothing hides heavy noise."""
    found = {each.name: each for each in factors(pictures(60, 0), pictures(40, 1), SPACE)}
    assert found["white_balance"].verdict == "not told"
    assert "scenes differ by more" in found["white_balance"].unknown
    assert "photograph a white sheet" in found["white_balance"].unknown
    assert found["appearance_strength"].verdict == "not told"


def test_a_verdict_is_one_of_three() -> None:
    inside, outside = (Factor("blur", 0.0, 1.0, 0.5, share, "focus") for share in (0.9, 0.1))
    assert [inside.verdict, outside.verdict] == ["covered", "not covered"]
    assert inside.untold(UNSEEN).verdict == "not told"
    assert outside.untold(UNSEEN).verdict == "not covered"


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
    gap = CameraGap("front", layer_gaps(here, there), factors(source, target, SPACE), [(target[0], source[0])])
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


def evidence(mean: np.ndarray, std: float = 1e-4, residual: float = 1.0, shuffled: float = 15.0) -> Evidence:
    calibration = Calibration(load_task("reach").cameras[0], mean, np.diag(np.full(9, std**2)), 2.0, residual, 40)
    return Evidence(calibration, 0.6, 1.0, shuffled)


def test_a_camera_that_stands_outside_the_range_is_named_first() -> None:
    mean = np.zeros(9)
    mean[3] = 0.02  # x [m]; mild draws ±0.009
    first, *others = camera_factors(evidence(mean), SPACE, "front")
    assert first.name == "camera_front_x"
    assert first.verdict == "not covered"
    assert "widen camera_front_x to hold 0.02 ± 0.0001 m" in first.remedy
    assert {factor.verdict for factor in others} == {"covered"}
    page = gap_page("a", [CameraGap("front", [LayerGap("last", 1.0, 0.1, 0.1)], poses=[first, *others])])
    assert "does not cover the target in camera_front_x." in page


def test_an_estimate_as_wide_as_its_prior_or_across_the_ranges_end_tells_nothing() -> None:
    assert {factor.verdict for factor in camera_factors(evidence(np.zeros(9), 0.15), SPACE, "front")[:6]} == {
        "not told"
    }
    mean = np.zeros(9)
    mean[3] = 0.009
    found = {factor.name: factor for factor in camera_factors(evidence(mean, 0.003), SPACE, "front")}
    assert "may lie within the range or outside; record more arm poses" in found["camera_front_x"].unknown
    assert found["camera_front_y"].verdict == "covered"


@pytest.mark.parametrize(
    ("residual", "shuffled", "words"),
    [(8.0, 60.0, "landmarks stay 8.0 px"), (2.0, 4.0, "do not follow the joints"), (float("nan"), 1.0, "are located")],
)
def test_images_that_do_not_show_the_arm_tell_of_nothing(residual: float, shuffled: float, words: str) -> None:
    told = evidence(np.zeros(9), residual=residual, shuffled=shuffled)
    assert words in told.unknown
    found = camera_factors(told, SPACE, "front")
    assert {factor.unknown for factor in found} == {UNSEEN}
    page = gap_page("a", [CameraGap("front", [LayerGap("last", 1.0, 0.1, 0.1)], poses=found, evidence=told)])
    assert "This recording does not tell of camera_front_" in page
    assert words in page
    assert ">covered<" not in page


def test_a_page_of_two_cameras_has_a_section_for_each_and_says_which_is_not_covered() -> None:
    layers = [LayerGap("last", 1.0, 0.1, 0.1)]
    source, dark = pictures(24, 0), pictures(24, 1, exposure=-4.0)
    front = CameraGap("front", layers, factors(source, source, SPACE))
    side = CameraGap("side", [LayerGap("last", 1.5, 0.1, 0.1)], factors(source, dark, SPACE))
    page = gap_page("a", [front, side])
    assert page.index("<h2>Camera front") < page.index("<h2>Camera side")
    missing, untold = page[page.index("does not cover") : page.index("A-distance")].split("does not tell of")
    assert "exposure (side)" in missing
    assert "exposure (front)" not in missing
    assert "exposure (front)" in untold  # these boxes differ in brightness by more than exposure does
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
