"""Train a policy of action chunks from a data set of demonstrations alone: no simulation, no expert.

First the encoder learns the landmarks whose places the data itself tells, then all of the policy learns to act. Rests
of the demonstrator are cut out. Killed at any time, a run goes on from its newest checkpoints, to the same policy. Its
folder holds what `policies.training.run_folder` says, perception.csv with the losses of both stages, and bundle/.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from policies.bundle import PolicyBundle
from policies.bundle.export import Contract, export_bundle
from policies.bundle.input_watch import FEWEST, InputWatch
from policies.bundle.provenance import provenance
from policies.cloning.chunk_policy import ChunkPolicy
from policies.cloning.episodes import DemonstratedEpisode, read_episodes
from policies.cloning.labels import labelled_frames
from policies.cloning.perception_tuning import variants
from policies.cloning.replays import intention
from policies.imitation.camera_run import camera_contract, check_cameras
from policies.imitation.perception import fit_encoder
from policies.models.keypoint_encoder import ForwardKinematics, KeypointEncoder
from policies.models.parity import RECORDS
from policies.training.checkpoints import Checkpoints
from policies.training.descent import Loss, adam_w, gradient_descent, one_cycle
from policies.training.device import device_of, find_device, moved
from policies.training.progress import StageProgress, stage
from policies.training.run_config import refuse_other_fields
from policies.training.run_folder import RunFolder, read_run_config, refuse_existing
from robots.registry import load_robot
from robots.rig import read_cameras
from robots.specs import ActionSpec
from sim.datasets.labelled_renders import LabelledRenders
from sim.tasks import Task, fitted_task
from sim.tasks.recipe import PerceptionRecipe
from sim.tasks.task import DEFAULT_RIG

STAGES = ("landmarks", "chunks", "bundle")
LABEL_WEIGHT = 0.5
"""Of the landmarks' error in the loss of the second stage."""


@dataclass(frozen=True)
class CloningRecipe:
    """How a policy of action chunks is cloned."""

    horizon: float = 0.8
    """Length of a chunk [s]."""
    forgetting: float = 0.9
    """Share of an earlier chunk's weight that is kept with every action."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the perceptron's layers."""
    channels: int = 32
    """Width of the encoder."""
    free_keypoints: int = 8
    """Keypoints without labels, beside the task's and the arm's landmarks."""
    landmark_steps: int = 400
    """Gradient steps of the encoder on labelled landmarks."""
    steps: int = 800
    """Gradient steps of the whole policy."""
    batch: int = 32
    """Moments a gradient step."""
    learning_rate: float = 1e-3
    """Peak of the one-cycle schedule."""
    frames: int = 4_000
    """Demonstrated frames of each camera, variants under other light included."""

    def validate(self) -> None:
        """Raise ValueError for a field out of range."""
        for name in ("horizon", "channels", "landmark_steps", "steps", "batch", "learning_rate", "frames"):
            if not getattr(self, name) > 0:
                raise ValueError(f"cloning: {name} is {getattr(self, name)}, expected a positive number")
        if not 0 <= self.forgetting <= 1 or self.free_keypoints < 0 or not self.hidden:
            raise ValueError(
                f"cloning: forgetting is {self.forgetting}, free_keypoints {self.free_keypoints}, hidden "
                f"{self.hidden}; expected a share from 0 to 1, a count, and widths"
            )


