"""Control before and after adaptation: weakly randomised camera policies on the virtual arm, strictly evaluated.

One policy a seed and task is trained under `mild` and adapted to 300 unlabelled frames of the virtual arm (unseen
appearance, camera and dynamics), recorded while a script moves it over the table. It is evaluated there with and
without adaptation on the same fresh episodes. Finished seeds are kept in the output folder and are not run again.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from adaptation.visual.adapt import adapt_bundle
from adaptation.visual.methods import SOURCE_ONLY
from adaptation.visual.target import TargetData, load_target
from policies.bundle import PolicyBundle
from policies.imitation.camera_run import TrainConfig, train_camera
from policies.scoring.evaluator import EVALUATION_SEEDS
from policies.scoring.mujoco import episodes_in_mujoco, evaluate_in_mujoco
from robots.camera import CameraModel
from sim.tasks.recipe import PerceptionRecipe
from sim.virtual_arm.hidden_reality import HiddenArm, HiddenReality

RECORDING_SEEDS = 5_000_000
"""First seed of recorded episodes; evaluation starts at `EVALUATION_SEEDS`."""
TRIALS, FRAMES = 60, 5
"""Recorded trials, half of them for model selection, and frames of each."""
EVERY = 0.5
"""Between frames [s]."""
LOW, HIGH = (0.35, -0.2), (0.65, 0.2)
"""Range of the end effector's x and y while recording [m, base frame]."""


@dataclass(frozen=True)
class Setting:
    """One task on one arm with one camera."""

    task: str
    robot: str
    camera: CameraModel | None
    """None for the rig `front`."""
    hidden: HiddenReality
    heights: tuple[float, float] = (0.12, 0.35)
    """Range of the end effector's height while recording [m]."""


ASIDE = CameraModel.looking_at(
    "front", eye=(0.95, 0.75, 0.65), target=(0.48, 0.0, 0.12), height=84, width=84, fov_y_deg=46
)
"""Over the table's corner, 1.1 m from its middle."""
SETTINGS = {
    "reach": Setting("reach", "franka_panda", None, HiddenReality()),
    # above the posts' tops
    "reach_clutter": Setting("reach_clutter", "franka_panda", None, HiddenReality(), (0.28, 0.42)),
    # the hidden inertias are a Panda's; every other hidden value holds for this arm of seven joints too
    "kuka": Setting("reach", "kuka_iiwa", ASIDE, HiddenReality(arm=HiddenArm(inertia={}))),
}
"""By name."""
TASKS = ("reach", "reach_clutter")
"""The settings that are measured unless others are asked for."""


