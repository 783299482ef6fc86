"""Tasks in files of one's own, named `path/to/my_task.py:MyTask` wherever a task is named.

The file is Python and is run when it is loaded, with the rights of the program that loads it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from robots.specs import SpecError
from sim.tasks.task import Task


def is_task_file(name: str) -> bool:
    """Whether `name` names a file and not a registered task."""
    path = name.rpartition(":")[0] or name
    return path.endswith(".py")


def load_task_file(name: str) -> Task:
    """Build the task of the class named after the colon; its `name` is `name`.

    Relative paths are relative to the working directory, which worker processes share.

    Raises:
        SpecError: if the file or the class is missing, the file cannot be run, or the class is not a valid `Task`.
    """
    path, _, wanted = name.rpartition(":")
    if not path or not wanted.isidentifier():
        raise SpecError(f"task '{name}' names a file but no class; expected {path or name}:MyTask")
    module = _module(_existing(path))
    tasks = [
        key
        for key, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, Task) and value.__module__ == module.__name__
    ]
    made = getattr(module, wanted, None)
    if made is None:
        raise SpecError(f"task '{name}': '{path}' has no class '{wanted}'; its tasks are {', '.join(tasks) or 'none'}")
    if not (inspect.isclass(made) and issubclass(made, Task)):
        raise SpecError(
            f"task '{name}': '{wanted}' is no subclass of sim.tasks.Task; its tasks are {', '.join(tasks) or 'none'}"
        )
    if made.__abstractmethods__:
        raise SpecError(f"task '{name}': '{wanted}' does not define {', '.join(sorted(made.__abstractmethods__))}")
    try:
        task = made()
    except TypeError as error:
        raise SpecError(f"task '{name}': '{wanted}()' fails: {error}; a task takes no arguments") from error
    vars(task)["name"] = name
    task.validate()
    return task


def task_file_record(name: str) -> dict[str, str]:
    """Return the path and the SHA-256 of a task's file, for what records a run; nothing for a registered task."""
    if not is_task_file(name):
        return {}
    path = _existing(name.rpartition(":")[0])
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _existing(path: str) -> Path:
    found = Path(path).resolve()
    if not found.is_file():
        raise SpecError(f"task file '{path}' does not exist in '{Path.cwd()}'; give its path from here")
    return found


def _module(path: Path) -> ModuleType:
    return _run(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _run(path: Path, stamp: int) -> ModuleType:
    """Run the file once for each version of it."""
    name = f"sim2real_task_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # the name ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up here
    try:
        # not by the loader, whose bytecode is taken for current if the file was written anew within a second
        exec(compile(path.read_bytes(), path, "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[name]
        raise SpecError(f"task file '{path}' cannot be run: {type(error).__name__}: {error}") from error
    return module
