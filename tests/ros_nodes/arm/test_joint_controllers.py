from __future__ import annotations

import numpy as np
import pytest

from ros_nodes.arm.joint_controllers import CommandRejected, ForwardController, TrajectoryController, TrajectoryPoint

NAMES = ("a", "b")


TICK = 0.001


def controller(release: str = "humble") -> TrajectoryController:
    return TrajectoryController(NAMES, np.zeros(2), TICK, release)


def test_holds_where_it_began() -> None:
    q, dq = controller().update(123.0)
    assert q.tolist() == dq.tolist() == [0.0, 0.0]


def test_goes_straight_to_a_point_and_stays_there() -> None:
    arm = controller()
    arm.accept(["b", "a"], [TrajectoryPoint(2.0, [4.0, 2.0])], stamp=0, now=10.0)
    arm.update(10.0)
    q, dq = arm.update(11.0)
    assert q.tolist() == [1.0, 2.0]
    assert dq.tolist() == [1.0, 2.0]
    q, dq = arm.update(99.0)
    assert q.tolist() == [2.0, 4.0]
    assert dq.tolist() == [0.0, 0.0]


def test_velocities_make_a_cubic_that_ends_at_rest() -> None:
    arm = controller()
    arm.accept(NAMES, [TrajectoryPoint(1.0, [1.0, 1.0], [0.0, 0.0])], stamp=0, now=0.0)
    arm.update(0.0)
    q, dq = arm.update(0.5)
    assert q == pytest.approx([0.5, 0.5])
    assert dq == pytest.approx([1.5, 1.5])  # 3 s (1 − s) · 2 at the middle of smoothstep
    assert arm.update(1.0 - 1e-9)[1] == pytest.approx([0, 0], abs=1e-6)


def test_accelerations_make_a_quintic_that_is_a_cubic_where_the_jerk_is_constant() -> None:
    arm = controller()
    ends = [TrajectoryPoint(t, [t**3] * 2, [3 * t**2] * 2, [6 * t] * 2) for t in (1.0, 2.0)]
    arm.accept(NAMES, [*ends, TrajectoryPoint(3.0, [8.0] * 2, [0.0] * 2, [0.0] * 2)], stamp=100.0, now=100.0)
    for t in (1.2, 1.5, 1.9):
        q, dq = arm.update(100.0 + t)
        assert q == pytest.approx([t**3] * 2)
        assert dq == pytest.approx([3 * t**2] * 2)


def test_a_new_trajectory_starts_from_the_desired_state_at_the_time_by_its_release() -> None:
    """Humble takes what it commanded one tick ago for now, Jazzy what it commands for the next for one tick ago."""
    for release, late in (("humble", TICK), ("jazzy", -TICK)):
        arm = controller(release)
        arm.accept(NAMES, [TrajectoryPoint(1.0, [1.0, 0.0])], stamp=0, now=0.0)
        for k in range(500):
            arm.update(k * TICK)
        arm.accept(NAMES, [TrajectoryPoint(0.5, [0.5, 0.5])], stamp=0, now=0.5)
        before = arm._commanded[1][0][0]
        assert arm.update(0.5)[0][0] == pytest.approx(before, abs=1e-5)
        assert before == pytest.approx(0.5 - max(late, 0.0), abs=1e-3 * TICK + (TICK if release == "jazzy" else 0))


def test_points_in_the_past_leave_nothing_to_the_state_before() -> None:
    """What makes a stamped trajectory exact, whenever it arrives."""
    for release in ("humble", "jazzy"):
        arm = controller(release)
        arm.accept(NAMES, [TrajectoryPoint(0.0, [1.0, 1.0]), TrajectoryPoint(1.0, [2.0, 2.0])], stamp=9.9, now=10.0)
        ahead = TICK if release == "jazzy" else 0.0
        assert arm.update(10.0)[0] == pytest.approx([1.1 + ahead] * 2)


def test_stamp_shifts_the_start() -> None:
    arm = controller()
    arm.accept(NAMES, [TrajectoryPoint(0.1, [1.0, 1.0])], stamp=9.95, now=10.0)
    arm.update(10.0)
    assert arm.update(10.025)[0] == pytest.approx([0.5, 0.5])


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
    arm = controller("jazzy")
    with pytest.raises(CommandRejected, match=reason):
        arm.accept(names, points, stamp=stamp, now=10.0)
    assert arm.update(10.5)[0].tolist() == [0.0, 0.0]


def test_humble_takes_a_last_velocity_that_is_not_zero() -> None:
    controller("humble").accept(NAMES, [TrajectoryPoint(1.0, [1, 1], [0.1, 0])], stamp=0, now=0.0)


def test_lets_nan_through_as_the_original_does() -> None:
    arm = controller()
    arm.accept(NAMES, [TrajectoryPoint(1.0, [np.nan, 1.0])], stamp=0, now=0.0)
    assert np.isnan(arm.update(0.5)[0][0])


def test_forward_controller_holds_for_ever_and_drops_what_is_not_finite() -> None:
    arm = ForwardController(NAMES, np.zeros(2))
    arm.accept([1.0, 2.0])
    assert arm.update(1e9)[0].tolist() == [1.0, 2.0]
    with pytest.raises(CommandRejected, match="not finite"):
        arm.accept([np.nan, 0.0])
    with pytest.raises(CommandRejected, match="3 values for 2 joints"):
        arm.accept([0.0, 0.0, 0.0])
    assert arm.update(1e9)[0].tolist() == [1.0, 2.0]