def record(bundle: PolicyBundle, trials: int, setting: Setting, seed: int) -> TargetData:
    """Record `FRAMES` unlabelled frames of each trial while a script moves the virtual arm between random positions.

    A policy that is not adapted yet could lead the arm out of the picture.
    """
    wait = round(EVERY * bundle.action.rate_hz)
    rng = np.random.default_rng(seed)
    kept: list[dict[str, np.ndarray]] = []
    place, acted = np.zeros(3), 0

    def random_motion(seen: dict[str, np.ndarray]) -> np.ndarray:
        nonlocal acted, place
        if acted % wait == 0:
            place = rng.uniform((*LOW, setting.heights[0]), (*HIGH, setting.heights[1]))
            kept.append({name: array.copy() for name, array in seen.items()})
        acted += 1
        way = place - bundle.robot.chain.pose(seen["q"].astype(float))[1]
        return np.clip(0.5 * way / np.array(bundle.action.scale), -1.0, 1.0)

    seconds = FRAMES * wait / bundle.action.rate_hz
    episodes_in_mujoco(bundle, trials, RECORDING_SEEDS, setting.hidden, random_motion, seconds, look_every=wait)
    arrays = {name: np.stack([each[name] for each in kept]) for name in bundle.observation.names}
    images = {camera: arrays[f"image_{camera}"] for camera in bundle.cameras}
    return TargetData(images, arrays["q"].astype(np.float32), np.arange(len(kept)) // FRAMES, arrays.get("opening"))


def measure(name: str, seed: int, out: Path, quick: bool, method: str) -> dict:
    """Train, record, adapt and evaluate one seed of one setting; finished steps are read from its folder."""
    setting = SETTINGS[name]
    folder = out / f"{name}_{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    trials, episodes = (20, 10) if quick else (TRIALS, 24)
    student = PerceptionRecipe(renders=2_000 if quick else 4_000, steps=300 if quick else 600, held_out=500)

    def evaluated(bundle: PolicyBundle, which: str) -> dict:
        file = folder / f"{which}.json"
        if not file.is_file():
            found = evaluate_in_mujoco(bundle, episodes, EVALUATION_SEEDS, setting.hidden)
            file.write_text(json.dumps({**asdict(found), "bundle": bundle.hash}, indent=1) + "\n")
        return json.loads(file.read_text())

    if not (folder / "policy").exists():
        _train(setting, folder, seed, student)
    bundle = PolicyBundle.load(folder / "policy" / "bundle")
    if not (folder / "images.npz").is_file():
        target = record(bundle, trials, setting, seed)
        np.savez_compressed(folder / "images.npz", **target.arrays, trial=target.trial)
    target = load_target(folder, bundle)
    if not (folder / "adaptation.json").is_file():
        begun = time.perf_counter()
        outcome = adapt_bundle(bundle, target, method, seed, lambda share, text: None)
        if outcome.method != SOURCE_ONLY:
            outcome.bundle.save(folder / "adapted")
        report = {**outcome.report, "method": outcome.method, "seconds": time.perf_counter() - begun}
        (folder / "adaptation.json").write_text(json.dumps(report, indent=1) + "\n")
    report = json.loads((folder / "adaptation.json").read_text())
    before = evaluated(bundle, "before")
    after = before
    if report["method"] != SOURCE_ONLY:
        after = evaluated(PolicyBundle.load(folder / "adapted"), "after")
    return {"before": before, "after": after, "frames": len(target), **report}


def _train(setting: Setting, folder: Path, seed: int, student: PerceptionRecipe) -> None:
    """Train the setting's policy under `mild` into `folder`/policy."""
    cameras = "front"
    if setting.camera is not None:
        (folder / "camera.json").write_text(json.dumps(setting.camera.to_dict()))
        cameras = str(folder / "camera.json")
    config = TrainConfig(
        folder / "policy",
        setting.task,
        setting.robot,
        cameras,
        "mild",
        seed=seed,
        workers=1,
        threads=1,
        perception=student,
    )
    train_camera(config, lambda stage, share, text: None)


def adapted_control(out: Path, seeds: int, quick: bool, method: str, settings: list[str]) -> dict[str, float]:
    """Measure all; the points gained are the mean over seeds of the setting that gained least."""
    torch.set_num_threads(1)
    figures: dict[str, float] = {}
    gains = []
    for name in settings:
        rows = []
        print(f"\n{name}: success on the virtual arm, held to the end; frames without labels")
        for seed in range(seeds):
            found = measure(name, seed, out, quick, method)
            before, after = (found[key]["success"] for key in ("before", "after"))
            rows.append(100 * (after - before))
            print(
                f"  seed {seed}: {100 * before:3.0f} % → {100 * after:3.0f} % by {found['method']} on "
                f"{found['frames']} frames ({found['seconds']:.0f} s)",
                flush=True,
            )
        mean, half = float(np.mean(rows)), _half_width(rows)
        interval = f"95 % t-interval over {len(rows)} seeds"
        print(f"  gain {mean:+.0f} ± {half:.0f} points ({interval}), smallest {min(rows):+.0f}")
        figures[f"virtual_gain_points_{len(gains) + 1}"] = mean
        gains.append(mean)
    figures["virtual_gain_points"] = min(gains)
    return figures


def _half_width(values: list[float]) -> float:
    from scipy.stats import t

    n = len(values)
    return float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
