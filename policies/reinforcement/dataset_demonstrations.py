"""Demonstrations from a LeRobot data set in SI units, as `sim2real dataset` writes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from policies.reinforcement.algorithms import load_algorithm
from policies.reinforcement.demonstrations import DemonstrationError, Demonstrations
from robots.action import actions_between
from robots.datasets.checks import check_dataset
from robots.datasets.layout import (
    ACTION,
    DONE,
    EXPERT_ACTION,
    GRIPPER,
    OBSERVATION,
    POLICY_ACTION,
    REWARD,
    STATE,
    SUCCESS,
    TRUNCATED,
    DatasetError,
)
from robots.datasets.reader import Dataset, open_dataset
from robots.model import RobotModel
from robots.observation import PROPRIOCEPTION, RobotState
from robots.registry import load_robot
from robots.specs import ActionSpec
from sim.tasks import load_task


def check_demonstrations(path: Path, algorithm: str, robot: str, task: str) -> None:
    """Check what can be told without reading frames.

    Args:
        path: folder of the data set.
        algorithm: name of the one that learns.
        robot: name of the arm.
        task: name of the task.

    Raises:
        DemonstrationError: if the algorithm does not imitate, or the data set does not fit.
    """
    if load_algorithm(algorithm).recurrent:
        raise DemonstrationError(f"algorithm '{algorithm}' does not imitate; leave --demonstrations out")
    try:
        check_demonstrated_arm(open_dataset(path), load_robot(robot), load_task(task).action)
    except DatasetError as error:
        raise DemonstrationError(f"demonstrations: {error}") from None


def read_demonstrations(
    path: Path, robot: RobotModel, action: ActionSpec, names: Sequence[str], sparse: bool
) -> Demonstrations:
    """Read the transitions of a data set.

    Arrays that were not recorded are computed from the joints where they can be. An episode's last frame is what its
    last transition leads to, unless the episode failed, where nothing follows.

    Args:
        path: folder of the data set.
        robot: the arm that learns.
        action: what the policy commands.
        names: arrays of the observation.
        sparse: whether rewards are -1 until success, and may be computed from an episode's success.

    Raises:
        DemonstrationError: if the data set is none, damaged, not in SI units, or lacks what is asked for.
    """
    try:
        dataset = open_dataset(path)
        check_dataset(dataset)
        check_demonstrated_arm(dataset, robot, action)
        each = [_episode(dataset, k, robot, action, names, sparse) for k in range(len(dataset))]
    except DatasetError as error:
        raise DemonstrationError(f"demonstrations: {error}") from None
    part = lambda get: {name: np.concatenate([get(one)[name] for one in each]) for name in names}  # noqa: E731
    column = lambda name: np.concatenate([getattr(one, name) for one in each])  # noqa: E731
    return Demonstrations(
        part(lambda one: one.observation),
        part(lambda one: one.following),
        *(column(name) for name in ("action", "expert", "reward", "terminated", "truncated")),
    )


def check_demonstrated_arm(dataset: Dataset, robot: RobotModel, action: ActionSpec) -> None:
    """Raise `DatasetError` unless a data set is in SI units, of the arm, at the rate of its actions."""
    where, about = f"data set '{dataset.folder}'", dataset.about
    if about is None:
        raise DatasetError(
            f"{where} does not say its units; import it first: sim2real dataset import {dataset.folder} --robot "
            f"{robot.name} --rate {action.rate_hz:g} --out <folder>"
        )
    if about.robot != robot.name:
        raise DatasetError(f"{where} is of arm '{about.robot}', not '{robot.name}'; take that with --robot")
    if dataset.info.fps != action.rate_hz:
        raise DatasetError(
            f"{where} has {dataset.info.fps:g} frames a second, the task {action.rate_hz:g} actions; import it with "
            f"--rate {action.rate_hz:g}"
        )


def _episode(
    dataset: Dataset, k: int, robot: RobotModel, action: ActionSpec, names: Sequence[str], sparse: bool
) -> Demonstrations:
    columns, where = dataset.columns(k), f"data set '{dataset.folder}'"
    n, grips = len(robot.joint_names), f"{GRIPPER}.pos" in (dataset.info.features[STATE].names or ())
    state, target, count = columns[STATE], columns[ACTION], len(columns[STATE])
    if count < 2:
        raise DatasetError(f"{where}: episode {k} has {count} frame; leave it out")
    q, opening = state[:, :n].astype(np.float64), state[:, n].astype(np.float64) if grips else None
    dq = np.gradient(q, 1 / dataset.info.fps, axis=0)
    arrays = {}
    for name in names:
        if name == "q":
            arrays[name] = state[:, :n]
        elif f"{OBSERVATION}{name}" in columns:
            arrays[name] = columns[f"{OBSERVATION}{name}"]
            arrays[name] = arrays[name][:, None] if arrays[name].ndim == 1 else arrays[name]
        elif name in PROPRIOCEPTION and (name != "opening" or opening is not None):
            make = PROPRIOCEPTION[name]
            states = [
                RobotState(0.0, *row, opening=None if opening is None else opening[i])
                for i, row in enumerate(zip(q, dq))
            ]
            arrays[name] = np.array([make(each, robot) for each in states], np.float32)
        else:
            has = ", ".join(key for key in columns if key.startswith(OBSERVATION))
            raise DatasetError(f"{where} lacks '{OBSERVATION}{name}', which the policy observes; it has {has}")
    about = dataset.about
    if about is not None and about.action == action and POLICY_ACTION in columns:
        taken = columns[POLICY_ACTION]
    else:
        if GRIPPER in action.names and not grips:
            raise DatasetError(f"{where} has no gripper, which the policy moves; record it too")
        opened = target[:, n].astype(np.float64) if grips else None
        taken = actions_between(action, robot, q, target[:, :n].astype(np.float64), opened)
    success = columns[SUCCESS].astype(bool) if SUCCESS in columns else None
    failed = DONE in columns and bool(columns[DONE][-1]) and not bool(columns.get(TRUNCATED, columns[DONE])[-1])
    failed = failed and not (success is not None and bool(success[-1]))
    kept = count if failed else count - 1
    ended = np.arange(kept) == kept - 1
    following = {name: np.concatenate([array[1:], array[-1:]])[:kept] for name, array in arrays.items()}
    return Demonstrations(
        {name: array[:kept] for name, array in arrays.items()},
        following,
        np.asarray(taken[:kept], np.float32),
        np.asarray(columns.get(EXPERT_ACTION, taken)[:kept], np.float32),
        _rewards(dataset, k, columns, success, sparse)[:kept],
        ended & failed,
        ended & (not failed),
    )


def _rewards(
    dataset: Dataset, k: int, columns: dict[str, np.ndarray], success: np.ndarray | None, sparse: bool
) -> np.ndarray:
    if sparse and success is not None:
        return np.where(success, 0.0, -1.0).astype(np.float32)
    if not sparse and REWARD in columns:
        return columns[REWARD].astype(np.float32)
    outcome = dataset.entries[k].facts.get("success")
    if not sparse or not isinstance(outcome, bool):
        raise DatasetError(
            f"data set '{dataset.folder}': episode {k} has no {REWARD} and no {SUCCESS}; note each episode's success, "
            "and learn with --recipe.reward sparse"
        )
    at_end = np.arange(len(columns[STATE])) >= len(columns[STATE]) - 2
    return np.where(at_end & outcome, 0.0, -1.0).astype(np.float32)
