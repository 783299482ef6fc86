"""What a controller commands at 1 kHz stays within the limits, and the judge notices what does not."""

from __future__ import annotations

import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node

from benchmarks.limits import AT_ARM, cell, next_command
from benchmarks.parts.at_controller import PATHS, TICK, Bench, judged, share_of
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
        assert max(worst.values()) <= 1 + AT_ARM, worst
