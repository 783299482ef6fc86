"""A virtual arm and its safety gate as children of a source of commands, in a ROS domain of their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from robots.model import RobotModel
from ros_nodes import qos, topics
from ros_nodes.session.child_processes import Children
from ros_nodes.session.ros_environment import free_domain, isolated
from sim.tasks import fitted_task
from sim.tasks.task import Task


@dataclass(frozen=True)
class VirtualScene:
    """What stands in the virtual lab."""

    robot: str
    """Name of the arm, or path of its file."""
    task: str
    cameras: str
    """Name of the rig, or path of its file."""
    hidden: str = ""
    """File of the hidden reality; empty for the arm's default one."""

    def parameters(self) -> Sequence[str]:
        """Return the virtual arm's arguments."""
        chosen = {"robot": self.robot, "task": self.task, "cameras": self.cameras, "hidden": self.hidden}
        return [word for name, value in chosen.items() if value for word in ("-p", f"{name}:={value}")]


@contextmanager
def lab_processes(scene: VirtualScene | None, gripper: bool, logs: Path) -> Iterator[Children]:
    """Give what starts further processes, beside the virtual arm and its gate where there is a `scene`.

    This process's own ROS domain becomes theirs, so it must not have been initialised yet.
    """
    if scene is None:
        with Children(logs, {**os.environ, "PYTHONUNBUFFERED": "1"}) as children:
            yield children
        return
    python = (sys.executable, "-m")
    with free_domain() as domain, Children(logs, isolated(domain, logs)) as children:
        os.environ.update({k: v for k, v in isolated(domain, logs).items() if k.startswith(("ROS_", "FASTDDS_"))})
        children.start("virtual_arm", (*python, "ros_nodes.virtual_arm", "--ros-args", *scene.parameters()))
        gate = ("-p", f"robot:={scene.robot}", "-p", f"moves_gripper:={str(gripper).lower()}")
        children.start("safety_gate", (*python, "ros_nodes.safety_gate", "--ros-args", *gate), layer=1)
        yield children


class ScenePlacer:
    """Puts the virtual arm home and the object somewhere new."""

    def __init__(self, node: Node, scene: VirtualScene, robot: RobotModel):
        """Prepare to publish on `node`."""
        self._task: Task = fitted_task(scene.task, robot, scene.cameras)
        self._publisher = node.create_publisher(Float64MultiArray, topics.VIRTUAL_PLACE, qos.EVENT)
        self._rng = np.random.default_rng()
        self.cameras = tuple(camera.name for camera in self._task.cameras)
        """Names of the virtual arm's cameras."""

    def place(self, episode: int) -> None:
        """Do so for the episode of this number."""
        (x, y) = (self._rng.uniform(*self._task.workspace[axis]) for axis in (0, 1))
        seed = float(self._rng.integers(1 << 30))
        self._publisher.publish(Float64MultiArray(data=[float(episode), float(x), float(y), seed]))
