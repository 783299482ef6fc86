"""Adapt a camera policy to its target from unlabelled frames.

    bundle + frames ─▶ candidates ─▶ label-free model selection on held-out trials ─▶ winner, or source-only

Each candidate changes a copy of the student. Source-only is always among them and is kept unless another one wins the
test of `adaptation.visual.model_selection`.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from adaptation.visual.image_level import channels_swapped
from adaptation.visual.inputs import AdaptationInputs
from adaptation.visual.methods import METHODS, SOURCE_ONLY
from adaptation.visual.misplacement import cameras_of, misplacement
from adaptation.visual.model_selection import (
    ActionAgreement,
    GoalConsistency,
    action_agreement,
    fewest_trials,
    goal_consistency,
)
from adaptation.visual.target import IMAGE, TargetData, TargetError, named
from policies.bundle import PolicyBundle
from policies.bundle.export import Contract, export_bundle
from policies.bundle.provenance import provenance
from policies.imitation.detection import detect
from policies.imitation.perception import landmark_residuals
from policies.models.camera_policy import CameraPolicy
from policies.models.camera_student import GOAL, CameraStudent
from policies.models.parity import RECORDS, parity_records
from policies.models.restore import restore_student
from policies.training.candidate_folder import NOWHERE, CandidateFolder
from policies.training.device import CPU, moved
from policies.training.progress import Progress
from robots.observation import CALIBRATION

FEWEST_CANDIDATES = 3
"""Candidates that `auto` always tries."""


@dataclass(frozen=True)
class Candidate:
    """A student that one method adapted."""

    method: str
    student: CameraStudent
    report: dict
    """The method's figures."""


@dataclass(frozen=True)
class Outcome:
    """Result of an adaptation."""

    bundle: PolicyBundle
    """The winner: a new bundle, or the parent where source-only wins."""
    method: str
    """The winner's method."""
    report: dict
    """Every candidate's figures, as plain JSON types."""


def adapt_bundle(
    bundle: PolicyBundle,
    target: TargetData,
    method: str,
    seed: int,
    progress: Progress,
    budget: float = math.inf,
    clock: Callable[[], float] = time.monotonic,
    any_colours: bool = False,
    device: torch.device = CPU,
    folder: Path | None = None,
) -> Outcome:
    """Adapt `bundle` to `target` by `method`, one or several of `METHODS`, or `auto`, which tries as many as can win.

    Args:
        bundle: a camera policy.
        target: frames of the target, without labels.
        method: names, comma-separated, or `auto`.
        seed: of everything random.
        progress: called with the share that is done and the method that is tried.
        budget: time of candidates after which no further one is started [s]; those left out are named in the report.
        clock: for the budget [s].
        any_colours: accept images whose red and blue appear swapped.
        device: where networks learn.
        folder: keeps the candidates, and has those of an earlier process; None to keep nothing.

    Raises:
        TargetError: if the target data does not fit the bundle.
        BundleError: if the bundle cannot be trained further.
        ValueError: for an unknown method; lists the known ones.
        RunError: if `folder` holds another adaptation.
        LockedError: if another process works in it.
    """
    named_methods = [] if method == "auto" else [name.strip() for name in method.split(",")]
    for name in named_methods:
        if name not in METHODS:
            raise ValueError(f"unknown method '{name}'; known are auto, {', '.join(METHODS)}")
    if any(name.startswith(CALIBRATION) for name in bundle.observation.names):
        raise TargetError(
            f"policy '{bundle.name}' takes its cameras' calibration, and is not adapted to their place; calibrate "
            "and place them: sim2real rig place"
        )
    if bundle.things is not None:
        raise TargetError(
            f"policy '{bundle.name}' is asked for one of several things, and frames do not tell for which; adapt the "
            "policy for one thing, or train with a wider --randomise"
        )
    target.validate(bundle)
    swapped = swapped_cameras(bundle, target)
    if swapped and not any_colours:
        raise TargetError(
            f"target: beside the images that the bundle recorded those of {', '.join(swapped)} look as if red and blue "
            "were swapped; hand over RGB, or, if the scene really looks so, say it with --any-colours"
        )
    student = restore_student(bundle)
    fit, held_out = split_trials(target)
    names = [SOURCE_ONLY, *named_methods] if named_methods else candidate_methods(len(np.unique(held_out.trial)))
    inputs = AdaptationInputs(bundle, fit, seed)
    about = {"bundle": bundle.hash, "target": target.hash, "method": method, "seed": seed, "device": device.type}
    with NOWHERE if folder is None else CandidateFolder.begin(folder, about) as kept:
        tried = _try_all(names, student, inputs, held_out, kept, device, progress, budget, clock)
    candidates, consistency, agreement = tried.candidates, tried.consistency, tried.agreement
    scores: Sequence[GoalConsistency | ActionAgreement] = agreement or consistency
    chosen = candidates[_choose(scores)]
    tests = max(1, len(scores) - 1)
    report = {
        "chosen": chosen.method,
        "frames": len(target),
        "trials": len(np.unique(target.trial)),
        "selection_trials": len(consistency[0].scatter),
        "fewest_selection_trials": fewest_trials(tests),
        "criterion": "action agreement" if agreement else "goal consistency",
        "skipped": tried.skipped,
        "candidates": {
            candidate.method: {
                "scatter": float(np.median(consistency[i].scatter)),
                "misplaced": float(np.median(consistency[i].misplaced)),
                "spread": consistency[i].spread,
                **({"action_difference": agreement[i].score} if agreement else {}),
                "beats_source_only": _beats(scores, i, 0, tests),
                **candidate.report,
            }
            for i, candidate in enumerate(candidates)
        },
    }
    progress(1.0, chosen.method)
    if chosen.method == SOURCE_ONLY:
        return Outcome(bundle, SOURCE_ONLY, report)
    return Outcome(_pack(bundle, chosen, target, report), chosen.method, report)


