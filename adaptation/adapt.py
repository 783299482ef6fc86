"""Adapt a camera policy to its target from unlabelled frames; refuse when nothing wins.

    bundle + frames ─▶ candidates ─▶ steadiness on frames held out ─▶ winner, or source-only

Each candidate changes a copy of the student. Source-only is always among them and is kept unless another
is steadier on trials that no candidate has seen.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from adaptation.image_level import channels_swapped
from adaptation.self_calibration import Calibration, arm_landmarks, calibrate
from adaptation.target import TargetData
from adaptation.validator import Steadiness, fewest_trials, steadiness
from policies.bundle import PolicyBundle
from policies.export import export_bundle
from policies.networks import CameraStudent, as_network_image
from policies.provenance import provenance
from policies.restore import restore_student
from policies.student import StudentConfig, fit_geometry, see
from policies.train import camera_contract
from sim.catalogue import parameter_space
from sim.robot import load_robot
from sim.tasks import load_task
from sim.views import sample_geometry

SOURCE_ONLY = "source-only"
CAMERAS = 64
"""Cameras drawn from the posterior to train the geometry on."""

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Candidate:
    """A student that one method made."""

    method: str
    student: CameraStudent
    report: dict
    """What the method found."""


@dataclass(frozen=True)
class Outcome:
    """What came of an adaptation."""

    bundle: PolicyBundle
    """The winner: a new bundle, or the one that was given."""
    method: str
    """The winner's method."""
    report: dict
    """Every candidate's figures, as plain JSON types."""


