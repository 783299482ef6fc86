"""Whose fault it is that a trial ends before its time."""

from __future__ import annotations

import math

import pytest

from ros_nodes.session.trial_ending import BY_POLICY, MACHINERY, by_gate, by_policy
from tests.policies.bundle.test_input_watch import explained

PERIOD = 0.05


def cycles(compute: float) -> list[list[float]]:
    """Latencies of a policy that computes for so long [s]."""
    return [[0.01, 0.02, each, 0.0, 0.0] for each in (compute, math.nan, compute)]


@pytest.mark.parametrize("key", sorted(BY_POLICY))
def test_a_policy_outside_its_specification_fails(key) -> None:
    assert not by_policy("it says why", key).machinery
    assert by_policy("it says why", key).reason == "the policy stopped: it says why"


@pytest.mark.parametrize("key", ["camera_stale", "pose_stale", "state_stale", "gate_silent"])
def test_a_stalled_camera_driver_or_gate_is_no_failure(key) -> None:
    assert by_policy("", key).machinery


@pytest.mark.parametrize(
    ("keys", "compute", "machinery"),
    [
        (["command_jump"], 0.01, False),
        (["torque_limit", "brake"], 0.01, False),
        (["state_stale"], 0.01, True),
        (["controller_inactive"], 0.01, True),
        (["brake", "command_stale"], 0.01, True),
        (["command_stale"], 0.2, False),  # the policy itself is too slow
        (["policy_dead"], 0.2, False),
        (["command_stale", "state_stale"], 0.2, True),
    ],
)
def test_a_stop_of_the_gate_is_the_policys_unless_the_machinery_stalled(keys, compute, machinery) -> None:
    assert by_gate("", keys, cycles(compute), PERIOD).machinery == machinery


def test_a_gate_that_stops_before_the_first_cycle_has_met_a_stall() -> None:
    assert by_gate("", ["command_stale"], [], PERIOD).machinery


def test_every_key_is_one_that_is_counted() -> None:
    known = set(explained("## States and counts of the safety gate")) | set(explained("## Counts of the policy node"))
    assert known >= MACHINERY | BY_POLICY
