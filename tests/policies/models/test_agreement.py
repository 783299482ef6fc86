"""Two cameras' first looks at one point: what one sees plainly tells the other which of its guesses is right."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from policies.imitation.cloning import count_agreements
from policies.models.cross_view import Agreement
from policies.models.keypoint_student import KeypointEncoder
from sim.datasets.labelled_renders import LabelledRenders


def maps(rows: list[int], cells: int = 4) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(rows), cells).float()


def test_what_one_camera_sees_decides_between_the_others_guesses() -> None:
    agreement = Agreement(4)
    untaught = agreement(torch.eye(4), torch.eye(4))
    torch.testing.assert_close(torch.softmax(untaught[0], 1), torch.softmax(torch.eye(4), 1))  # nothing was counted
    cells = list(range(4))
    agreement.count(maps(cells), maps(cells[::-1]))  # the second camera sees the other way round
    torn, sure = torch.tensor([[4.0, 3.8, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 9.0, 0.0]])  # the first prefers 0
    first, second = (torch.softmax(each, 1)[0] for each in agreement(torn, sure))
    assert first.argmax() == 1  # which is 2 to the second camera
    assert second.argmax() == 2
    # by Bayes' rule, by hand: p(i | both) ∝ p(i | first) Σ_j p(j | second) p(i, j) / p(i) p(j)
    p, q = torch.softmax(torn, 1)[0], torch.softmax(sure, 1)[0]
    expected = p * (4 * q.flip(0) + 0.03)
    torch.testing.assert_close(first, expected / expected.sum(), atol=1e-5, rtol=1e-4)


def test_a_blind_camera_does_not_disturb_the_other() -> None:
    agreement = Agreement(4)
    agreement.count(maps([0, 1, 2, 3]), maps([0, 1, 2, 3]))
    look = torch.tensor([[5.0, 1.0, 0.0, 2.0]])
    heard, _ = agreement(look, torch.zeros(1, 4))
    torch.testing.assert_close(torch.softmax(heard, 1), torch.softmax(look, 1), atol=1e-6, rtol=1e-5)
    wrong = torch.tensor([[0.0, 99.0, 0.0, 0.0]])
    certain = torch.tensor([[30.0, 0.0, 0.0, 0.0]])
    assert agreement(certain, wrong)[0].argmax() == 0  # nor does one that is wrong, where the other is sure


def test_an_encoder_counts_its_views_and_lets_cameras_hear_each_other_on_the_things_alone() -> None:
    torch.manual_seed(0)
    encoder = KeypointEncoder(2, 84, 84, channels=8, agreements=1).eval()
    rng = np.random.default_rng(0)
    pixels = rng.uniform(10, 70, (400, 2, 2)).astype(np.float32)
    mirrored = pixels.copy()
    mirrored[..., 0] = 80 - mirrored[..., 0]
    mirrored[0] = np.nan  # behind a camera: not counted
    empty = np.zeros((400, 0), np.float32)
    first, second = (LabelledRenders(empty, empty, empty, each, empty, empty) for each in (pixels, mirrored))
    count_agreements(encoder, first, second)
    grid = encoder.to_pixels(encoder.grid).numpy()
    ratio = encoder.agreements[0].ratio.numpy()  # type: ignore[union-attr]
    cell = int(np.abs(grid - [20, 40]).sum(1).argmin())
    np.testing.assert_allclose(grid[ratio[cell].argmax()], [60, 40], atol=4)
    image = 2 * torch.rand(2, 3, 84, 84) - 1
    with torch.no_grad():
        alone, heard = encoder(image), encoder(image, 2)
    assert (alone[:, 0] - heard[:, 0]).abs().max() > 1e-3
    torch.testing.assert_close(alone[:, 1], heard[:, 1])
    with pytest.raises(ValueError, match="3 agreements for 2 keypoints"):
        KeypointEncoder(2, 84, 84, agreements=3)
