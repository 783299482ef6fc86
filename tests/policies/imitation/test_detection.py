"""Keypoints of many images at once: the same as the encoder's own, in whatever batches and precision."""

from __future__ import annotations

import torch

from policies.imitation.detection import BATCH, detect, detect_all
from policies.models.camera_student import CameraStudent
from policies.models.keypoint_encoder import as_network_image
from sim.datasets.labelled_renders import LabelledRenders
from tests.policies.models.test_camera_masks import new_student
from tests.support.dots import dots

SCENES = BATCH + 5


def own(student: CameraStudent, views: tuple[LabelledRenders, ...], weight: float) -> torch.Tensor:
    """What the encoder finds in all images at once, each camera's map weighing so much for the other's."""
    images = torch.cat([torch.from_numpy(each.images) for each in views])
    mask = torch.full((SCENES, len(views)), weight)
    with torch.no_grad():
        return torch.cat(student.encoder(as_network_image(images), len(views), mask).chunk(len(views)), dim=1)


def test_keypoints_are_those_of_the_encoder_in_both_images_and_in_each_alone() -> None:
    student, views = new_student("front_side"), (dots(SCENES, 0), dots(SCENES, 1))
    for prior in student.encoder.cross_view_priors:  # the second camera's maps, whatever they are, mean the last rows
        assert isinstance(prior.ratio, torch.Tensor)
        prior.ratio.copy_(torch.linspace(0.0, 5.0, len(prior.ratio))[:, None].expand_as(prior.ratio))
    together, alone = detect_all(student, views)
    assert alone is not None
    exact = detect(student.encoder, *(each.images for each in views))
    torch.testing.assert_close(exact, own(student, views, 1.0), rtol=0, atol=1e-4)
    half = student.encoder.from_pixels(torch.full((2,), 42.5)) - student.encoder.from_pixels(torch.full((2,), 42.0))
    for found, weight in ((together, 1.0), (alone, 0.0)):
        off = (found - own(student, views, weight))[..., :2].abs()
        assert off.median() < half[0], "half a pixel: bfloat16, where that is fast"
    assert (together - alone).abs().max() > half[0]


def test_one_camera_is_not_detected_twice() -> None:
    student = new_student("front")
    found, alone = detect_all(student, (dots(SCENES, 0),))
    assert found.shape == (SCENES, student.encoder.heat.out_channels, 3)
    assert alone is None