@dataclass(frozen=True)
class CloneConfig:
    """How a policy is cloned from demonstrations alone."""

    out: Path
    """Folder of the run; must not exist."""
    task: str = "reach"
    """What is demonstrated."""
    robot: str = "franka_panda"
    """The arm."""
    cameras: str = DEFAULT_RIG
    """The camera rig that the policy observes."""
    demonstrations: Path | None = None
    """LeRobot data set in SI units, at the rate of the task's actions, with pictures of the rig's cameras."""
    recorded_cameras: str = ""
    """Rig's file (.json) of the cameras as they really are, where pictures are not rectified to the policy's."""
    most: int = 0
    """How many demonstrations are used at most, the first ones; 0 for all."""
    name: str = ""
    """Name of the policy in reports; by default that of the folder."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "cpu"
    """Where networks learn: auto (an accelerator if there is one), cpu, cuda or mps."""
    recipe: CloningRecipe = field(default_factory=CloningRecipe)
    """How it is cloned."""

    def validate(self) -> None:
        """Raise ValueError for a field out of range, or an `out` that exists."""
        refuse_existing(self.out)
        if self.most < 0:
            raise ValueError(f"most is {self.most}, expected a number of demonstrations, or 0 for all")
        if self.demonstrations is None:
            raise ValueError("cloning learns from demonstrations alone; give --demonstrations DATASET")
        self.recipe.validate()
        find_device(self.device)
        check_cameras(self.fitted_task())

    def fitted_task(self) -> Task:
        """Return the task, laid out for arm and cameras."""
        return fitted_task(self.task, load_robot(self.robot), self.cameras)

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return json.loads(json.dumps({**asdict(self), "algorithm": "cloning"}, default=str))

    @classmethod
    def from_dict(cls, data: dict) -> CloneConfig:
        """Build from the result of `to_dict`; raise as `RunConfig.from_dict`."""
        kept = {name: value for name, value in data.items() if name != "algorithm"}
        refuse_other_fields(cls, kept)
        recipe = CloningRecipe(**{**kept["recipe"], "hidden": tuple(kept["recipe"]["hidden"])})
        paths = {name: Path(kept[name]) for name in ("out", "demonstrations")}
        return cls(**{**kept, **paths, "recipe": recipe})


def train_clone(config: CloneConfig, progress: StageProgress) -> PolicyBundle:
    """Clone a policy in a new folder.

    Raises:
        ValueError: if the configuration makes no sense.
        DatasetError: if the data set does not fit; nothing has been written then.
    """
    config.validate()
    contract = camera_contract(config.task, config.robot, config.cameras)
    episodes = _demonstrated(config, contract)
    folder = RunFolder.create(config.out, {"config.json": config.to_dict(), "provenance.json": provenance()})
    with folder.lock():
        return _finish(config, folder, contract, episodes, progress)


def resume_clone(path: Path, progress: StageProgress) -> PolicyBundle:
    """Go on with the run in `path` from its newest checkpoints.

    Raises:
        RunError: if there is no unfinished run.
        DatasetError: if the data set does not fit.
        LockedError: if another process carries it out.
    """
    folder = RunFolder.open(path)
    config = CloneConfig.from_dict(read_run_config(path))
    contract = camera_contract(config.task, config.robot, config.cameras)
    with folder.lock():
        return _finish(config, folder, contract, _demonstrated(config, contract), progress)


def _demonstrated(config: CloneConfig, contract: Contract) -> tuple[DemonstratedEpisode, ...]:
    """Read what the demonstrator showed."""
    assert config.demonstrations is not None
    real = read_cameras(config.recorded_cameras) if config.recorded_cameras else ()
    recorded, robot, action = {each.name: each for each in real}, load_robot(config.robot), contract.action
    return tuple(read_episodes(config.demonstrations, robot, action, contract.cameras, recorded, config.most))


def _finish(
    config: CloneConfig,
    folder: RunFolder,
    contract: Contract,
    episodes: tuple[DemonstratedEpisode, ...],
    progress: StageProgress,
) -> PolicyBundle:
    """Train what is not trained yet, and export the bundle."""
    torch.manual_seed(config.seed)
    task, robot, recipe = config.fitted_task(), load_robot(config.robot), config.recipe
    episodes = tuple(without_rests(each, task.action) for each in episodes)
    policy, landmarks = _untrained(config, contract, task)
    kept = Checkpoints(folder.path)
    frames = labelled_frames(episodes, robot, task, contract.cameras)
    rng = np.random.default_rng(config.seed)
    rows = rng.permutation(np.resize(np.arange(len(frames[0])), max(recipe.frames, len(frames[0]))))
    varied = tuple(variants(each[rows], rng, most_shift=1) for each in frames)
    chunks = np.concatenate([chunks_of(each.actions, policy.horizon) for each in episodes])[rows]
    with moved(policy, find_device(config.device)):
        _fit_landmarks(policy, varied, recipe, config.seed, progress, kept)
        error = _fit_chunks(policy, landmarks, varied, chunks, recipe, config.seed, progress, kept)
    metrics = {"episodes": len(episodes), "frames": len(frames[0]), "loss": error}
    about = {"config": config.to_dict(), "metrics": metrics, **folder.read_json("provenance.json")}
    bundle = _export(config.name or config.out.name, policy, contract, episodes[0], frames, about)
    path = config.out / "bundle"
    shutil.rmtree(path, ignore_errors=True)  # of this very run, killed between writing it and metrics.json
    bundle.save(path)
    folder.finish(metrics)
    progress("bundle", 1.0, str(path))
    return bundle


def without_rests(episode: DemonstratedEpisode, spec: ActionSpec) -> DemonstratedEpisode:
    """Return `episode` without the frames in which the demonstrator rests; those about a change of the fingers stay."""
    wanted = intention(episode, spec)
    still = ~wanted.moving & wanted.settled
    kept = ~still | (np.arange(len(episode)) >= len(episode) - round(0.5 * spec.rate_hz))
    images = {name: each[kept] for name, each in episode.images.items()}
    arrays = {name: getattr(episode, name)[kept] for name in ("q", "opening", "asked_opening", "actions")}
    return replace(episode, images=images, **arrays)


def chunks_of(actions: np.ndarray, horizon: int) -> np.ndarray:
    """Return the next actions (N, H, a) of each frame, by actions (N, a); after the end the last one with no motion."""
    last = actions[-1:].copy()
    last[:, : 3 if actions.shape[1] > 3 else None] = 0.0
    padded = np.concatenate([actions, np.repeat(last, horizon, axis=0)])
    return np.stack([padded[k : k + len(actions)] for k in range(horizon)], axis=1).astype(np.float32)


def _untrained(config: CloneConfig, contract: Contract, task: Task) -> tuple[ChunkPolicy, int]:
    """Build the policy; return it with the number of its labelled keypoints."""
    robot, recipe, camera = load_robot(config.robot), config.recipe, task.cameras[0]
    labelled = len(task.landmarks) + len(robot.landmarks)
    encoder = KeypointEncoder(labelled + recipe.free_keypoints, camera.height, camera.width, recipe.channels)
    fingers = "opening" in contract.observation.names
    horizon = max(1, round(recipe.horizon * task.action.rate_hz))
    policy = ChunkPolicy(
        encoder,
        ForwardKinematics(robot.chain),
        len(robot.joint_names),
        fingers,
        len(task.cameras),
        task.action.names,
        horizon,
        recipe.hidden,
        recipe.forgetting,
    )
    return policy, labelled


def _with_free(frames: LabelledRenders, keypoints: int) -> LabelledRenders:
    """Return frames with unknown places for keypoints that have no label."""
    free = keypoints - frames.pixels.shape[1]
    return replace(frames, pixels=np.pad(frames.pixels, ((0, 0), (0, free), (0, 0)), constant_values=np.nan))


def _fit_landmarks(
    policy: ChunkPolicy,
    frames: tuple[LabelledRenders, ...],
    recipe: CloningRecipe,
    seed: int,
    progress: StageProgress,
    checkpoints: Checkpoints,
) -> None:
    keypoints = policy.encoder.heat.out_channels
    pictures = LabelledRenders.joined([_with_free(each, keypoints) for each in frames])
    how = PerceptionRecipe(
        renders=len(pictures),
        steps=recipe.landmark_steps,
        batch=2 * recipe.batch,
        channels=recipe.channels,
        object_weight=4.0,
        held_out=1,
    )
    fit_encoder(policy.encoder, pictures, how, seed, stage(progress, "landmarks"), checkpoints=checkpoints)


def _fit_chunks(
    policy: ChunkPolicy,
    landmarks: int,
    frames: tuple[LabelledRenders, ...],
    chunks: np.ndarray,
    recipe: CloningRecipe,
    seed: int,
    progress: StageProgress,
    checkpoints: Checkpoints,
) -> float:
    """Train all of the policy to predict `chunks` (N, H, a); return the mean of its last losses."""
    generator, device = torch.Generator().manual_seed(seed), device_of(policy)
    q, opening = (torch.from_numpy(each).to(device) for each in (frames[0].q, frames[0].opening))
    measured = policy.measure(q, opening) if policy.fingers else policy.measure(q)
    policy.fit_normaliser(measured)
    images = [torch.from_numpy(each.images).to(device) for each in frames]
    places = torch.cat([policy.encoder.from_pixels(torch.from_numpy(each.pixels)) for each in frames], dim=1)
    seen = (places.abs() <= 1.02).all(-1).float()
    places, seen, wanted = (each.to(device) for each in (torch.nan_to_num(places), seen, torch.from_numpy(chunks)))
    labelled = (torch.arange(policy.encoder.heat.out_channels, device=device) < landmarks).repeat(policy.cameras)
    optimiser = adam_w(policy.parameters(), recipe.learning_rate, 1e-3)

    def loss(step: int) -> Loss:
        rows = torch.randint(len(wanted), (recipe.batch,), generator=generator).to(device)
        points = policy.locate(*(each[rows] for each in images))
        error = F.l1_loss(policy.chunk(points, measured[rows]), wanted[rows])
        off = ((points[:, labelled, :2] - places[rows]).abs().sum(-1) * seen[rows]).mean()
        return Loss(error + LABEL_WEIGHT * off, text=lambda: f"actions {float(error.detach()):.3f}")

    policy.train()
    told, rates = stage(progress, "chunks"), one_cycle(recipe.learning_rate, recipe.steps)
    kept = checkpoints.of("chunks", network=policy, optimiser=optimiser, generator=generator)
    found = gradient_descent(optimiser, rates, recipe.steps, loss, told, checkpoint=kept)
    policy.eval()
    return found


def _export(
    name: str,
    policy: ChunkPolicy,
    contract: Contract,
    first: DemonstratedEpisode,
    frames: Sequence[LabelledRenders],
    about: dict,
) -> PolicyBundle:
    """Export the policy; its first episode is the parity record, and only pictures are watched.

    A few demonstrations do not tell which joint positions are unusual.
    """
    every = {"q": first.q, "opening": first.opening}
    every |= {f"image_{camera}": first.images[camera] for camera in contract.cameras}
    records = {each: every[each][:RECORDS] for each in contract.observation.names}
    begin = np.arange(len(next(iter(records.values())))) == 0
    arguments = policy, contract, records, policy.architecture(), about
    bundle = export_bundle(name, *arguments, memory=policy.memory, begin=begin)
    if len(frames[0]) < FEWEST:
        return bundle
    shown = {f"image_{camera}": each.images for camera, each in zip(contract.cameras, frames)}
    every = {"q": frames[0].q, "opening": frames[0].opening, **shown}
    watch = InputWatch.record(contract.observation, {each: every[each] for each in contract.observation.names})
    kept = {each.name: watch.ranges[each.name] for each in contract.observation.arrays if each.is_image}
    return replace(bundle, inputs=InputWatch(kept))
