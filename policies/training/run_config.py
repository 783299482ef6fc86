"""Configuration that all training runs have in common."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TypeVar

from policies.bundle.provenance import provenance
from policies.training.device import find_device
from policies.training.run_folder import RunFolder, read_run_config, refuse_existing
from robots.registry import load_robot
from sim.catalogue import parameter_space
from sim.randomization.parameters import ParameterSpace
from sim.randomization.space_file import chosen_space
from sim.tasks import Task, fitted_task
from sim.tasks.task import DEFAULT_RIG
from sim.tasks.task_file import is_task_file, task_file_record
from sim.workers.pool import Workers
from sim.workers.ray_pool import check_cluster
from sim.workers.start import open_workers, refuse_too_many

C = TypeVar("C", bound="RunConfig")


@dataclass(frozen=True)
class RunConfig:
    """Fields that all training runs have in common."""

    out: Path
    """Folder of the run; must not exist."""
    task: str = "reach"
    """Task: a name, or a file and its class as my_task.py:MyTask."""
    robot: str = "franka_panda"
    """The arm."""
    cameras: str = DEFAULT_RIG
    """The camera rig: front, front_side, front_wrist, wrist or random, or the path of a rig (.json)."""
    randomise: str = "full"
    """What varies: nominal, mild, full, wild, or the path of a parameter space (.json)."""
    name: str = ""
    """Name of the policy in reports; by default that of the folder."""
    seed: int = 0
    """Seed of everything random."""
    workers: int = 2
    """Processes that simulate."""
    ray: str = ""
    """Address of a Ray cluster whose cores simulate instead; `local` starts one here."""
    device: str = "cpu"
    """Where networks learn: auto (an accelerator if there is one), cpu, cuda or mps; only cpu repeats runs to the
    bit."""
    evaluation_episodes: int = 200
    """Fresh episodes on which the finished policy is evaluated."""
    mlflow: str = ""
    """Address of an MLflow server to log the figures to, as http://server:5000; nothing is sent by default."""

    def validate(self) -> None:
        """Check everything that is cheap to check.

        Raises:
            ValueError: for a field out of range, an unknown name, or a folder that exists.
            WorkersError: for a cluster that does not answer, or is to be sent what it cannot be.
        """
        refuse_existing(self.out)
        find_device(self.device)
        for name in ("workers", "evaluation_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.ray:
            check_cluster(self.ray, self.files())
        else:
            refuse_too_many("workers", self.workers)

    def open_workers(self) -> AbstractContextManager[Workers]:
        """Start the processes that simulate; nodes of a cluster are sent the files that the run names.

        Raises:
            WorkersError: if they cannot be started.
        """
        return open_workers(self.workers, self.ray, self.files(), partial(_fit, self.task, self.robot, self.cameras))

    def files(self) -> list[Path]:
        """Return the files and folders that simulation reads: of a task, an arm and a rig of one's own."""
        task = [Path(self.task.rpartition(":")[0])] if is_task_file(self.task) else []
        arm = [Path(self.robot).parent] if self.robot.endswith(".json") else []
        return [*task, *arm, *([Path(self.cameras)] if self.cameras.endswith(".json") else [])]

    def space(self) -> ParameterSpace:
        """Return the parameter space to train on.

        Raises:
            ValueError: for an unknown preset, or a file that holds no space.
        """
        return chosen_space(self.randomise, parameter_space(self.fitted_task(), load_robot(self.robot)))

    def fitted_task(self) -> Task:
        """Return the task, laid out for arm and cameras."""
        return fitted_task(self.task, load_robot(self.robot), self.cameras)

    def task_file(self) -> dict:
        """Return `task_file`, path and SHA-256 of a task of one's own, for the run's provenance; else nothing."""
        record = task_file_record(self.task)
        return {"task_file": record} if record else {}

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return json.loads(json.dumps(asdict(self), default=str))

    def begin(self) -> RunFolder:
        """Check everything, then make the run's folder."""
        self.validate()
        about = {**provenance(), **self.task_file()}
        return RunFolder.create(self.out, {"config.json": self.to_dict(), "provenance.json": about})

    @classmethod
    def resume(cls: type[C], path: Path) -> tuple[C, RunFolder]:
        """Read the configuration of the run in `path`.

        Raises:
            RunError: if there is no unfinished run.
        """
        folder = RunFolder.open(path)
        return cls.from_dict(read_run_config(path)), folder

    @classmethod
    def from_dict(cls: type[C], data: dict) -> C:
        """Build from the result of `to_dict`.

        Raises:
            ValueError: if another version has written it.
        """
        refuse_other_fields(cls, data)
        return cls(**{**data, "out": Path(data["out"])})


def refuse_other_fields(kind: type, data: dict) -> None:
    """Raise ValueError unless `data` has the fields of the dataclass `kind`, and no others."""
    if differ := sorted({field.name for field in fields(kind)} ^ set(data)):
        raise ValueError(
            f"config.json: {', '.join(differ)}: these fields are unknown or missing, because another version has "
            "begun this run; train again with a new --out"
        )


def _fit(task: str, robot: str, cameras: str) -> None:
    """Raise where a node lacks what a run simulates."""
    fitted_task(task, load_robot(robot), cameras)


@dataclass(frozen=True)
class StateConfig(RunConfig):
    """Fields that all training runs from state have in common."""

    observation: str = "state"
    """What the policy observes: one of the task's named observations without images."""
