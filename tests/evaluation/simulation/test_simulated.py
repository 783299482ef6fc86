"""Single trials in simulation: what a policy is shown there, and what is no success of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evaluation.session.protocol import PlacementArea
from evaluation.session.scheduler import AT_RESET
from evaluation.session.task_protocol import task_protocol
from evaluation.simulation.simulated_trials import SimulatedArm
from evaluation.simulation.visibility_tables import cause_figures, visibility_tables
from policies.scoring.failure_causes import CAUSES
from robots.camera import CameraModel
from tests.support.tiny_bundle import CAMERA, tiny_bundle


def seen_by(camera):
    """The first picture of a trial whose policy was trained for `camera`, as it is filmed."""
    bundle = tiny_bundle(camera=camera)
    protocol = replace(task_protocol({"tiny": bundle}, 1, 0, "cameras"), timeout=0.2)
    arm = SimulatedArm(bundle, protocol, "nominal", film=True)
    arm.run(protocol.schedule()[0])
    return arm.frames[0]


def test_a_trial_is_seen_by_the_camera_that_the_policy_was_trained_for():
    small = CAMERA.resized(42, 42)
    aside = CameraModel.looking_at("left", (0.45, 0.9, 0.6), (0.45, 0.0, 0.10), 84, 84, 42.0)
    one, other, again, little = (seen_by(camera) for camera in (CAMERA, aside, CAMERA, small))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert little.shape == (42, 42, 3)


def test_an_object_that_starts_at_the_goal_is_detected():
    """The arm's home is the goal: success without any merit."""
    bundle = tiny_bundle(camera=None)
    x, y, _ = bundle.robot.chain.pose(np.array(bundle.robot.home))[1]
    protocol = replace(
        task_protocol({"tiny": bundle}, 1, 0, "home"),
        workspace=PlacementArea(x - 0.01, x + 0.01, y - 0.01, y + 0.01),
        success_radius=1.0,
    )
    trial = SimulatedArm(bundle, protocol, "nominal").run(protocol.schedule()[0])
    assert trial.void
    assert trial.void_reason.startswith(AT_RESET)


def test_a_policy_that_leaves_its_specification_has_failed_and_the_reason_is_kept():
    """On a robot its node would stop the arm; here the session must go on."""
    bundle = tiny_bundle(camera=None, poison=0.1)  # NaN as soon as the end effector's x is above 0.1 m
    protocol = task_protocol({"tiny": bundle}, 1, 0, "poisoned")
    trial = SimulatedArm(bundle, protocol, "nominal").run(protocol.schedule()[0])
    assert (trial.success, trial.void) == (False, False)
    assert trial.stopped.startswith("the policy left its specification: action [nan nan nan]")


def test_trials_of_a_camera_policy_are_reported_by_visibility_and_cause():
    bundle = tiny_bundle(camera=CAMERA)
    protocol = replace(task_protocol({"tiny": bundle}, 2, 0, "causes", strict=True), timeout=1.0)
    trial = SimulatedArm(bundle, protocol, "wild").run(protocol.schedule()[0])
    assert set(trial.observed) == {"visible", "contrast"}
    assert trial.cause in CAUSES
    assert not trial.success
    seen, failed = visibility_tables([trial, replace(trial, index=1, cause="not seen")])
    assert {row[1].split()[0] for row in seen.rows} == {"visible", "contrast"}
    assert sum(int(row[-1].split("/")[0]) for row in failed.rows) == 2
    assert cause_figures([replace(trial, cause="not seen")])["failed_tiny_not_seen"] == 1.0
    assert visibility_tables([replace(trial, observed={})]) == ()
