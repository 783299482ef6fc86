"""Trials in simulation show a policy what its own cameras would."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evaluation.simulated import SimulatedArm, simulation_protocol
from sim.tasks.cameras import FRONT, FRONT_NARROW
from tests.tiny_bundle import tiny_bundle


def seen_by(camera):
    """The first picture of a trial whose policy was trained for `camera`, as it is filmed."""
    bundle = tiny_bundle(camera=camera)
    protocol = replace(simulation_protocol({"tiny": bundle}, 1, 0, "cameras"), timeout=0.2)
    arm = SimulatedArm(bundle, protocol, "nominal", film=True)
    arm.run(protocol.schedule()[0])
    return arm.frames[0]


def test_a_trial_is_seen_by_the_camera_that_the_policy_was_trained_for():
    small = FRONT.resized(42, 42)
    wide, narrow, again, little = (seen_by(camera) for camera in (FRONT, FRONT_NARROW, FRONT, small))
    assert np.array_equal(wide, again)
    assert not np.array_equal(wide, narrow)
    assert little.shape == (42, 42, 3)
