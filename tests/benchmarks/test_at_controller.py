"""What a controller commands at 1 kHz stays within the limits, and the judge notices what does not."""

from __future__ import annotations

import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node

from benchmarks.demonstrating.hostile_chunks import HostilePolicy
from benchmarks.limits import cell, next_command
from benchmarks.parts.at_controller import PATHS, ROUNDING, TICK, Bench, judged, share_of
from robots.registry import load_robot

PANDA = load_robot("franka_panda")


@pytest.fixture(scope="module")
def node(ros_environment):
    context = Context()
    rclpy.init(context=context, domain_id=int(ros_environment["ROS_DOMAIN_ID"]))
    yield Node("limits", context=context)
    rclpy.shutdown(context=context)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_commands_at_the_controller_stay_within_the_limits(node, path):
    """Under jitter, stalls, late messages and killed gates; one point two periods ahead does not."""
    limits = share_of(path, cell(PANDA)[0])
    rng = np.random.default_rng(1)
    streams = Bench(node, PANDA, limits, path, rng).run(8.0, lambda q, v: next_command(rng, q, v, limits))
    assert max(float(np.abs(q - q[0]).max()) for q in streams) > 0.1
    worst = {
        name: max(float((np.abs(np.diff(q, order, axis=0)) / TICK**order / limit).max()) for q in streams)
        for order, (name, limit) in enumerate(judged(path, PANDA, limits).items(), start=1)
    }
    if path.peer:
        assert worst["ddq"] > 10
    else:
        assert max(worst.values()) <= 1 + ROUNDING, worst


@pytest.mark.parametrize("raw", [False, True], ids=["blended", "raw"])
def test_a_hostile_chunk_policy_makes_the_arm_exceed_nothing(node, raw):
    """Late, overlapping, contradictory, not finite or mistimed, also past the blender."""
    path = PATHS[1]
    limits, rng = share_of(path, cell(PANDA)[0]), np.random.default_rng(2)
    bench = Bench(node, PANDA, limits, path, rng, share=1.0)
    policy = HostilePolicy(rng, limits, raw, lambda: bench.now)
    (q,) = bench.run(15.0, policy.command)
    assert bench.given > 200
    assert len(policy.chunks) > 8
    assert np.abs(q - q[0]).max() > 0.05
    for order, limit in enumerate(judged(path, PANDA, limits).values(), start=1):
        assert (np.abs(np.diff(q, order, axis=0)) / TICK**order / limit).max() <= 1 + ROUNDING
