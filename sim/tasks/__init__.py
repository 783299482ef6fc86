"""Tasks, one file each; `TASKS` lists them, and `load_task` also takes a file of one's own."""

from __future__ import annotations

from collections.abc import Callable

from robots.model import RobotModel
from robots.rig import Rig
from robots.specs import SpecError
from sim.tasks.insert import Insert
from sim.tasks.pick_place import PickPlace
from sim.tasks.push import Push
from sim.tasks.reach import Reach
from sim.tasks.reach_clutter import ReachClutter
from sim.tasks.several_things import MARK, with_things
from sim.tasks.stack import Stack
from sim.tasks.task import Scene, Task
from sim.tasks.task_file import is_task_file, load_task_file

__all__ = ["TASKS", "Scene", "Task", "fitted_task", "load_task"]

TASKS: dict[str, Callable[[], Task]] = {
    "reach": Reach,
    "push": Push,
    "pick_place": PickPlace,
    "stack": Stack,
    "insert": Insert,
    "reach_clutter": ReachClutter,
}


def load_task(name: str) -> Task:
    """Build the task registered under `name`, or that of a file, `my_task.py:MyTask`; `…@5` has five things.

    Raises:
        SpecError: for an unknown name, with the known ones; for a file without such a task; for things that it cannot
            have.
    """
    base, mark, count = name.partition(MARK)
    if mark:
        if not count.isdecimal():
            raise SpecError(f"task '{name}': '{count}' is no number of things; expected for example {base}{MARK}5")
        return with_things(type(load_task(base)), int(count), name)
    if is_task_file(name):
        return load_task_file(name)
    if name not in TASKS:
        raise SpecError(f"unknown task '{name}'; known are {', '.join(TASKS)}, or a file, as my_task.py:MyTask")
    return TASKS[name]()


def fitted_task(name: str, robot: RobotModel, rig: str | Rig | None = None) -> Task:
    """Load a task and lay it out for an arm and a rig, see `Task.fit`."""
    task = load_task(name)
    task.fit(robot, rig)
    return task
