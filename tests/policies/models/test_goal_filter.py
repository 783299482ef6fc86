"""The goal filter: a mean that small predicted stds dominate, and bundles with a memory."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.bundle import BundleError, PolicyBundle
from policies.imitation.camera_run import (
    TrainConfig,
    camera_contract,
    export_student,
    untrained,
)
from policies.imitation.geometry import fit_geometry
from policies.models.camera_policy import CameraPolicy
from policies.models.camera_student import CameraStudent
from policies.models.filters.goal_filter import GoalFilter
from policies.models.restore import restore_student
from robots.registry import load_robot
from sim.datasets.labelled_renders import draw_renders
from sim.env import ArmEnv
from sim.tasks.recipe import PerceptionRecipe

PANDA = load_robot("franka_panda")
SMALL = PerceptionRecipe(channels=8, forgetting_factors=(0.98,))


def filtered(
    looks: list[list[float]], stds: list[float], forgetting_factors: tuple[float, ...] = (1.0,), hand: float = 0.0
) -> torch.Tensor:
    """The first position after estimates `looks` of it, (3,); any others have the same. The hand is at x = `hand`."""
    goal_filter = GoalFilter(forgetting_factors)
    memory = tuple(torch.zeros(1, *shape) for shape in goal_filter.memory.values())
    places, ee_pos = torch.zeros(1, 3), torch.tensor([[hand, 0.0, 0.0]])
    for look, std in zip(looks, stds):
        ways = (torch.tensor([look]) - ee_pos).repeat(1, len(forgetting_factors))
        std_of_all = torch.full((1, len(forgetting_factors)), std)
        places, *memory = goal_filter(ee_pos, ways, std_of_all, *memory)  # type: ignore[assignment]
    return places[0, :3]


def test_a_small_std_outweighs_many_large_ones() -> None:
    torch.testing.assert_close(filtered([[1.0, 2.0, 3.0]], [0.3]), torch.tensor([1.0, 2.0, 3.0]))  # the first counts
    equal = filtered([[0.0, 0.0, 0.0], [0.2, 0.0, 0.0]], [0.01, 0.01])
    torch.testing.assert_close(equal, torch.tensor([0.1, 0.0, 0.0]))
    twice = filtered([[0.0, 0.0, 0.0], [0.2, 0.0, 0.0]], [0.01, 0.02])  # 2⁻⁴ of the weight
    torch.testing.assert_close(twice, torch.tensor([0.2 / 17, 0.0, 0.0]))
    misled = filtered([[0.5, 0.0, 0.1]] + 30 * [[0.0, 0.0, 0.1]] + [[0.5, 0.0, 0.1]], [0.05] + 30 * [0.01] + [0.05])
    assert abs(misled[0]) < 1e-3


def test_old_estimates_are_forgotten() -> None:
    looks = 40 * [[0.0, 0.0, 0.0]] + 40 * [[0.1, 0.0, 0.0]]
    stds = 80 * [0.01]
    assert filtered(looks, stds, forgetting_factors=(0.8,))[0] > 0.0999
    assert filtered(looks, stds, forgetting_factors=(1.0,))[0] == pytest.approx(0.05, abs=1e-6)
    # an object beside the hand may have been moved by it; elsewhere the largest factor holds
    assert filtered(looks, stds, forgetting_factors=(0.8, 1.0), hand=0.05)[0] > 0.0999
    assert filtered(looks, stds, forgetting_factors=(0.8, 1.0), hand=0.30)[0] == pytest.approx(0.05, abs=1e-6)
    with pytest.raises(ValueError, match=r"forgetting factors are \(1.2,\), expected numbers from 0 to 1"):
        GoalFilter([1.2])


@pytest.mark.slow
def test_a_geometry_learns_by_how_much_it_is_wrong() -> None:
    torch.manual_seed(0)
    student = untrained(TrainConfig(Path("unused"), cameras="front", perception=SMALL))
    generator = torch.Generator().manual_seed(1)
    q = torch.tensor([PANDA.home]) + 0.1 * torch.randn(6_000, 7, generator=generator)
    points = torch.zeros(6_000, student.encoder.heat.out_channels, 3)
    way = 0.05 * torch.randn(6_000, 3, generator=generator)
    noisy = torch.arange(6_000) % 2 == 1
    points[:, 0, :2] = way[:, :2] / 0.2 + 0.1 * noisy[:, None] * torch.randn(6_000, 2, generator=generator)
    points[:, 0, 2] = noisy.float()  # a wide map: the look is 2 cm off on each axis
    points[:, 1, 0] = way[:, 2] / 0.2
    fit_geometry(student, points, q, way, PerceptionRecipe(geometry_steps=600), 0, lambda *_: None)
    with torch.no_grad():
        located, stds = student.estimate(points, q)
    error = (located - way).norm(dim=1)
    for rows in (noisy, ~noisy):
        assert float(stds[rows].mean()) == pytest.approx(float(error[rows].mean()), rel=0.5)
    assert stds[noisy].median() > 3 * stds[~noisy].median()


@pytest.fixture(scope="module")
def student() -> CameraStudent:
    torch.manual_seed(2)
    return untrained(TrainConfig(Path("unused"), perception=SMALL)).eval()


@pytest.mark.slow
def test_a_bundle_remembers_as_its_network_does(student: CameraStudent, tmp_path: Path) -> None:
    with closing(ArmEnv("reach", "franka_panda", "nominal", "cameras")) as env:
        renders = draw_renders(env, 25, seed=0)
    contract = camera_contract("reach", "franka_panda", "front_side")
    export_student("keen", student, contract, renders, {}).save(tmp_path / "keen")
    bundle = PolicyBundle.load(tmp_path / "keen")
    assert bundle.memory == {"completion": (1,), "places": (3,), "weights": (1,)}
    assert bundle.check_parity() <= 1e-5
    np.testing.assert_array_equal(bundle.parity["begin"][:4], [True, False, True, False])
    restored = restore_student(bundle)
    described = {key: value for key, value in bundle.network.items() if key != "refiners"}
    with pytest.raises(BundleError, match="written by another version: its network is described without refiners"):
        restore_student(replace(bundle, network=described))
    assert float(restored.filter.forgetting_factors) == pytest.approx(0.98)
    act = CameraPolicy(restored, bundle.observation.names)
    rows = {name: bundle.parity[f"observation.{name}"] for name in bundle.observation.names}
    act.begin(1)
    memory = bundle.fresh_memory()
    for i in (0, 2, 4, 6):  # other moments, as if of one episode
        look = {name: array[i] for name, array in rows.items()}
        action = act({name: array[None] for name, array in look.items()})[0]
        np.testing.assert_allclose(bundle.act(look, memory), action, atol=1e-4)
    act.begin(1)
    alone = act({name: array[6:7] for name, array in rows.items()})
    assert np.abs(alone - action).max() > 1e-3  # what was seen before counts


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: TrainConfig(Path("x"), perception=PerceptionRecipe(forgetting_factors=(0.9, 0.9))).validate(),
            "expected one for each of goal",
        ),
        (
            lambda: TrainConfig(Path("x"), "push", perception=PerceptionRecipe(forgetting_factors=(0.9,))).validate(),
            "object_pos, goal",
        ),
        (
            lambda: PerceptionRecipe(forgetting_factors=(1.5,)).validate(),
            r"forgetting_factors are \(1.5,\), expected numbers",
        ),
    ],
)
def test_wrong_forgetting_factors_are_refused(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
