"""The engines that move a virtual arm, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from robots.camera import CameraModel
from robots.model import RobotModel
from robots.specs import SpecError
from sim.virtual_arm.hidden_reality import HiddenReality
from sim.virtual_arm.interface import NOMINAL_SIZES, Sizes, VirtualArm

Maker = Callable[[RobotModel, Sequence[CameraModel], HiddenReality, str, Sizes], VirtualArm]


def _mujoco(
    robot: RobotModel, cameras: Sequence[CameraModel], hidden: HiddenReality, task: str, sizes: Sizes
) -> VirtualArm:
    from sim.virtual_arm.mujoco_arm import MujocoArm

    return MujocoArm(robot, cameras, hidden, task, sizes)


def _pybullet(
    robot: RobotModel, cameras: Sequence[CameraModel], hidden: HiddenReality, task: str, sizes: Sizes
) -> VirtualArm:
    from sim.virtual_arm.bullet_arm import BulletArm  # needs PyBullet

    return BulletArm(robot, cameras, hidden, task, sizes)


ENGINES: dict[str, Maker] = {"mujoco": _mujoco, "pybullet": _pybullet}
"""By the name that the virtual arm's parameter `engine` takes."""


def make_virtual_arm(
    engine: str,
    robot: RobotModel,
    cameras: Sequence[CameraModel],
    hidden: HiddenReality,
    task: str = "reach",
    sizes: Sizes = NOMINAL_SIZES,
) -> VirtualArm:
    """Build the arm in the engine registered under `engine`, before `cameras`, with the objects of `task` on its table.

    They have the `sizes` that are stated, by the task's parameters [m], and nominal ones else.

    Raises:
        SpecError: for an unknown engine, with those that are known, or an arm that cannot be built.
    """
    if engine not in ENGINES:
        raise SpecError(f"unknown engine '{engine}'; known are {', '.join(ENGINES)}")
    return ENGINES[engine](robot, cameras, hidden, task, sizes)
