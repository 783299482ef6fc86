"""Success of a camera policy after its cameras were knocked, before and after adaptation to unlabelled frames.

The policy drives the virtual arm over ROS 2 while frames are recorded; it is adapted to them as `sim2real adapt` does,
and both policies are tried at the same new places.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adaptation.visual.adapt import adapt_bundle
from adaptation.visual.target import load_target
from evaluation.session.task_protocol import task_protocol
from policies.bundle import PolicyBundle
from robots.registry import load_robot
from ros_nodes.session.trial_runner import RecordingOptions
from ros_nodes.session.virtual_session import run_session
from sim.virtual_arm.changed_reality import knock_camera
from sim.virtual_arm.hidden_arms import hidden_reality

FRAMES, COLLECTING = 300, 20
"""Unlabelled frames, and the trials that they are recorded in."""
METHODS = "self-calibration,batch-norm,batch-norm+self-calibration"
"""The candidates that take seconds, as in the demo."""


@dataclass(frozen=True)
class AfterKnock:
    """What became of a policy."""

    before: int
    """Successes with the knocked cameras."""
    after: int
    """Successes of the adapted policy."""
    method: str
    """What was chosen, without labels."""


def try_knocked(bundle: Path, trials: int, shift: float, turn_deg: float, seed: int, out: Path) -> AfterKnock:
    """Knock the cameras by `shift` [m] and `turn_deg` in directions that follow from `seed`; try, adapt, try again."""
    policy = PolicyBundle.load(bundle)
    out.mkdir(parents=True)
    reality = hidden_reality(load_robot(policy.arm), None)
    knocked = out / "knocked.json"
    knock_camera(reality, shift, turn_deg, np.random.default_rng(seed)).save(knocked)

    plan = task_protocol({policy.name: policy}, COLLECTING, seed + 1, "collecting")
    collected = run_session(
        plan, {policy.name: bundle}, out / "collect", hidden=knocked, recording=RecordingOptions(images=True, videos=0)
    )
    target = load_target(collected.images, policy)
    target = target[np.unique(np.linspace(0, len(target) - 1, FRAMES).round().astype(int))]
    outcome = adapt_bundle(policy, target, METHODS, seed, lambda share, text: None)
    paths = {"before": bundle, "after": out / "adapted"}
    replace(outcome.bundle, name="after").save(paths["after"])
    plan = task_protocol({name: PolicyBundle.load(path) for name, path in paths.items()}, trials, seed, "knocked", True)
    tried = [trial for trial in run_session(plan, paths, out / "trials", hidden=knocked).trials if not trial.void]
    counts = {name: sum(trial.success for trial in tried if trial.policy == name) for name in paths}
    return AfterKnock(counts["before"], counts["after"], outcome.method)
