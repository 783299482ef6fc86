"""What a closed hand tells: nothing is where it is, and what seems to be has been pushed on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from policies.imitation.camera_run import TrainConfig, untrained
from policies.models.camera_student import CameraStudent
from policies.models.filters.contact import CLEAR, LOW, outside_hand, sums_outside_hand
from policies.scoring.evaluator import FullLengthEnv
from policies.scoring.wrappers import EXPERT
from robots.registry import load_robot
from sim.tasks.motion import FINGER_SLANT
from sim.tasks.recipe import PerceptionRecipe

PANDA = load_robot("franka_panda")
HAND = torch.tensor([[0.5, 0.1, 0.02]])


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ([0.51, 0.1, 0.02], [0.5 + CLEAR, 0.1, 0.02]),  # in the hand: straight away from it
        ([0.5, 0.09, 0.02], [0.5, 0.1 - CLEAR - FINGER_SLANT, 0.02]),  # whose sides slant
        ([0.56, 0.1, 0.02], [0.56, 0.1, 0.02]),  # before it
        ([0.51, 0.1, 0.02 - LOW - 0.01], [0.51, 0.1, 0.02 - LOW - 0.01]),  # under it
    ],
)
def test_what_is_where_a_low_hand_is_has_been_pushed_on(place: list[float], expected: list[float]) -> None:
    torch.testing.assert_close(outside_hand(HAND, torch.tensor([place])), torch.tensor([expected]))


def test_a_memory_is_pushed_with_its_weight_and_an_empty_one_stays_empty() -> None:
    sums, weights = torch.tensor([[2 * 0.51, 2 * 0.1, 2 * 0.02, 9.0, 9.0, 9.0]]), torch.tensor([[2.0, 3.0]])
    expected = torch.tensor([[2 * (0.5 + CLEAR), 0.2, 0.04, 9.0, 9.0, 9.0]])
    torch.testing.assert_close(sums_outside_hand(HAND, sums, weights), expected)
    nothing = torch.zeros(1, 6)
    torch.testing.assert_close(sums_outside_hand(HAND, nothing, torch.zeros(1, 2)), nothing)


def push(student: CameraStudent, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the thing is believed to be and where it is (3,) [m], after a hand has pushed it for `steps` of 8 mm.

    Looks see it where it was four actions ago.
    """
    q, memory = (
        torch.tensor([PANDA.home], dtype=torch.float32),
        [torch.zeros(1, *s) for s in student.filter.memory.values()],
    )
    image, places, told = torch.zeros(1, 84, 84, 3, dtype=torch.uint8), [], {}
    for step in range(steps):
        hand = HAND + torch.tensor([[0.008 * step, 0.0, 0.0]])
        places.append(hand + torch.tensor([[CLEAR, 0.0, 0.0]]))
        student.kinematics.forward = lambda q, hand=hand: hand  # type: ignore[method-assign]
        late = places[max(0, step - 4)] - hand
        ways = torch.cat([late, late], dim=1)
        student.estimate = lambda *_, ways=ways: (ways, torch.full((1, 2), 0.02))  # type: ignore[method-assign]
        told, *_, following = student.detect(q, image, image, torch.ones(1, 2), *memory)
        memory = list(following)
    return told["object_pos"][0], places[-1][0]


def test_a_student_moves_the_object_outside_the_hand_where_estimates_lag() -> None:
    config = TrainConfig(
        Path("unused"),
        "push",
        cameras="front_side",
        perception=PerceptionRecipe(channels=8, forgetting_factors=(0.7, 0.98)),
    )
    believed, true = push(untrained(config).eval(), 20)
    torch.testing.assert_close(believed, true, atol=1e-3, rtol=0.0)  # looks alone: 3 cm behind, in the hand


def test_a_pushed_object_is_outside_the_hand() -> None:
    """What is assumed holds in the simulator's contacts."""
    make, clear, touched = FullLengthEnv("push", exact=False), [], 0
    env = make()
    for seed in range(4):
        observation, _ = env.reset(seed=seed)
        for _ in range(120):
            observation, *_ = env.step(observation[EXPERT])
            way = observation["object_pos"] - observation["ee_pos"]
            if -way[2] < LOW:
                clear.append(float(np.hypot(*way[:2])))
                touched += clear[-1] < CLEAR + 0.01
    env.close()
    assert touched > 20
    assert min(clear) > CLEAR - 0.012


def test_closed_fingers_are_broader_along_y_than_along_x() -> None:
    apart: tuple[list[float], list[float]] = ([], [])
    env = FullLengthEnv("push", space="nominal", exact=False)()
    for seed in range(8):
        before, _ = env.reset(seed=seed)
        for _ in range(150):
            seen, *_ = env.step(before[EXPERT])
            way, moved = (seen["object_pos"] - seen["ee_pos"])[:2], seen["object_pos"] - before["object_pos"]
            gap, before = float(np.hypot(*way)), seen
            if np.linalg.norm(moved) > 1e-3 and abs(moved[2]) < 5e-4 and gap < 0.07 and way @ moved[:2] > 0.0:
                for axis in (0, 1):
                    if abs(way[axis]) > 0.9 * gap:
                        apart[axis].append(gap)
    env.close()
    assert min(len(gaps) for gaps in apart) > 30
    assert np.median(apart[1]) - np.median(apart[0]) == pytest.approx(FINGER_SLANT, abs=0.004)
