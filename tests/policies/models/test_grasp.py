"""What the fingers tell: when they hold something, and where it is then."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from policies.imitation.camera_run import TrainConfig, untrained
from policies.models.camera_student import CameraStudent
from policies.models.filters.goal_filter import POWER, REFERENCE_STD
from policies.models.filters.grasp import ASIDE, Grasp
from robots.registry import load_robot
from sim.tasks.recipe import PerceptionRecipe

PANDA = load_robot("franka_panda")
assert PANDA.gripper is not None
GRASP = Grasp(PANDA.gripper)
FELT = (ASIDE / REFERENCE_STD) ** -POWER


@pytest.mark.parametrize(
    ("opening", "before", "held"),
    [
        (0.020, 0.0203, True),  # stopped on a cube of 4 cm
        (0.020, 0.0250, False),  # on their way
        (0.0400, 0.0400, False),  # wide open
        (0.0005, 0.0005, False),  # closed on nothing
    ],
)
def test_fingers_that_have_stopped_half_way_hold_something(opening: float, before: float, held: bool) -> None:
    assert bool(GRASP.holds(torch.tensor([[opening]]), torch.tensor([[before]]))) is held


def test_what_is_held_goes_along_and_is_where_the_fingers_are() -> None:
    before, hand = torch.tensor([[0.4, 0.0, 0.1]]), torch.tensor([[0.4, 0.1, 0.3]])
    seen, goal = torch.tensor([[0.41, 0.0, 0.1]]), torch.tensor([[0.5, 0.2, 0.0]])
    sums, weights = torch.cat([5.0 * seen, 2.0 * goal], dim=1), torch.tensor([[5.0, 2.0]])
    opening = torch.tensor([[0.02]])
    moved, heavier = GRASP(torch.tensor([[True]]), opening, hand, before, sums, weights)
    expected = (5.0 * (seen + hand - before) + FELT * hand) / (5.0 + FELT)  # 1 cm beside the hand as before, or less
    torch.testing.assert_close(moved[:, :3] / heavier[:, :1], expected)
    torch.testing.assert_close(moved[:, 3:] / heavier[:, 1:], goal)  # it stays where it is
    for kept, same in zip(GRASP(torch.tensor([[False]]), opening, hand, before, sums, weights), (sums, weights)):
        torch.testing.assert_close(kept, same)


@pytest.mark.parametrize(("aside", "known"), [(0.02, 0.0), (0.08, 5.0)])
def test_what_should_be_between_fingers_that_closed_on_nothing_is_forgotten(aside: float, known: float) -> None:
    hand = torch.tensor([[0.4, 0.0, 0.1]])
    place = hand + torch.tensor([[aside, 0.0, 0.0]])
    sums, weights = torch.cat([5.0 * place, 2.0 * hand], dim=1), torch.tensor([[5.0, 2.0]])
    _, after = GRASP(torch.tensor([[False]]), torch.tensor([[0.0005]]), hand, hand, sums, weights)
    torch.testing.assert_close(after, torch.tensor([[known, 2.0]]))  # of the goal it says nothing


def lift(student: CameraStudent, openings: list[float]) -> torch.Tensor:
    """The thing's believed place minus the hand's (3,) [m], after looks that see it where it was at first.

    The hand rises by 5 cm an action, its fingers with those `openings`.
    """
    q, memory = (
        torch.tensor([PANDA.home], dtype=torch.float32),
        [torch.zeros(1, *s) for s in student.filter.memory.values()],
    )
    rest = student.kinematics(q)
    image = torch.zeros(1, 84, 84, 3, dtype=torch.uint8)
    place = rest.clone()
    for i, opening in enumerate(openings):
        hand = rest + torch.tensor([[0.0, 0.0, 0.05 * i]])
        student.kinematics.forward = lambda q, hand=hand: hand  # type: ignore[method-assign]
        ways = torch.cat([rest - hand, rest - hand], dim=1)
        student.estimate = lambda *_, ways=ways: (ways, torch.full((1, 2), 0.02))  # type: ignore[method-assign]
        both = torch.ones(1, 2)
        told, *_, following = student.detect(q, torch.tensor([[opening]]), image, image, both, *memory)
        memory, place = list(following), told["object_pos"] - hand
    return place[0]


def test_a_student_moves_a_grasped_object_with_the_hand_where_estimates_lag() -> None:
    config = TrainConfig(
        Path("unused"),
        "pick_place",
        cameras="front_side",
        perception=PerceptionRecipe(channels=8, forgetting_factors=(0.7, 0.98)),
    )
    student = untrained(config).eval()
    assert list(student.filter.memory) == ["places", "weights", "hand_before", "opening_before"]
    assert lift(student, [0.02] * 4)[2] > -0.01
    assert lift(student, [0.04] * 4)[2] < -0.1
    assert (
        "hand_before" not in untrained(TrainConfig(Path("unused"), "push", perception=config.perception)).memory
    )  # nobody grasps in pushing
