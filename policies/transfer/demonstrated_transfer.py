"""Adapt a simulated camera policy by recorded demonstrations: simulation teaches the task, they show the lab.

    bundle + data set ─▶ labels from the data ─▶ candidates ─▶ held-out demonstrations decide ─▶ new bundle, or none

Candidates are the source, its `perception` trained further, its action `head` corrected, and both. Only what the robot
side has is used: pictures, joints, commands, the bundle's camera poses and parameter space.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from policies.bundle import BundleError, PolicyBundle
from policies.bundle.export import Contract, export_bundle
from policies.bundle.provenance import provenance
from policies.cloning.episodes import DemonstratedEpisode, read_episodes, split_episodes
from policies.cloning.head_tuning import HeadTuning, tune_head
from policies.cloning.labels import labelled_frames, place_labels
from policies.cloning.perception_tuning import PerceptionTuning, tune_perception
from policies.cloning.replays import ReplayError, intention, replay, replay_error
from policies.imitation.perception import landmark_residuals
from policies.imitation.recipes import state_recipe
from policies.imitation.rollouts import Records, Rollout, collect
from policies.models.camera_student import CameraStudent
from policies.models.parity import parity_records
from policies.models.restore import CAMERA_STUDENT, restore_student
from policies.scoring.evaluator import FullLengthEnv
from policies.training.candidate_folder import NOWHERE, CandidateFolder
from policies.training.checkpoints import Checkpoints
from policies.training.device import find_device, moved
from policies.training.progress import StageProgress, silent, stage
from robots.observation import CALIBRATION
from robots.registry import load_robot
from robots.rig import Rig, read_cameras
from sim.datasets.labelled_renders import LabelledRenders, sample_renders
from sim.randomization.parameters import ParameterSpace
from sim.tasks import Task, fitted_task
from sim.workers.pool import Workers
from sim.workers.start import open_workers

STAGES = ("renders", "perception", "action_head", "decide")
SOURCE = "source"
CANDIDATES = ("perception", "head", "perception+head")
"""What is compared with the source, the smallest change first."""
ENOUGH = 0.05
"""Share of the source's error by which a candidate's must be lower."""
ALL_BETTER = 4
"""With as many held-out demonstrations or more, the lower error must be significant at 95 % (paired, one-sided t);
with fewer it must be lower in each."""
RADIUS = 0.03
"""Of success, where the task states none [m]."""
ARMS = 16
"""Simulated at once for the action head."""


@dataclass(frozen=True)
class DemonstratedConfig:
    """How a camera policy is adapted by demonstrations."""

    out: Path
    """Where the adapted bundle is written; must not exist. None is written if no candidate is better."""
    source: Path
    """Bundle of the simulated camera policy."""
    demos: Path
    """LeRobot data set in SI units, at the rate of the policy's actions, with pictures of its cameras."""
    recorded_cameras: str = ""
    """Rig's file (.json) of the cameras as they really are, where pictures are not rectified to the policy's."""
    most: int = 0
    """How many demonstrations are used at most, the first ones; 0 for all."""
    held_out: float = 0.25
    """Share of the demonstrations, the last ones, that decide and teach nothing; one at least."""
    seed: int = 0
    """Seed of everything random."""
    workers: int = 2
    """Processes that simulate."""
    device: str = "cpu"
    """Where networks learn: auto (an accelerator if there is one), cpu, cuda or mps."""
    name: str = ""
    """Name of the policy in reports; by default the source's and what was changed."""
    perception: PerceptionTuning = field(default_factory=PerceptionTuning)
    """How encoder and geometry are trained further."""
    head: HeadTuning = field(default_factory=HeadTuning)
    """How the action head is corrected."""

    def validate(self) -> None:
        """Raise ValueError for a field out of range, or an `out` that exists."""
        if self.out.exists():
            raise ValueError(f"'{self.out}' exists already; choose another --out, or remove it")
        if self.most < 0:
            raise ValueError(f"most is {self.most}, expected a number of demonstrations, or 0 for all")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out is {self.held_out}, expected a share between 0 and 1")
        if self.workers < 1:
            raise ValueError(f"workers is {self.workers}, expected at least 1")
        find_device(self.device)
        self.perception.validate()
        self.head.validate()

    def decisive(self) -> dict:
        """Return what decides the candidates, as plain JSON types."""
        fields = {**asdict(self), "source": PolicyBundle.load(self.source).hash, "demos": self.demos.resolve()}
        for name in ("out", "name", "workers", "device"):
            del fields[name]
        return json.loads(json.dumps(fields, default=str))


@dataclass(frozen=True)
class DemonstratedOutcome:
    """Result of a transfer by demonstrations."""

    bundle: PolicyBundle
    """The winner, or the source."""
    chosen: str
    """`source`, or one of `CANDIDATES`."""
    report: dict
    """Errors of every candidate on the held-out demonstrations, as plain JSON types."""


