"""Which image encoder is worth its time? Camera students for reach, each given the same processor time to learn.

    python benchmarks/encoders.py [--seconds 60] [--views 10000] [--seeds 3] [--encoders keypoints …] [--json FILE]

All see the same labelled views, drawn under `full`, and move by the same teacher. `keypoints` is the student of
`sim2real train`: dense labels, then geometry; the others of `benchmarks/parts/encoders.py` regress the goal. Fresh
weights:
pretrained ones are nobody's to download here, `Tuning` takes them from a local file. How many gradient steps fit into
the time is measured first, on one core; a figure of success is 100 fresh episodes through the camera, held to the end.
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.pop(0)  # this file's folder, whose statistics.py hides the standard library's
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import onnxruntime
import torch
import tyro
from torch import nn

from benchmarks.parts.encoders import ENCODERS
from benchmarks.parts.record import heading, origin, save
from benchmarks.parts.regression_student import PictureStudent, fit_picture_student, goal_errors
from policies.bundle.export import to_onnx
from policies.imitation.action_head import fit_action_head
from policies.imitation.camera_run import TrainConfig, untrained
from policies.imitation.dagger import open_arms
from policies.imitation.perception import fit_student, perception_errors
from policies.models.camera_policy import CameraPolicy
from policies.models.keypoint_encoder import ForwardKinematics
from policies.models.state_network import StateNetwork
from policies.scoring.evaluator import FullLengthEnv, evaluate
from policies.scoring.intervals import wilson
from robots.registry import load_robot
from sim.datasets.labelled_renders import LabelledRenders, sample_renders
from sim.env import ArmEnv
from sim.tasks.recipe import PerceptionRecipe

KEYPOINTS = "keypoints"
HELD_OUT = 500
"""Labelled renders on which errors are measured."""
GEOMETRY_STEPS = 1_000
PROBE_STEPS = 6
"""Steps by which the time of one is measured; the first two are left out."""
TASK, ROBOT, SPACE, RIG = "reach", "franka_panda", "full", "front"
CONFIG = TrainConfig(Path("unused"), TASK, ROBOT, RIG, SPACE, perception=PerceptionRecipe())


@dataclass(frozen=True)
class Config:
    """What to measure."""

    encoders: tuple[str, ...] = (KEYPOINTS, *ENCODERS)
    """`keypoints`, and names in `ENCODERS`."""
    seconds: float = 60.0
    """Processor time that each may learn [s]."""
    views: int = 10_000
    """Labelled pictures."""
    seeds: int = 3
    """Runs of each; the table has medians."""
    episodes: int = 100
    """Fresh episodes of each run."""
    workers: int = 2
    """Processes that draw views and simulate."""
    json: Path | None = None
    """File for the figures."""


def new(name: str, head: StateNetwork, seed: int) -> nn.Module:
    """Build the untrained student with encoder `name`."""
    torch.manual_seed(seed)
    robot, camera = load_robot(ROBOT), CONFIG.fitted_task().cameras[0]
    if name == KEYPOINTS:
        student = untrained(CONFIG)
        student.action_head = copy.deepcopy(head)
        return student
    kinematics = ForwardKinematics(robot.chain)
    return PictureStudent(name, camera.height, camera.width, kinematics, copy.deepcopy(head), len(robot.joint_names))


def fit(student: nn.Module, name: str, views: LabelledRenders, steps: int, seed: int) -> None:
    """Let it learn on `views` for `steps` gradient steps of its encoder."""
    if name == KEYPOINTS:
        settings = PerceptionRecipe(renders=len(views), steps=steps, held_out=HELD_OUT, geometry_steps=GEOMETRY_STEPS)
        fit_student(student, (views,), settings, seed, lambda *_: None)  # type: ignore[arg-type]
    else:
        fit_picture_student(student, views[HELD_OUT:], steps, seed)  # type: ignore[arg-type]


def steps_within(make: Callable[[], nn.Module], name: str, views: LabelledRenders, seconds: float) -> int:
    """How many gradient steps fit into `seconds` of processor time."""
    # the keypoints' geometry learns from what is seen in all views, which takes its part of the time
    few = views if name == KEYPOINTS else views[: HELD_OUT + 256]
    times = []
    for steps in (2, 2 + PROBE_STEPS):
        student, began = make(), time.process_time()
        fit(student, name, few, steps, 0)
        times.append(time.process_time() - began)
    fixed = max(0.0, times[0] - 2 * (times[1] - times[0]) / PROBE_STEPS) if name == KEYPOINTS else 0.0
    return max(10, int((seconds - fixed) / max((times[1] - times[0]) / PROBE_STEPS, 1e-4)))


def milliseconds(student: nn.Module, views: LabelledRenders) -> float:
    """Median time of one action on one core with onnxruntime [ms]."""
    names = ("q", "image_front")
    example = torch.from_numpy(views.q[:1]), torch.from_numpy(views.images[:1])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(to_onnx(student.eval(), example, names), options)
    feed = {name: array.numpy() for name, array in zip(names, example)}
    times = []
    for _ in range(200):
        began = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times))


def centimetres(student: nn.Module, name: str, views: LabelledRenders) -> float:
    """Median error of the goal on views that were held out [cm]."""
    if name == KEYPOINTS:
        return perception_errors(student, (views,))["goal_cm"]  # type: ignore[arg-type]
    return 100 * float(np.median(goal_errors(student, views)))  # type: ignore[arg-type]


def main(config: Config) -> None:
    """Measure every encoder and print the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    head = untrained(CONFIG).action_head
    fit_action_head(head, CONFIG.action_head_environment(), CONFIG.recipe, config.workers, 0, lambda *_: None)
    env = ArmEnv(TASK, ROBOT, SPACE, "state", cameras=RIG)
    (views,) = sample_renders(TASK, ROBOT, env.parameter_space, config.views, 1, config.workers, cameras=RIG)
    env.close()
    described = origin(range(config.seeds))
    print(heading(described))
    print(f"{config.views} views under {SPACE}, {config.seconds:g} s of processor time each, {config.seeds} seeds")
    print(f"{'encoder':14} success [Wilson of the median]   goal cm   ms    parameters   steps   minutes", flush=True)
    make = FullLengthEnv(TASK, ROBOT, SPACE, "cameras", RIG)
    figures: dict[str, dict] = {}
    for name in config.encoders:
        steps = steps_within(lambda name=name: new(name, head, 0), name, views, config.seconds)  # type: ignore[misc]
        found: dict[str, list[float]] = {"success": [], "goal_cm": [], "minutes": []}
        for seed in range(config.seeds):
            student, began = new(name, head, seed), time.process_time()
            fit(student, name, views, steps, seed)
            found["minutes"].append((time.process_time() - began) / 60)
            found["goal_cm"].append(centimetres(student, name, views[:HELD_OUT]))
            with open_arms(make, 10, config.workers) as arms:
                found["success"].append(
                    evaluate(CameraPolicy(student, make.names()), arms, make, config.episodes).success
                )
        middle = {key: float(np.median(values)) for key, values in found.items()}
        interval = wilson(round(middle["success"] * config.episodes), config.episodes)
        size = sum(p.numel() for p in student.parameters())
        ms = milliseconds(student, views)
        print(
            f"{name:14} {middle['success']:.2f} [{interval.low:.2f}, {interval.high:.2f}], seeds "
            f"{' '.join(f'{s:.2f}' for s in found['success'])}   {middle['goal_cm']:5.2f}   {ms:5.2f}   "
            f"{size:10,}   {steps:5}   {middle['minutes']:.2f}",
            flush=True,
        )
        figures[name] = {**found, "ms": ms, "parameters": size, "steps": steps}
    save(config.json, described, {"encoders": figures})


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
