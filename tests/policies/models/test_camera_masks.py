"""A student of several cameras takes any subset of them: what a masked camera shows changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from policies.imitation.camera_run import TrainConfig, untrained
from policies.imitation.geometry import evidence_of, fit_geometry
from policies.models.camera_student import CameraStudent
from robots.registry import load_robot
from sim.tasks.recipe import PerceptionRecipe

PANDA = load_robot("franka_panda")
SMALL = PerceptionRecipe(channels=8, refiner_steps=(1,))
HOME = torch.tensor([PANDA.home])


def new_student(cameras: str) -> CameraStudent:
    torch.manual_seed(0)
    student = untrained(TrainConfig(Path("unused"), cameras=cameras, perception=SMALL)).eval()
    for prior in student.encoder.cross_view_priors:
        prior.ratio.copy_(5.0 * torch.rand_like(prior.ratio))  # each camera says much about the other's map
    return student


def act(student: CameraStudent, images: torch.Tensor, mask: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first action and the predicted std with `images` (2, H, W, 3) and a mask."""
    calibration = torch.tensor([[80.0, 80.0, 41.5, 41.5, 0, 1, 0, 1.2, 1, 0, 0, 0, 0, 0, -1, 0.7]])
    calibrations = [calibration.float()] * len(student.calibrated)
    memory = [torch.zeros(1, *shape) for shape in student.memory.values()]
    with torch.no_grad():
        action, *_, stds, _ = student(HOME, *calibrations, *images[:, None], torch.tensor([mask]), *memory)
    return action, stds


@pytest.mark.parametrize("cameras", ["front_side", "random"])
def test_a_masked_camera_changes_nothing(cameras: str) -> None:
    student = new_student(cameras)
    generator = torch.Generator().manual_seed(1)
    first, second, other = torch.randint(0, 256, (3, 84, 84, 3), generator=generator, dtype=torch.uint8)
    for mask, one, two in (
        ([0.0, 1.0], torch.stack([first, second]), torch.stack([other, second])),
        ([1.0, 0.0], torch.stack([first, second]), torch.stack([first, other])),
    ):
        for masked, changed, both in zip(act(student, one, mask), act(student, two, mask), act(student, one, [1, 1])):
            torch.testing.assert_close(masked, changed, rtol=0, atol=0)
            assert not torch.equal(masked, both)
        assert not torch.equal(act(student, one, [1, 1])[1], act(student, two, [1, 1])[1])


def test_a_student_of_one_camera_takes_no_mask() -> None:
    student = untrained(TrainConfig(Path("unused"), cameras="front", perception=SMALL))
    assert not student.maskable
    assert student.masks.tolist() == [[1.0]]
    assert new_student("front_side").masks.tolist() == [[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]


@pytest.mark.slow
def test_a_geometry_learns_to_do_without_each_camera() -> None:
    """The first camera shows the place to 1 cm, the second to 3 cm; both together are best, and it knows all that."""
    student = new_student("front_side")
    generator = torch.Generator().manual_seed(1)
    N, K = 4_000, student.encoder.heat.out_channels
    q = HOME + 0.1 * torch.randn(N, 7, generator=generator)
    way = 0.05 * torch.randn(N, 3, generator=generator)
    points = torch.zeros(N, 2, K, 3)
    points[..., 2] = 0.05
    for camera, error in enumerate((0.01, 0.03)):
        shown = (way + error / 3**0.5 * torch.randn(N, 3, generator=generator)) / 0.2
        points[:, camera, 0, :2], points[:, camera, 1, 0] = shown[:, :2], shown[:, 2]
    fit_geometry(student, points.flatten(1, 2), q, way, PerceptionRecipe(geometry_steps=300), 0, lambda *_: None)
    off, predicted = [], []
    with torch.no_grad():
        for mask in student.masks:
            evidence = evidence_of(student, mask, points.flatten(1, 2), None, q, None)
            places, stds = student.from_evidence(evidence)
            off.append(float((places - way).norm(dim=1).mean()))
            predicted.append(float(stds.mean()))
    assert off[0] < 0.011
    assert off[1] < 0.013
    assert 0.018 < off[2] < 0.035  # a place that is not seen at all is 8 cm off
    torch.testing.assert_close(torch.tensor(predicted), torch.tensor(off), rtol=0.3, atol=0.0)
