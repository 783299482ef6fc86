"""The scripted operator steers as late as a person sees, and lets the hand rest while the fingers move."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from benchmarks.demonstrating.scripted_operator import REACTION, ScriptedOperator
from sim.tasks import load_task

SPEC = load_task("pick_place").action


class Seen:
    """A scene in which things are where they are."""

    def pose(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0])


def steered(actions: list[list[float]]) -> list:
    """What the operator does while the task's expert asks for `actions`, one after the other."""
    asked = iter(actions)
    task = SimpleNamespace(action=SPEC, expert=lambda scene: np.array(next(asked)))
    operator = ScriptedOperator(task, np.random.default_rng(1))  # type: ignore[arg-type]
    return [operator.steer(Seen(), k / SPEC.rate_hz) for k in range(len(actions))]  # type: ignore[arg-type]


def test_the_operator_reacts_late() -> None:
    late = round(REACTION * SPEC.rate_hz)
    found = steered([[1.0, 0.0, 0.0, 0.0, 1.0]] * 20 + [[-1.0, 0.0, 0.0, 0.0, 1.0]] * 20)
    moved = np.array([each.move.get("x", 0.0) for each in found])
    assert (moved[:20] >= 0.0).all()
    assert (moved[20 : 20 + late] >= 0.0).all()
    assert moved[20 + late :].min() < -0.5


def test_the_hand_rests_while_the_fingers_close() -> None:
    late = round(REACTION * SPEC.rate_hz)
    found = steered([[1.0, 0.0, 0.0, 0.0, 1.0]] * 10 + [[1.0, 0.0, 0.0, 0.0, -1.0]] * 30)
    closing = found[10 + late : 10 + late + 8]
    assert all(each.gripper == -1.0 and not each.move for each in closing)
    assert all(each.held for each in found)
