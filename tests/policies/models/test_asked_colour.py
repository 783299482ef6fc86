"""The planes that a colour that is asked for adds: they point where the image has its hue, however bright it is."""

from __future__ import annotations

import pytest
import torch

from policies.bundle import BundleError
from policies.models.asked_colour import PLANES, asked_planes
from policies.models.crop_refiner import SIDE
from policies.models.keypoint_encoder import KeypointEncoder, as_network_image
from policies.models.surgery import carry_encoder
from sim.randomization.named_colours import COLOURS


def image_of(rgb: tuple[float, ...], brightness: float = 1.0) -> torch.Tensor:
    """An image (1, 3, 2, 2) in [-1, 1] of one colour in [0, 1]."""
    return (2.0 * brightness * torch.tensor(rgb) - 1.0)[None, :, None, None].expand(1, 3, 2, 2)


@pytest.mark.parametrize("name", COLOURS)
def test_the_colour_itself_lies_along_and_grey_nowhere(name: str) -> None:
    rgb = COLOURS[name].reference
    along, across = asked_planes(image_of(rgb), torch.tensor([rgb]))[0, :, 0, 0].tolist()
    assert along > 0.4
    assert across == pytest.approx(0.0, abs=1e-5)
    grey = asked_planes(image_of((0.5, 0.5, 0.5)), torch.tensor([rgb]))
    torch.testing.assert_close(grey, torch.zeros(1, PLANES, 2, 2), atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("name", COLOURS)
def test_half_the_light_changes_little(name: str) -> None:
    rgb = COLOURS[name].reference
    bright, dim = (asked_planes(image_of(rgb, light), torch.tensor([rgb]))[0, 0, 0, 0] for light in (1.0, 0.5))
    assert dim > 0.75 * bright


def test_every_other_name_points_another_way() -> None:
    """The angle between two names is that between their chromaticities, whichever is asked for."""
    for asked in COLOURS.values():
        for other in COLOURS.values():
            planes = asked_planes(image_of(other.reference), torch.tensor([asked.reference]))[0, :, 0, 0]
            angle = float(torch.rad2deg(torch.atan2(planes[1].abs(), planes[0])))
            assert angle < 1e-2 if other is asked else angle > 15.0


def test_an_image_without_a_colour_that_is_asked_for_stays_as_it_was() -> None:
    image = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
    plain = as_network_image(image)
    assert plain.shape == (2, 3, 8, 8)
    asked = as_network_image(image, torch.rand(2, 2, 3))
    assert asked.shape == (2, 3 + 2 * PLANES, 8, 8)
    torch.testing.assert_close(asked[:, :3], plain)


def test_an_encoder_for_one_thing_is_carried_over_and_does_at_first_what_it_did() -> None:
    source, target = KeypointEncoder(2, 84, 84, 8).eval(), KeypointEncoder(2, 84, 84, 8, asked=1).eval()
    names = ("object", "hand")
    surgery = carry_encoder(source, names, target, names)
    image = torch.randint(0, 256, (2, 84, 84, 3), dtype=torch.uint8)
    torch.testing.assert_close(target(as_network_image(image, torch.rand(2, 1, 3))), source(as_network_image(image)))
    assert surgery.masks["features.1.0.weight"][:, :12].all()
    assert not surgery.masks["features.1.0.weight"][:, 12:].any()
    with pytest.raises(BundleError, match="asked for 1 colours, the new one for 0; give --things"):
        carry_encoder(target, names, source, names)


def test_an_encoder_takes_them_and_a_published_one_refuses() -> None:
    encoder = KeypointEncoder(3, 84, 84, 8, refiners=1, asked=1).eval()
    image = torch.randint(0, 256, (2, 84, 84, 3), dtype=torch.uint8)
    assert SIDE < 84
    red, blue = (
        encoder(as_network_image(image, torch.tensor([[colour]] * 2))) for colour in ((1.0, 0, 0), (0, 0, 1.0))
    )
    assert red.shape == (2, 3, 3)
    assert (red - blue).abs().max() > 1e-4
    with pytest.raises(ValueError, match="'resnet18' takes plain images"):
        KeypointEncoder(3, 84, 84, 8, name="resnet18", asked=1)
