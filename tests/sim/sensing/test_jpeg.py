"""The round trip of a JPEG, against OpenCV's real files."""

import cv2
import numpy as np
import pytest

from sim.sensing.jpeg import jpeg

QUALITIES = (5, 20, 49, 52, 75, 95)


def scene(height, width, seed=0):
    """A picture like ours: smooth shades, edges, and the sensor's noise."""
    rng = np.random.default_rng(seed)
    picture = cv2.GaussianBlur(rng.uniform(0, 255, (height, width, 3)).astype(np.float32), (0, 0), 6)
    picture = cv2.normalize(picture, None, 20, 235, cv2.NORM_MINMAX)
    for _ in range(6):
        x, y, w, h = rng.integers((0, 0, 8, 8), (width - 8, height - 8, width // 2, height // 2))
        picture[y : y + h, x : x + w] = rng.uniform(0, 255, 3)
    return np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def through_a_file(image, quality):
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize("size", [(84, 84), (64, 64), (85, 91), (96, 128)])
@pytest.mark.parametrize("quality", QUALITIES)
def test_it_loses_what_a_file_loses(size, quality):
    """Coefficients half-way between two steps go either way; the loss as a whole is the same."""
    image = scene(*size)
    ours, theirs = (f(image, quality).astype(float) for f in (jpeg, through_a_file))
    loss, same_loss = np.abs(ours - image).mean(), np.abs(theirs - image).mean()
    assert loss == pytest.approx(same_loss, rel=0.03)
    assert np.abs(ours - theirs).mean() < max(0.2 * same_loss, 0.6), "far from a file's picture"
    assert np.abs((ours - theirs).mean(axis=(0, 1))).max() < 0.05 * same_loss, "a shift in colour"


def test_the_difference_is_half_way_cases_only():
    """At quality 5 few coefficients are left, and nearly none lies half-way."""
    image = scene(96, 96)
    difference = np.abs(jpeg(image, 5).astype(int) - through_a_file(image, 5))
    assert np.quantile(difference, 0.97) <= 2


def test_edges_of_odd_pictures_are_kept():
    image = np.full((37, 53, 3), (200, 30, 90), np.uint8)
    assert np.abs(jpeg(image, 60).astype(int) - image).max() <= 3


def test_the_image_is_left_as_it_is():
    image = scene(84, 84)
    before = image.copy()
    jpeg(image, 40)
    np.testing.assert_array_equal(image, before)


def test_a_wrong_table_would_be_seen():
    """The bound of the first test tells a picture of another quality apart."""
    image = scene(84, 84)
    theirs = through_a_file(image, 75).astype(float)
    assert np.abs(jpeg(image, 45) - theirs).mean() > 0.2 * np.abs(theirs - image).mean()