@dataclass
class _Tried:
    """Candidates, and how each does on the held-out frames."""

    candidates: list[Candidate] = field(default_factory=list)
    consistency: list[GoalConsistency] = field(default_factory=list)
    agreement: list[ActionAgreement] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def row(self, seconds: float) -> dict[str, str | float]:
        """Return the newest candidate's line of the table."""
        newest = self.consistency[-1]
        row = {"seconds": seconds, "scatter": float(np.median(newest.scatter)), "spread": float(newest.spread)}
        row["misplaced"] = float(np.median(newest.misplaced))
        row |= {"action_difference": float(self.agreement[-1].score)} if self.agreement else {}
        return {"method": self.candidates[-1].method, **row}


def _try_all(
    names: Sequence[str],
    student: CameraStudent,
    inputs: AdaptationInputs,
    held_out: TargetData,
    kept: CandidateFolder,
    device: torch.device,
    progress: Progress,
    budget: float,
    clock: Callable[[], float],
) -> _Tried:
    """Try the methods `names`, arguments otherwise as in `adapt_bundle`; `kept` has those of an earlier process."""
    tried, rows, spent, bundle = _Tried(), [], 0.0, inputs.bundle
    for i, name in enumerate(dict.fromkeys(names)):
        changed = copy.deepcopy(student)
        known = kept.load(name, changed)
        if known is None and i > 1 and spent > budget:
            tried.skipped.append(name)
            continue
        progress(i / len(names), name)
        if known is None:
            begun = clock()
            torch.manual_seed(inputs.seed)
            with moved(changed.encoder, device):
                figures = METHODS[name](changed, inputs, kept.checkpoints(name))
            known = figures, clock() - begun
            kept.save(name, changed, *known)
        spent += known[1]
        tried.candidates.append(Candidate(name, changed.eval(), known[0]))
        goals = locate_goals(changed, bundle, held_out)
        misplaced = misplacement(changed, bundle, cameras_of(bundle, known[0]), held_out)
        tried.consistency.append(goal_consistency(goals, held_out.trial, misplaced))
        if held_out.simulated is not None:
            there = replace(held_out, images=held_out.simulated)
            real, simulated = actions(changed, bundle, held_out), actions(student, bundle, there)
            tried.agreement.append(action_agreement(real, simulated, held_out.trial))
        rows.append(tried.row(known[1]))
        kept.write_metrics(rows)
    return tried