def adapt(
    bundle: PolicyBundle,
    target: TargetData,
    method: str,
    seed: int,
    progress: Progress,
    budget: float = math.inf,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Adapt `bundle` to `target` by `method`, one of `METHODS` or `auto` for the steadiest.

    Args:
        bundle: a camera policy.
        target: frames of the target, without labels.
        method: by which, or `auto` for all.
        seed: of everything random.
        progress: told the share that is done and the method that is tried.
        budget: time after which no further candidate is begun [s]; those left out are named in the report.
        clock: that the budget is measured by [s].

    Raises:
        TargetError: if the target data does not fit the bundle.
        BundleError: if the bundle cannot be trained further.
        ValueError: for an unknown method; lists the known ones.
    """
    names = list(METHODS) if method == "auto" else [SOURCE_ONLY, method]
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise ValueError(f"unknown method '{unknown[0]}'; known are auto, {', '.join(METHODS)}")
    (image,) = (array for array in bundle.observation.arrays if array.is_image)
    target.validate(image.shape[0], image.shape[1], len(bundle.robot.joint_names))
    student = restore_student(bundle)
    fit, held_out = split(target)
    candidates, scores, skipped = [], [], []
    begun = clock()
    for i, name in enumerate(dict.fromkeys(names)):
        if i > 1 and clock() - begun > budget:
            skipped.append(name)
            continue
        progress(i / len(names), name)
        torch.manual_seed(seed)
        changed, report = METHODS[name](copy.deepcopy(student), bundle, fit, seed)
        candidates.append(Candidate(name, changed.eval(), report))
        scores.append(steadiness(locate_goals(changed, held_out), held_out.trial))
    chosen = candidates[_choose(scores)]
    tests = max(1, len(scores) - 1)
    report = {
        "chosen": chosen.method,
        "frames": len(target),
        "trials": len(np.unique(target.trial)),
        "judged_trials": len(scores[0].scatter),
        "fewest_judged_trials": fewest_trials(tests),
        "out_of_time": skipped,
        "warnings": _warnings(bundle, target, image.name),
        "candidates": {
            candidate.method: {
                "scatter": score.score,
                "spread": score.spread,
                "beats_source_only": score.beats(scores[0], candidates=tests),
                **candidate.report,
            }
            for candidate, score in zip(candidates, scores)
        },
    }
    progress(1.0, chosen.method)
    if chosen.method == SOURCE_ONLY:
        return Outcome(bundle, SOURCE_ONLY, report)
    return Outcome(_pack(bundle, chosen, target, report), chosen.method, report)


def _warnings(bundle: PolicyBundle, target: TargetData, image: str) -> list[str]:
    """Say what looks wrong with the target beside the pictures that the bundle recorded, without being certain."""
    recorded = bundle.parity.get(f"observation.{image}")
    if recorded is not None and channels_swapped(target.images, recorded):
        return ["the target's pictures look as if red and blue were swapped; are they RGB?"]
    return []


def split(target: TargetData) -> tuple[TargetData, TargetData]:
    """Split by trial, alternately: to fit on, and to judge by."""
    trials = np.unique(target.trial)
    judged = np.isin(target.trial, trials[1::2])
    return target[~judged], target[judged]


@torch.no_grad()
def locate_goals(student: CameraStudent, target: TargetData) -> np.ndarray:
    """Compute where the student takes the goals to be (N, 3) [m, base frame]."""
    q = torch.from_numpy(target.q)
    points = see(student.encoder, target.images)
    return (student.locate(points, q) + student.kinematics(q)).numpy()


def _choose(scores: list[Steadiness]) -> int:
    """Return the index of the winner: the first, unless a later one beats it, and so on down the list.

    The list goes from what changes least to what changes most, so that more change must earn its place. Whoever is
    first to beat source-only has had as many chances as there are candidates, and the level is divided by them.
    """
    best = 0
    for i in range(1, len(scores)):
        if scores[i].beats(scores[best], candidates=len(scores) - 1):
            best = i
    return best


def _pack(bundle: PolicyBundle, chosen: Candidate, target: TargetData, report: dict) -> PolicyBundle:
    rows = np.linspace(0, len(target) - 1, min(100, len(target))).astype(int)
    (image,) = (array.name for array in bundle.observation.arrays if array.is_image)
    contract = replace(camera_contract(bundle.task, bundle.robot.name), cameras=bundle.cameras, robot=bundle.robot)
    adaptation = {"parent": bundle.hash, "method": chosen.method, "target": target.hash, "report": report}
    return export_bundle(
        f"{bundle.name}+{chosen.method}",
        chosen.student,
        contract,
        {"q": target.q[rows], image: target.images[rows]},
        bundle.network,
        {"adaptation": adaptation, "parent": bundle.provenance, **provenance()},
    )


def _unchanged(student: CameraStudent, bundle: PolicyBundle, target: TargetData, seed: int):
    return student, {}


@torch.no_grad()
def _batch_norm(student: CameraStudent, bundle: PolicyBundle, target: TargetData, seed: int):
    """AdaBN (Li et al. 2016): the target's own statistics in every batch normalisation."""
    layers = [layer for layer in student.encoder.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over all batches
        layer.train()
    order = np.random.default_rng(seed).permutation(len(target))
    for rows in np.array_split(order, max(1, len(order) // 64)):
        student.encoder(as_network_image(torch.from_numpy(target.images[rows])))
    student.eval()
    return student, {}


def _self_calibration(student: CameraStudent, bundle: PolicyBundle, target: TargetData, seed: int):
    """Find the camera from the arm it sees, and learn the geometry of that camera alone."""
    calibration = find_camera(student, bundle, target)
    rng = np.random.default_rng(seed)
    (nominal,) = bundle.cameras.values()
    space = parameter_space(load_task(bundle.task), bundle.robot).preset("full")
    robot = replace(load_robot(bundle.robot.name), landmarks=bundle.robot.landmarks)
    q, points, goal = sample_geometry(bundle.task, robot, space, 8_000, seed)
    pixels = np.empty((*points.shape[:2], 2))
    for rows in np.array_split(np.arange(len(q)), CAMERAS):
        camera = calibration.sample(nominal, rng)
        pixels[rows] = camera.project(points[rows].reshape(-1, 3)).reshape(len(rows), -1, 2)
    # the median length of a Gaussian error in the plane is 1.18 standard deviations
    pixels += rng.normal(0.0, calibration.after_px / 1.18, pixels.shape)
    located = student.encoder.from_pixels(torch.from_numpy(pixels.astype(np.float32))).clamp(-1.0, 1.0)
    # The camera is known now: how unsure the landmarks are no longer matters, so spreads are any of the target's
    spreads = see(student.encoder, target.images)[..., 2:]
    seen = torch.cat([located, spreads[torch.from_numpy(rng.integers(len(spreads), size=len(q)))]], dim=2)
    joints = torch.from_numpy(q)
    to_goal = torch.from_numpy(goal) - student.kinematics(joints)
    fit_geometry(student, seen, joints, to_goal, StudentConfig(), seed, lambda share, text: None)
    return student, {
        "landmarks_before_px": calibration.before_px,
        "landmarks_after_px": calibration.after_px,
        "camera_moved": {
            "turn_deg": float(np.degrees(np.linalg.norm(calibration.mean[:3]))),
            "shift_m": float(np.linalg.norm(calibration.mean[3:6])),
            "focal": float(1 + calibration.mean[6]),
        },
    }


def find_camera(student: CameraStudent, bundle: PolicyBundle, target: TargetData) -> Calibration:
    """Calibrate the bundle's camera from where the student sees the arm's landmarks in `target`."""
    (nominal,) = bundle.cameras.values()
    arm = len(bundle.robot.landmarks)
    seen = see(student.encoder, target.images)[:, -arm:]
    pixels, spread = student.encoder.to_pixels(seen[..., :2]).numpy(), seen[..., 2].numpy() * nominal.width / 2
    return calibrate(nominal, arm_landmarks(bundle.robot, target.q), pixels, spread)


def _both(student: CameraStudent, bundle: PolicyBundle, target: TargetData, seed: int):
    student, _ = _batch_norm(student, bundle, target, seed)
    return _self_calibration(student, bundle, target, seed)


METHODS = {
    SOURCE_ONLY: _unchanged,
    "self-calibration": _self_calibration,
    "batch-norm": _batch_norm,
    "batch-norm+self-calibration": _both,
}
"""Adaptation methods by name, what changes least first; each changes the copy of the student it is given."""
