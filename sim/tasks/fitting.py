"""What a task and an arm make of each other: whether they fit, what is observed, which fingers move."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from robots.kinematics import KinematicsError
from robots.model import RobotModel
from robots.observation import CALIBRATION, PROPRIOCEPTION, joint_array
from robots.specs import ArraySpec, ObservationSpec, SpecError
from sim.tasks.task import Task

LEAST_REACHED = 0.4
"""Share of a task's area in which an arm must be able to grasp."""


def check_fit(task: Task, robot: RobotModel) -> None:
    """Raise `SpecError` unless `robot` can grasp if it must, reaches the task's workspace, and cameras are above it."""
    if task.needs_gripper and robot.gripper is None:
        raise SpecError(f"task '{task.name}' needs a gripper, but robot '{robot.name}' has none; take another arm")
    if task.reach is not None and task.reach.share < LEAST_REACHED:
        (x_low, x_high), (y_low, y_high) = task.reach.area
        raise SpecError(
            f"task '{task.name}': robot '{robot.name}' grasps in only {100 * task.reach.share:.0f} % of the area from "
            f"({x_low}, {y_low}) to ({x_high}, {y_high}) m, expected {100 * LEAST_REACHED:.0f} %; give it another "
            "'table_area', or a home above it"
        )
    for corner in itertools.product(*task.workspace) if task.reach is None else ():
        try:
            robot.chain.inverse(np.array(robot.home), np.array(corner), robot.R_home, iterations=100, tolerance=0.01)
        except KinematicsError:
            raise SpecError(
                f"task '{task.name}' needs the end effector at {corner} m, but robot '{robot.name}' does not get there "
                "from home; is the arm large enough, and its home above the table?"
            ) from None
    for camera in task.cameras:
        if camera.T_base_camera is not None and camera.pose()[2, 3] <= 0:
            raise SpecError(
                f"camera '{camera.name}' is at {np.round(camera.pose()[:3, 3], 3)} m, inside or under the table, whose "
                "top is at z = 0"
            )


def observation_spec(task: Task, robot: RobotModel, chosen: str | Sequence[str]) -> ObservationSpec:
    """Specify the task's observation called `chosen`, or one of the arrays `chosen`, for `robot`.

    Raises:
        SpecError: for an unknown observation or array; lists the known ones.
    """
    known = {array.name: array for array in task.privileged}
    for camera in task.cameras:
        size = camera.height, camera.width
        known[f"image_{camera.name}"] = ArraySpec.image(f"image_{camera.name}", *size)
        known[f"depth_{camera.name}"] = ArraySpec.depth(f"depth_{camera.name}", *size)
        if camera.T_base_camera is not None:
            name = f"{CALIBRATION}{camera.name}"
            known[name] = ArraySpec(name, camera.calibration.shape, frame="base")
        name = f"segmentation_{camera.name}"
        known[name] = ArraySpec(name, size, "int16", -1, np.iinfo(np.int16).max)
    for name in PROPRIOCEPTION:
        known[name] = joint_array(name, robot)
    names = task.arrays(chosen)
    for name in names:
        if name not in known:
            raise SpecError(f"task '{task.name}': unknown array '{name}'; known are {', '.join(known)}")
    return ObservationSpec(tuple(known[name] for name in names))


def frozen_fingers(task: Task, robot: RobotModel) -> float | None:
    """Return the finger position [m] of a task that never moves the fingers; else None."""
    gripper, start = robot.gripper, task.opening
    if gripper is None or "gripper" in task.action.names:
        return None
    if start is None:
        return gripper.opened
    return start if start == gripper.closed else None
