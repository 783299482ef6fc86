import dataclasses

import cv2
import numpy as np
import pytest

from sim.sensing.image_disturbance import DisturbanceError, ImageDisturbance, disturb


def picture(height: int = 60, width: int = 80) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def grey(level: int, height: int = 60, width: int = 80) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def apply(image: np.ndarray, seed: int = 0, **effects: float) -> np.ndarray:
    return disturb(image, ImageDisturbance(**effects), np.random.default_rng(seed))


def test_zero_is_the_identity_and_draws_nothing():
    image, rng = picture(), np.random.default_rng(0)
    assert np.array_equal(disturb(image, ImageDisturbance(), rng), image)
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state


@pytest.mark.parametrize(
    "effects",
    [
        {"exposure": 0.7},
        {"white_balance": 0.3},
        {"tint": -0.2},
        {"gamma": 0.3},
        {"vignetting": 0.5},
        {"blur": 0.8},
        {"motion_blur": 4.0},
        {"shot_noise": 0.03},
        {"read_noise": 0.01},
        {"jpeg": 0.4},
    ],
)
def test_every_effect_changes_the_picture_and_leaves_its_source(effects):
    image = picture()
    before = image.copy()
    result = apply(image, **effects)
    assert result.shape == image.shape
    assert result.dtype == np.uint8
    assert not np.array_equal(result, before)
    assert np.array_equal(image, before)
    assert np.array_equal(apply(image, **effects), result)


def test_a_stop_is_twice_the_light():
    for level in (40, 100, 150):
        brighter = apply(grey(level), exposure=1.0)[0, 0, 0]
        assert (brighter / 255) ** 2.2 == pytest.approx(2 * (level / 255) ** 2.2, rel=0.03)
    assert apply(grey(240), exposure=2.0).max() == 255


def test_white_balance_moves_red_against_blue_only():
    red, green, blue = apply(grey(100), white_balance=0.5)[0, 0].astype(int)
    assert red > 100 > blue
    assert green == 100


def test_gamma_keeps_black_and_white():
    assert (apply(grey(0), gamma=0.5) == 0).all()
    assert (apply(grey(255), gamma=0.5) == 255).all()
    assert apply(grey(128), gamma=0.5)[0, 0, 0] < 110


def test_vignetting_takes_the_stated_light_from_the_corners_and_none_from_the_middle():
    result = apply(grey(200, 61, 81), vignetting=0.5).astype(float)
    assert result[30, 40, 0] == 200
    corner = (result[0, 0, 0] / 200) ** 2.2
    assert corner == pytest.approx(0.5, abs=0.02)
    assert np.array_equal(result, result[::-1, ::-1])


def test_blur_spreads_a_point_by_its_standard_deviation():
    image = grey(0, 41, 41)
    image[20, 20] = 255
    result = apply(image, blur=2.0)[..., 0].astype(float)
    x = np.arange(41) - 20
    profile = result.sum(axis=0)
    assert np.sqrt((profile * x**2).sum() / profile.sum()) == pytest.approx(2.0, abs=0.35)


@pytest.mark.parametrize("sigma", [0.3, 0.7, 1.4])
def test_blur_is_opencvs(sigma):
    image = picture()
    side = 2 * max(1, round(3 * sigma)) + 1
    expected = cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REPLICATE)
    assert np.abs(apply(image, blur=sigma).astype(int) - expected).max() <= 1


def test_blur_smear_and_vignetting_together_are_one_after_the_other():
    image = picture()
    strengths = {"vignetting": 0.4, "blur": 0.6, "motion_blur": 2.5}
    expected = image
    for name, value in strengths.items():
        expected = apply(expected, motion_angle=0.7, **{name: value})
    together = apply(image, motion_angle=0.7, **strengths)
    inside = (slice(4, -4), slice(4, -4))  # beyond the edge, what is repeated differs
    assert np.abs(together.astype(int) - expected)[inside].max() <= 2  # rounded once instead of three times


def test_motion_blur_smears_along_its_direction_only():
    image = grey(0, 41, 41)
    image[20, 20] = 255
    along = apply(image, motion_blur=9.0)[..., 0]
    assert set(np.nonzero(along)[0]) == {20}
    columns = np.nonzero(along)[1]
    assert 8 <= np.ptp(columns) <= 10
    assert columns.mean() == 20
    down = apply(image, motion_blur=9.0, motion_angle=np.pi / 2)[..., 0]
    assert set(np.nonzero(down)[1]) == {20}


def test_noise_is_unbiased_and_stronger_in_the_dark():
    def spread(level: int) -> float:
        result = apply(grey(level, 200, 200), shot_noise=0.02, read_noise=0.003).astype(float)
        assert abs(result.mean() - level) < 0.5
        return float(result.std())

    assert spread(40) > 1.5 * spread(120) > 1.5 * spread(200) > 1.5
    bright = apply(grey(200, 200, 200), shot_noise=0.05).astype(float)
    light = (bright / 255) ** 2.2
    assert light.std() == pytest.approx(0.05 * np.sqrt((200 / 255) ** 2.2), rel=0.05)


def test_less_light_has_more_noise_in_proportion():
    image = grey(180, 200, 200)
    full = apply(image, shot_noise=0.03).astype(float)
    dark = apply(image, shot_noise=0.03, exposure=-3.0).astype(float)
    assert dark.std() / dark.mean() > 2 * full.std() / full.mean()


def test_noise_looks_normal_and_comes_from_the_generator():
    noise = apply(grey(128, 300, 300), read_noise=0.05).astype(float) - 128
    within = np.mean(np.abs(noise - noise.mean()) < noise.std())
    assert within == pytest.approx(0.683, abs=0.02)
    assert not np.array_equal(apply(grey(128), 1, read_noise=0.02), apply(grey(128), 2, read_noise=0.02))


def test_noise_is_white():
    noise = apply(grey(128, 200, 201), read_noise=0.05).astype(float)
    noise -= noise.mean()
    variance = (noise**2).mean()
    other = apply(grey(128, 200, 201), 1, read_noise=0.05).astype(float)
    pairs = [(noise[1:], noise[:-1]), (noise[:, 1:], noise[:, :-1]), (noise[..., 1:], noise[..., :-1])]
    pairs.append((noise, other - other.mean()))
    for a, b in pairs:  # at least 80,000 pairs: the standard deviation of each figure is 0.0035 or less
        assert abs((a * b).mean() / variance) < 0.02


def test_jpeg_worsens_with_its_strength():
    image = np.kron(picture(12, 16), np.ones((5, 5, 1))).astype(np.uint8)
    errors = [np.abs(apply(image, jpeg=q).astype(int) - image).mean() for q in (0.1, 0.5, 0.95)]
    assert 0 < errors[0] < errors[1] < errors[2]


def test_bad_input_is_refused():
    with pytest.raises(DisturbanceError, match="blur is -1"):
        ImageDisturbance(blur=-1)
    with pytest.raises(DisturbanceError, match="jpeg is 2"):
        ImageDisturbance(jpeg=2)
    with pytest.raises(DisturbanceError, match="exposure is nan"):
        ImageDisturbance(exposure=float("nan"))
    with pytest.raises(DisturbanceError, match="float32"):
        apply(grey(1).astype(np.float32), exposure=1.0)
    with pytest.raises(DisturbanceError, match=r"\(60, 80\)"):
        apply(grey(1)[..., 0], exposure=1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        ImageDisturbance().blur = 1.0
