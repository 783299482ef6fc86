"""The tasks as Gymnasium environments: `gym.make("sim2real/PickPlace-v0", robot=…, space=…, observation=…)`.

Gymnasium imports PyBullet and the rest by the entry points' names, when an environment is made. Episodes end at the
task's own time limit, so that no `TimeLimit` is added.
"""

from __future__ import annotations

import importlib.util

ENVIRONMENTS = {
    "sim2real/Reach-v0": "reach",
    "sim2real/Push-v0": "push",
    "sim2real/PickPlace-v0": "pick_place",
    "sim2real/Stack-v0": "stack",
    "sim2real/Insert-v0": "insert",
    "sim2real/ReachClutter-v0": "reach_clutter",
}
"""Name in `sim.tasks.TASKS` by Gymnasium's id."""


def register_environments() -> None:
    """Register `ENVIRONMENTS` with Gymnasium, where it is installed: the robot side lacks it."""
    if importlib.util.find_spec("gymnasium") is None:
        return
    import gymnasium

    for name, task in ENVIRONMENTS.items():
        if name not in gymnasium.registry:
            gymnasium.register(
                name,
                entry_point="sim.env:ArmEnv",
                vector_entry_point="sim.vector.vector_env:make_vector_env",
                kwargs={"task": task},
            )