def transfer_demonstrations(
    config: DemonstratedConfig, progress: StageProgress, folder: Path | None = None
) -> DemonstratedOutcome:
    """Adapt a camera policy by demonstrations; the bundle is not written.

    Args:
        config: what is adapted, by what.
        progress: called with stage, share and a text.
        folder: keeps the candidates, and has those of an earlier process; None to keep nothing.

    Raises:
        ValueError: if the configuration makes no sense.
        BundleError: if the bundle cannot be trained further, or is not of a kind that demonstrations adapt.
        DatasetError: if the data set does not fit, or has fewer than two successful episodes.
        RunError: if `folder` holds another adaptation.
        LockedError: if another process goes on with it.
    """
    config.validate()
    torch.manual_seed(config.seed)
    bundle = PolicyBundle.load(config.source)
    _check_source(bundle)
    student, rig = restore_student(bundle), Rig(bundle.name, tuple(bundle.cameras.values()))
    robot = load_robot(bundle.arm)
    task = fitted_task(bundle.task, robot, rig)
    real = read_cameras(config.recorded_cameras) if config.recorded_cameras else ()
    recorded = {each.name: each for each in real}
    episodes = read_episodes(config.demos, robot, bundle.action, bundle.cameras, recorded, config.most)
    taught, held_out = split_episodes(episodes, config.held_out)
    demonstrated = labelled_frames(taught, robot, task, bundle.cameras)
    seeds = np.random.SeedSequence([config.seed, 29]).generate_state(4).tolist()
    space = ParameterSpace.from_dict(bundle.provenance["parameter_space"])
    with ExitStack() as stack:
        kept = stack.enter_context(NOWHERE if folder is None else CandidateFolder.begin(folder, config.decisive()))
        workers = stack.enter_context(open_workers(config.workers))

        def see(seeing: CameraStudent, checkpoints: Checkpoints) -> None:
            count, told = config.perception.renders, stage(progress, "renders")
            arguments = bundle.task, bundle.arm, space, count, seeds[0], workers, lambda share: told(share, "")
            renders = sample_renders(*arguments, cameras=rig)
            told = stage(progress, "perception")
            with moved(seeing.encoder, find_device(config.device)):
                tune_perception(seeing, demonstrated, renders, config.perception, seeds[1], told, checkpoints)

        def act(base: CameraStudent, acting: CameraStudent, checkpoints: Checkpoints) -> None:
            shown = [replay(base, each) for each in taught], [intention(each, bundle.action) for each in taught]
            told = stage(progress, "action_head")
            tune_head(acting.action_head, *shown, simulated, config.head, seeds[3], told, checkpoints)

        perception, head, both = CANDIDATES
        changed = {SOURCE: student, perception: _candidate(kept, perception, student, see)}
        simulated = _simulated(config, bundle, rig, space, student, workers, seeds[2])
        for name, base in ((head, student), (both, changed[perception])):
            changed[name] = _candidate(kept, name, base, partial(act, base))
    radius = task.success_radius or RADIUS
    errors = {}
    for k, (name, each) in enumerate(changed.items()):
        errors[name] = [_error(each, episode, task, bundle, radius) for episode in held_out]
        progress("decide", (k + 1) / len(changed), name)
    chosen = choose_candidate({name: [each.total for each in found] for name, found in errors.items()})
    report = _report(bundle, config, taught, held_out, errors, chosen, demonstrated)
    if chosen == SOURCE:
        return DemonstratedOutcome(bundle, SOURCE, report)
    name = config.name or f"{bundle.name}+{chosen}"
    seen = labelled_frames(held_out, robot, task, bundle.cameras)
    return DemonstratedOutcome(_pack(name, bundle, changed[chosen], demonstrated, seen, report), chosen, report)


def _candidate(
    kept: CandidateFolder, name: str, base: CameraStudent, tune: Callable[[CameraStudent, Checkpoints], None]
) -> CameraStudent:
    """Return `base` as `tune` changes it, or as an earlier process has left it."""
    student, begun = copy.deepcopy(base), time.monotonic()
    if kept.load(name, student) is None:
        tuned = copy.deepcopy(base)
        tune(tuned, kept.checkpoints(name))
        kept.save(name, tuned, {}, time.monotonic() - begun)
        student.load_state_dict(tuned.state_dict())  # laid out in memory as one that is loaded: equal to the bit
    return student


def choose_candidate(errors: Mapping[str, Sequence[float]]) -> str:
    """Return the candidate of the lowest mean error among those that are better than the source, or else the source.

    Better is lower by `ENOUGH` on average, and in each held-out demonstration, or significantly; see `ALL_BETTER`.

    Args:
        errors: of each candidate and the source in the same held-out demonstrations.
    """
    source = np.array(errors[SOURCE])
    better = [name for name in errors if name != SOURCE and _better(np.array(errors[name]), source)]
    return min(better, key=lambda name: float(np.mean(errors[name])), default=SOURCE)


def _better(errors: np.ndarray, source: np.ndarray) -> bool:
    from scipy.stats import t

    gained = source - errors
    if not gained.mean() >= ENOUGH * source.mean():
        return False
    if len(gained) < ALL_BETTER:
        return bool((gained > 0).all())
    spread = max(float(gained.std(ddof=1)), 1e-12)
    return bool(gained.mean() / (spread / np.sqrt(len(gained))) > t.ppf(0.95, len(gained) - 1))


