from __future__ import annotations

import numpy as np
import pytest

from ros_nodes.arm.joint_controllers import CommandRejected, ForwardController, TrajectoryController, TrajectoryPoint

NAMES = ("a", "b")


def controller() -> TrajectoryController:
    return TrajectoryController(NAMES, np.zeros(2))


def test_holds_where_it_began() -> None:
    q, dq = controller().sample(123.0)
    assert q.tolist() == dq.tolist() == [0.0, 0.0]


def test_goes_straight_to_a_point_and_stays_there() -> None:
    arm = controller()
    arm.accept(["b", "a"], [TrajectoryPoint(2.0, [4.0, 2.0])], stamp=0, now=10.0)
    q, dq = arm.sample(11.0)
    assert q.tolist() == [1.0, 2.0]
    assert dq.tolist() == [1.0, 2.0]
    q, dq = arm.sample(99.0)
    assert q.tolist() == [2.0, 4.0]
    assert dq.tolist() == [0.0, 0.0]


def test_velocities_make_a_cubic_that_ends_at_rest() -> None:
    arm = controller()
    arm.accept(NAMES, [TrajectoryPoint(1.0, [1.0, 1.0], [0.0, 0.0])], stamp=0, now=0.0)
    q, dq = arm.sample(0.5)
    assert q == pytest.approx([0.5, 0.5])
    assert dq == pytest.approx([1.5, 1.5])  # 3 s (1 − s) · 2 at the middle of smoothstep
    assert arm.sample(1.0 - 1e-9)[1] == pytest.approx([0, 0], abs=1e-6)


def test_a_new_trajectory_starts_from_the_desired_state() -> None:
    arm = controller()
    arm.accept(NAMES, [TrajectoryPoint(1.0, [1.0, 0.0])], stamp=0, now=0.0)
    arm.accept(NAMES, [TrajectoryPoint(0.5, [0.5, 0.5])], stamp=0, now=0.5)
    assert arm.sample(0.75)[0] == pytest.approx([0.5, 0.25])


def test_stamp_shifts_the_start() -> None:
    arm = controller()
    arm.accept(NAMES, [TrajectoryPoint(0.1, [1.0, 1.0])], stamp=9.95, now=10.0)
    assert arm.sample(10.025)[0] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
    ("names", "points", "stamp", "reason"),
    [
        (["a"], [TrajectoryPoint(1.0, [1.0])], 0, "partial"),
        (["a", "c"], [TrajectoryPoint(1.0, [1.0, 1.0])], 0, "'c' is not controlled"),
        (["a", "a"], [TrajectoryPoint(1.0, [1.0, 1.0])], 0, "partial"),
        (["a", "b"], [], 0, "no points"),
        (["a", "b"], [TrajectoryPoint(1.0, [1.0])], 0, "1 positions"),
        (["a", "b"], [TrajectoryPoint(1.0, [1, 1]), TrajectoryPoint(1.0, [2, 2])], 0, "not strictly increasing"),
        (["a", "b"], [TrajectoryPoint(1.0, [1, 1])], 8.9, "ended 0.100 s ago"),
        (["a", "b"], [TrajectoryPoint(1.0, [1, 1], [0.1, 0])], 0, "velocity is not zero"),
    ],
)
def test_rejects_what_the_original_rejects(names, points, stamp, reason) -> None:
    arm = controller()
    with pytest.raises(CommandRejected, match=reason):
        arm.accept(names, points, stamp=stamp, now=10.0)
    assert arm.sample(10.5)[0].tolist() == [0.0, 0.0]


def test_lets_nan_through_as_the_original_does() -> None:
    arm = controller()
    arm.accept(NAMES, [TrajectoryPoint(1.0, [np.nan, 1.0])], stamp=0, now=0.0)
    assert np.isnan(arm.sample(0.5)[0][0])


def test_forward_controller_holds_for_ever_and_drops_what_is_not_finite() -> None:
    arm = ForwardController(NAMES, np.zeros(2))
    arm.accept([1.0, 2.0])
    assert arm.sample(1e9)[0].tolist() == [1.0, 2.0]
    with pytest.raises(CommandRejected, match="not finite"):
        arm.accept([np.nan, 0.0])
    with pytest.raises(CommandRejected, match="3 values for 2 joints"):
        arm.accept([0.0, 0.0, 0.0])
    assert arm.sample(1e9)[0].tolist() == [1.0, 2.0]
