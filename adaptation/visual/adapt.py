"""Adapt a camera policy to its target from unlabelled frames; refuse when nothing wins.

    bundle + frames ─▶ candidates ─▶ steadiness on frames held out ─▶ winner, or source-only

Each candidate changes a copy of the student. Source-only is always among them and is kept unless another
is steadier on trials that no candidate has seen, or, where a simulator drew the same moments, acts there more as
source-only does in simulation.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from adaptation.visual.image_level import channels_swapped
from adaptation.visual.material import Material
from adaptation.visual.methods import METHODS, SOURCE_ONLY
from adaptation.visual.model_selection import Agreement, Steadiness, agreement, fewest_trials, steadiness
from adaptation.visual.target import TargetData, TargetError, only_camera
from policies.bundle import PolicyBundle
from policies.bundle.export import export_bundle
from policies.bundle.provenance import provenance
from policies.imitation.camera_run import camera_contract
from policies.imitation.cloning import see
from policies.models.keypoint_student import CameraStudent
from policies.models.restore import restore_student

FEWEST_TRIED = 3
"""Candidates that `auto` tries in any case."""

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
    any_colours: bool = False,
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
        any_colours: take pictures that look as if red and blue were swapped.

    Raises:
        TargetError: if the target data does not fit the bundle.
        BundleError: if the bundle cannot be trained further.
        ValueError: for an unknown method; lists the known ones.
    """
    if method not in ("auto", *METHODS):
        raise ValueError(f"unknown method '{method}'; known are auto, {', '.join(METHODS)}")
    camera = only_camera(bundle)
    target.validate(camera.height, camera.width, len(bundle.robot.joint_names))
    if looks_swapped(bundle, target) and not any_colours:
        raise TargetError(
            "target: beside the pictures that the bundle recorded these look as if red and blue were swapped; hand "
            "over RGB, or, if the scene really looks so, say it with --any-colours"
        )
    student = restore_student(bundle)
    fit, held_out = split(target)
    names = worth_trying(len(np.unique(held_out.trial))) if method == "auto" else [SOURCE_ONLY, method]
    material = Material(bundle, fit, seed)
    candidates: list[Candidate] = []
    steady: list[Steadiness] = []
    agreed: list[Agreement] = []
    skipped = []
    begun = clock()
    for i, name in enumerate(dict.fromkeys(names)):
        if i > 1 and clock() - begun > budget:
            skipped.append(name)
            continue
        progress(i / len(names), name)
        torch.manual_seed(seed)
        changed = copy.deepcopy(student)
        report = METHODS[name](changed, material)
        candidates.append(Candidate(name, changed.eval(), report))
        steady.append(steadiness(locate_goals(changed, held_out), held_out.trial))
        if held_out.simulated is not None:
            there = act(student, held_out.simulated, held_out.q)
            agreed.append(agreement(act(changed, held_out.images, held_out.q), there, held_out.trial))
    scores: Sequence[Steadiness | Agreement] = agreed or steady
    chosen = candidates[_choose(scores)]
    tests = max(1, len(scores) - 1)
    report = {
        "chosen": chosen.method,
        "frames": len(target),
        "trials": len(np.unique(target.trial)),
        "judged_trials": len(steady[0].scatter),
        "judged_by": "agreement" if agreed else "steadiness",
        "fewest_judged_trials": fewest_trials(tests),
        "out_of_time": skipped,
        "candidates": {
            candidate.method: {
                "scatter": steady[i].score,
                "spread": steady[i].spread,
                **({"actions_apart": agreed[i].score} if agreed else {}),
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


def worth_trying(judged_trials: int) -> list[str]:
    """Return the methods that `auto` tries: as many of the first ones as could win by the test on so many trials.

    Every further candidate raises the bar for all: with few trials a long list would only make sure that none wins.
    """
    return [name for i, name in enumerate(METHODS) if i <= FEWEST_TRIED or fewest_trials(i) <= judged_trials]


def looks_swapped(bundle: PolicyBundle, target: TargetData) -> bool:
    """Whether the target's pictures look like BGR beside the RGB ones that the bundle recorded."""
    (image,) = (array.name for array in bundle.observation.arrays if array.is_image)
    recorded = bundle.parity.get(f"observation.{image}")
    return recorded is not None and channels_swapped(target.images, recorded)


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


@torch.no_grad()
def act(student: CameraStudent, images: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Compute the student's actions (N, a) in [-1, 1] before pictures (N, H, W, 3) uint8 at `q` (N, n) [rad]."""
    parts = np.array_split(np.arange(len(q)), max(1, len(q) // 200))
    return torch.cat([student(torch.from_numpy(q[rows]), torch.from_numpy(images[rows])) for rows in parts]).numpy()


def _beats(scores: Sequence[Steadiness | Agreement], i: int, other: int, tests: int) -> bool:
    return scores[i].beats(scores[other], candidates=tests)  # type: ignore[arg-type]  # all are of one kind


def _choose(scores: Sequence[Steadiness | Agreement]) -> int:
    """Return the index of the winner: the first, unless a later one beats it, and so on down the list.

    The list goes from what changes least to what changes most, so that more change must earn its place. Whoever is
    first to beat source-only has had as many chances as there are candidates, and the level is divided by them.
    """
    best = 0
    for i in range(1, len(scores)):
        if _beats(scores, i, best, len(scores) - 1):
            best = i
    return best


def _pack(bundle: PolicyBundle, chosen: Candidate, target: TargetData, report: dict) -> PolicyBundle:
    rows = np.linspace(0, len(target) - 1, min(100, len(target))).astype(int)
    (image,) = (array.name for array in bundle.observation.arrays if array.is_image)
    contract = replace(camera_contract(bundle.task, bundle.robot.name), cameras=bundle.cameras, robot=bundle.robot)
    adaptation = {"parent": bundle.hash, "method": chosen.method, "target": target.hash, "report": report}
    packed = export_bundle(
        f"{bundle.name}+{chosen.method}",
        chosen.student,
        contract,
        {"q": target.q[rows], image: target.images[rows]},
        bundle.network,
        {"adaptation": adaptation, "parent": bundle.provenance, **provenance()},
    )
    # what the parent's control loop refuses, the child's does too, but for pictures like the target's
    return replace(packed, inputs=bundle.inputs.widened({image: target.images}))