def _check_source(bundle: PolicyBundle) -> None:
    if bundle.network.get("kind") != CAMERA_STUDENT:
        raise BundleError(
            f"policy '{bundle.name}' is no camera policy of 'sim2real train', and sees no demonstrations; from "
            "state, learn from them with 'sim2real train --algorithm sac --demonstrations'"
        )
    if bundle.things is not None or any(name.startswith(CALIBRATION) for name in bundle.observation.names):
        what = "is asked for one of several things" if bundle.things is not None else "takes cameras anywhere"
        raise BundleError(
            f"policy '{bundle.name}' {what}: demonstrations do not label that; transfer a policy for one thing and "
            "cameras in their places"
        )
    if "parameter_space" not in bundle.provenance:
        raise BundleError(
            f"bundle '{bundle.name}' does not say in which parameter space it was trained; use the bundle that "
            "'sim2real train' wrote"
        )


def _simulated(
    config: DemonstratedConfig,
    bundle: PolicyBundle,
    rig: Rig,
    space: ParameterSpace,
    student: CameraStudent,
    workers: Workers,
    seed: int,
) -> Records:
    """Let expert and policy act in simulation, with positions as wrong as a camera's, labelled by the expert."""
    names = tuple(name for name, _ in student.action_head.arrays)
    make = FullLengthEnv(bundle.task, bundle.arm, space, names, rig, exact=False, perception_noise=True)
    recipe = replace(
        state_recipe(bundle.task, bundle.robot.name), envs=ARMS, round_steps=config.head.simulated_steps, rounds=2
    )
    rollout = Rollout(make, recipe, 1, seed, 10**9, tuple(bundle.action.names), make.names())
    return collect(workers, student.action_head, rollout, silent)


def _error(
    student: CameraStudent, episode: DemonstratedEpisode, task: Task, bundle: PolicyBundle, radius: float
) -> ReplayError:
    places = place_labels(episode, load_robot(bundle.arm), task)
    return replay_error(replay(student, episode), intention(episode, bundle.action), places, radius)


def _report(
    bundle: PolicyBundle,
    config: DemonstratedConfig,
    taught: Sequence[DemonstratedEpisode],
    held_out: Sequence[DemonstratedEpisode],
    errors: Mapping[str, Sequence[ReplayError]],
    chosen: str,
    demonstrated: tuple[LabelledRenders, ...],
) -> dict:
    points = demonstrated[0].points
    landmarks = list(bundle.network["landmarks"])
    return {
        "chosen": chosen,
        "demonstrations": str(config.demos),
        "taught": [each.number for each in taught],
        "held_out": [each.number for each in held_out],
        "frames": len(points),
        "labelled": {name: float(np.isfinite(points[:, k]).all(axis=1).mean()) for k, name in enumerate(landmarks)},
        "candidates": {
            name: {
                "error": float(np.mean([each.total for each in found])),
                "each": [each.total for each in found],
                **{
                    part: float(np.mean([getattr(each, part) for each in found]))
                    for part in ("places", "direction", "gripper")
                },
            }
            for name, found in errors.items()
        },
    }


def _pack(
    name: str,
    bundle: PolicyBundle,
    student: CameraStudent,
    demonstrated: tuple[LabelledRenders, ...],
    held_out: tuple[LabelledRenders, ...],
    report: dict,
) -> PolicyBundle:
    """Export the winner; what counts as an unusual input is widened by the demonstrations."""
    images = {f"image_{camera}": each.images for camera, each in zip(bundle.cameras, held_out)}
    every = {"q": held_out[0].q, "opening": held_out[0].opening, **images}
    rows = np.linspace(0, len(held_out[0]) - 1, min(200, len(held_out[0]))).astype(int)
    records, begin = parity_records(student, {each: every[each][rows] for each in bundle.observation.names})
    seen = bundle.robot, bundle.cameras, [each.images for each in demonstrated]
    residuals = landmark_residuals(
        student, *seen, demonstrated[0].q, demonstrated[0].opening, [None] * len(demonstrated)
    )
    packed = export_bundle(
        name,
        student,
        Contract(bundle.task, bundle.observation, bundle.action, bundle.robot, bundle.cameras),
        records,
        bundle.network,
        {
            "demonstrations": {"parent": bundle.hash, **report},
            "parent": bundle.provenance,
            **{key: bundle.provenance[key] for key in ("parameter_space", "config") if key in bundle.provenance},
            **provenance(),
        },
        memory=student.memory,
        begin=begin,
        masking=bundle.masking,
        landmarks=bundle.landmarks.widened(residuals) if bundle.landmarks and residuals else bundle.landmarks,
    )
    shown = {f"image_{camera}": each.images for camera, each in zip(bundle.cameras, demonstrated)}
    return replace(packed, inputs=bundle.inputs.widened(shown))
