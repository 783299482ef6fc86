"""sim2real: train arm policies in randomised simulation, adapt them to the real arm, drive it through ROS 2.

The names of `__all__` are imported when they are used: `import sim2real` needs no library, and what runs on a robot
loads no simulator. Where Gymnasium is installed, the tasks are registered with it, for
`gymnasium.make("sim2real/PickPlace-v0")`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from sim.registration import register_environments

if TYPE_CHECKING:
    from policies.bundle import PolicyBundle
    from policies.runtime.loop import ControlLoop
    from policies.runtime.safety_filter import SafetyFilter
    from robots.camera import CameraModel
    from robots.model import RobotModel
    from robots.registry import load_robot
    from sim.catalogue import parameter_space
    from sim.env import ArmEnv
    from sim.randomization.parameters import ParameterSpace
    from sim.tasks import Task, load_task
    from sim.vector.vector_env import ArmVectorEnv

__version__ = "0.1.0"
__all__ = [
    "ArmEnv",
    "ArmVectorEnv",
    "CameraModel",
    "ControlLoop",
    "ParameterSpace",
    "PolicyBundle",
    "RobotModel",
    "SafetyFilter",
    "Task",
    "load_robot",
    "load_task",
    "parameter_space",
]

_MODULES = {
    "ArmEnv": "sim.env",
    "ArmVectorEnv": "sim.vector.vector_env",
    "CameraModel": "robots.camera",
    "ControlLoop": "policies.runtime.loop",
    "ParameterSpace": "sim.randomization.parameters",
    "PolicyBundle": "policies.bundle",
    "RobotModel": "robots.model",
    "SafetyFilter": "policies.runtime.safety_filter",
    "Task": "sim.tasks",
    "load_robot": "robots.registry",
    "load_task": "sim.tasks",
    "parameter_space": "sim.catalogue",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'sim2real' has no attribute '{name}'; it offers {', '.join(__all__)}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


register_environments()
