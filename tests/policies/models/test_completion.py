"""A camera policy knows when it is done, comes to rest, and starts again when success is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from policies.bundle.policy_bundle import COMPLETION, PolicyBundle
from policies.imitation.camera_run import TrainConfig, untrained
from policies.models.camera_student import RESTED, CameraStudent
from robots.registry import load_robot
from sim.tasks.recipe import PerceptionRecipe

HOME = torch.tensor([load_robot("franka_panda").home], dtype=torch.float32)
IMAGE = torch.full((1, 84, 84, 3), 90, dtype=torch.uint8)


def student_for(task: str) -> CameraStudent:
    torch.manual_seed(0)
    config = TrainConfig(Path("unused"), task, cameras="front", perception=PerceptionRecipe(channels=8))
    return untrained(config).eval()


def act(student: CameraStudent, logit: float, memory: list[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """One action where success has the logit `logit`."""
    student.action_head.success_logit = lambda row: torch.full((1, 1), logit)  # type: ignore[method-assign]
    measured = (HOME, torch.tensor([[0.04]])) if student.fingers else (HOME,)
    with torch.no_grad():
        action, *following = student(*measured, IMAGE, *memory)
    return action, following[: len(memory)]


def fresh(student: CameraStudent) -> list[torch.Tensor]:
    return [torch.zeros(1, *shape) for shape in student.memory.values()]


def test_it_is_done_once_success_has_lasted_and_then_comes_to_rest() -> None:
    student = student_for("reach")
    memory = fresh(student)
    assert next(iter(student.memory)) == COMPLETION
    assert student.hold_steps == 10  # half a second at 20 Hz
    asked, done = [], []
    for _ in range(32):
        action, memory = act(student, 3.0, memory)
        asked.append(float(action.abs().max()))
        done.append(PolicyBundle.is_done({COMPLETION: memory[0][0].numpy()}))
    assert done == [False] * 9 + [True] * 23
    assert asked[0] > 0
    assert asked[1:10] == pytest.approx([asked[0]] * 9, rel=1e-3)
    assert asked[19] == pytest.approx(asked[0] / 2, rel=1e-3)
    assert asked[29:] == pytest.approx([0.0] * 3, abs=1e-6)
    assert float(memory[0]) == pytest.approx(RESTED)


@pytest.mark.parametrize(("logit", "rests"), [(-0.5, True), (-3.0, False)])
def test_it_starts_again_only_when_success_is_lost(logit: float, rests: bool) -> None:
    """A probability of 0.38 is not enough to become done, and not little enough to give it up."""
    student = student_for("reach")
    memory = fresh(student)
    for _ in range(32):
        _, memory = act(student, 3.0, memory)
    action, _ = act(student, logit, memory)
    assert bool((action == 0).all()) == rests


def test_a_short_success_does_not_count_twice() -> None:
    student = student_for("reach")
    memory = fresh(student)
    for logit in (3.0,) * 8 + (-3.0,) + (3.0,) * 8:
        action, memory = act(student, logit, memory)
    assert float(memory[0]) == pytest.approx(0.8)
    assert bool(action.abs().max() > 0)


def test_fingers_keep_what_the_policy_does_with_them_while_the_arm_rests() -> None:
    student = student_for("pick_place")
    memory = fresh(student)
    for _ in range(4 * student.hold_steps):
        action, memory = act(student, 3.0, memory)
    names = student.action_head.actions
    assert bool((action[0, :-1] == 0).all())
    assert names[-1] == "gripper"
    assert float(action[0, -1]) != 0.0