def candidate_methods(trials: int) -> list[str]:
    """Return the methods that `auto` tries: as many of the first ones as can win the test on so many held-out trials.

    Each further candidate lowers the level of the test for all of them.
    """
    return [name for i, name in enumerate(METHODS) if i <= FEWEST_CANDIDATES or fewest_trials(i) <= trials]


def swapped_cameras(bundle: PolicyBundle, target: TargetData) -> list[str]:
    """Return the cameras whose target images appear to be BGR, by the RGB ones that the bundle recorded."""
    recorded: Mapping[str, np.ndarray] = {
        camera: bundle.parity[f"observation.{IMAGE}{camera}"]
        for camera in target.images
        if f"observation.{IMAGE}{camera}" in bundle.parity
    }
    return [camera for camera, images in recorded.items() if channels_swapped(target.images[camera], images)]


def split_trials(target: TargetData) -> tuple[TargetData, TargetData]:
    """Split by trial, alternately, into frames to fit on and held-out frames."""
    trials = np.unique(target.trial)
    held_out = np.isin(target.trial, trials[1::2])
    return target[~held_out], target[held_out]


@torch.no_grad()
def locate_goals(student: CameraStudent, bundle: PolicyBundle, target: TargetData) -> np.ndarray:
    """Locate the goals (N, 3) [m, base frame] by the student's encoder and geometry."""
    measured = torch.from_numpy(target.measured)
    points = detect(student.encoder, *(target.images[camera] for camera in bundle.cameras))
    goal = student.estimated.index(GOAL)
    offsets = student.locate(points, measured)[:, 3 * goal : 3 * goal + 3]
    return (offsets + student.kinematics(torch.from_numpy(target.q))).numpy()


@torch.no_grad()
def actions(student: CameraStudent, bundle: PolicyBundle, target: TargetData) -> np.ndarray:
    """Compute the student's actions (N, a) in [-1, 1] on each frame of `target` alone."""
    act, arrays = CameraPolicy(student, bundle.observation.names), target.arrays
    found = []
    for rows in np.array_split(np.arange(len(target)), max(1, len(target) // 200)):
        act.begin(len(rows))
        found.append(act({name: array[rows] for name, array in arrays.items()}))
    return np.concatenate(found)


def _beats(scores: Sequence[GoalConsistency | ActionAgreement], i: int, other: int, tests: int) -> bool:
    return scores[i].beats(scores[other], candidates=tests)  # type: ignore[arg-type]  # all are of one kind


def _choose(scores: Sequence[GoalConsistency | ActionAgreement]) -> int:
    """Return the index of the winner: the one of the lowest score among those that beat the first, or else the first.

    The level of the test is divided by the number of candidates. Of equals the first wins: the order is from the
    smallest change to the largest.
    """
    winners = [i for i in range(1, len(scores)) if _beats(scores, i, 0, len(scores) - 1)]
    return min(winners, key=lambda i: scores[i].score, default=0)


def _pack(bundle: PolicyBundle, chosen: Candidate, target: TargetData, report: dict) -> PolicyBundle:
    rows = np.linspace(0, len(target) - 1, min(RECORDS, len(target))).astype(int)
    arrays = target[rows].arrays
    adaptation = {"parent": bundle.hash, "method": chosen.method, "target": target.hash, "report": report}
    records, begin = parity_records(chosen.student, {name: arrays[name] for name in bundle.observation.names})
    opening = np.zeros((len(target), 1)) if target.opening is None else target.opening
    images = [target.images[camera] for camera in bundle.cameras]
    no_calibration = [None] * len(images)
    residuals = landmark_residuals(
        chosen.student, bundle.robot, bundle.cameras, images, target.q, opening, no_calibration
    )
    packed = export_bundle(
        f"{bundle.name}+{chosen.method}",
        chosen.student,
        Contract(bundle.task, bundle.observation, bundle.action, bundle.robot, bundle.cameras),
        records,
        bundle.network,
        {"adaptation": adaptation, "parent": bundle.provenance, **provenance()},
        memory=chosen.student.memory,
        begin=begin,
        masking=bundle.masking,
        landmarks=bundle.landmarks.widened(residuals) if bundle.landmarks and residuals else bundle.landmarks,
    )
    # the limits and input checks of the parent, widened by the target's images
    return replace(packed, inputs=bundle.inputs.widened(named(IMAGE, target.images)))
