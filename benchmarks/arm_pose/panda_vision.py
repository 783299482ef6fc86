"""Pose of a real Panda by networks that are trained on renders alone; a part of benchmarks/adaptation.py.

One seed: nominal and randomised renders, the outline tracked through the video, and a network trained on real frames
as the upper bound; on request, seed 0 with every adaptation without a geometric model as well. Frames are split by time
into alternate blocks of half a second: the ceiling is trained on one half, everything is judged on the other.
"""

from __future__ import annotations

import copy
import json
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from adaptation.calibration.refine import ArmOutline
from benchmarks.arm_pose.adapt import METHODS, SOURCE_ONLY, adapted, augmented_jump, spread
from benchmarks.arm_pose.network import ArmPoseNetwork, fit, predict
from benchmarks.arm_pose.renders import ArmRenders, ArmScene, render_arm, stacked
from benchmarks.arm_pose.tracking import ArmTrack, labelled_by, track_arm
from robots.camera import CameraModel, as_matrix
from robots.registry import load_robot

HIDDEN = ("panda_hand", "panda_leftfinger", "panda_rightfinger")
"""Links that a chessboard occludes in these frames."""
WORKING_STEP = 0.5
"""[rad] the working pose is the recording's first joint reading, rounded to multiples of this."""
TRACKED = "outline tracked through the video"
SELF_TRAINED = "self-trained on tracked frames"
UPPER_BOUND = "trained on real frames"
NOMINAL = "nominal renders"


@dataclass(frozen=True)
class Effort:
    """Size of data sets and trainings."""

    height: int = 60
    width: int = 80
    views: int = 4_000
    steps: int = 800
    channels: int = 32
    geometry_steps: int = 1_500
    adapt_steps: int = 40
    seeds: int = 3


QUICK = Effort(views=800, steps=250, channels=16, geometry_steps=400, adapt_steps=20, seeds=1)


def panda(data: Path, quick: bool) -> dict[str, float]:
    """Measure every seed; report the mean gap closed and the median over seeds of the median error."""
    torch.set_num_threads(1)
    effort = QUICK if quick else Effort()
    closed, errors, single = [], [], []
    for seed in range(effort.seeds):
        rows, chosen = one_seed(data, effort, seed)
        lower, upper = rows[NOMINAL][0], rows[UPPER_BOUND][0]
        closed.append((lower - rows[chosen][0]) / (lower - upper))
        errors.append(rows[chosen][0])
        single.append(rows[SELF_TRAINED][0])
        print(f"  seed {seed}: chosen without labels: {chosen}; gap closed {100 * closed[-1]:.0f} %", flush=True)
    print(f"end effector, median of the judged frames, by seed [m]: {', '.join(f'{e:.3f}' for e in errors)}")
    return {
        "panda_gap_closed": float(np.mean(closed)),
        "panda_ee_error_m": float(np.median(errors)),
        "panda_ee_error_worst_seed_m": float(np.max(errors)),
        "panda_single_picture_error_m": float(np.median(single)),
    }


def panda_methods(data: Path, quick: bool) -> dict[str, float]:
    """Measure every adaptation without a geometric model, on one seed."""
    torch.set_num_threads(1)
    rows, _ = one_seed(data, QUICK if quick else Effort(), 0, tuple(METHODS))
    return {f"panda_{method}_error_m": rows[method][0] for method in METHODS}


def one_seed(
    data: Path, effort: Effort, seed: int, tried: tuple[str, ...] = (SOURCE_ONLY,)
) -> tuple[dict[str, tuple[float, float, float]], str]:
    """Train, adapt and judge; return median, 90 % error [m] and mask overlap by method, and the one that is chosen."""
    folder = data / "panda_images"
    frames = json.loads((folder / "frames.json").read_text())["frames"]
    q = np.array([frame["q"] for frame in frames])
    images = [np.ascontiguousarray(cv2.imread(str(folder / frame["file"]))[..., ::-1]) for frame in frames]
    robot, camera = load_robot("franka_panda"), panda_camera(folder)
    photographs = data / "real_tabletops" / "real_inpainting"
    scene = ArmScene(robot, camera.resized(effort.height, effort.width), photographs)
    size = (effort.width, effort.height)
    real = stacked([scene.label(cv2.resize(i, size, interpolation=cv2.INTER_AREA), each) for i, each in zip(images, q)])
    judged = np.arange(len(real)) // 17 % 2 == 1
    working = WORKING_STEP * np.round(q[0] / WORKING_STEP)
    begun = time.perf_counter()
    networks: dict[str, ArmPoseNetwork] = {}
    for name in (NOMINAL, SOURCE_ONLY):
        # half of the poses near where this arm works; no picture is labelled by it
        views = render_arm(scene, working, effort.views, seed=seed, randomised=name == SOURCE_ONLY)
        torch.manual_seed(seed)
        networks[name] = ArmPoseNetwork(views.pixels.shape[1], effort.height, effort.width, effort.channels)
        fit(networks[name], views, effort.steps, batch=32, seed=seed, geometry_steps=effort.geometry_steps)
    print(f"\npanda_images, seed {seed}: {effort.views} views, {effort.steps} steps, {_since(begun)}", flush=True)
    source = networks[SOURCE_ONLY]
    for method in tried:
        if method != SOURCE_ONLY:
            networks[method] = adapted(source, method, views, real.images, seed, effort.adapt_steps)
    found = track_arm(source, scene, ArmOutline(robot, HIDDEN), images, working, seed=seed)
    print(f"  outline tracked, {_since(begun)}", flush=True)
    networks[SELF_TRAINED] = self_trained(source, scene, real.images, found, effort, seed)
    networks[UPPER_BOUND] = copy.deepcopy(source)
    fit(
        networks[UPPER_BOUND],
        real[~judged],
        effort.steps // 3,
        batch=32,
        seed=seed,
        peak=1e-3,
        geometry_steps=effort.geometry_steps,
    )
    rows, jumps = {}, {}
    of_source = spread(source, real.images[::4])
    print(f"  on {int(judged.sum())} judged frames, {_since(begun)}: end effector [m], mask, jumps without labels [m]")
    for name, network in networks.items():
        ee, mask = predict(network, real.images[judged])
        rows[name] = _row(ee, mask, real[judged])
        jumps[name] = augmented_jump(network, real.images[::4], 0, of_source)
        print(f"    {name:36} {_words(rows[name])}  jumps {jumps[name]:.3f}")
    mask = stacked([scene.label(real.images[i], found.q[i]) for i in np.flatnonzero(judged)]).masks > 0.5
    rows[TRACKED] = _row(found.ee_pos[judged], mask, real[judged])
    alone = _row(found.landmark_ee_pos[judged], mask, real[judged])
    print(f"    {TRACKED:36} {_words(rows[TRACKED])}  from edges {np.median(found.score):.2f} px")
    print(f"    by each picture's landmarks alone    median {alone[0]:.3f}  90 % {alone[1]:.3f}")
    # two label-free criteria: which network changes least under augmentation, and whether the tracked outline is nearer
    # to edges than the outline at the landmarks' pose
    networks_only = min(tried, key=jumps.__getitem__)
    improved = np.median(found.score) < np.median(found.landmark_score)
    print(f"    least jumps: {networks_only}; outline before and after: ", end="")
    print(f"{np.median(found.landmark_score):.2f} and {np.median(found.score):.2f} px")
    return rows, TRACKED if improved else networks_only


def self_trained(
    source: ArmPoseNetwork, scene: ArmScene, pictures: np.ndarray, found: ArmTrack, effort: Effort, seed: int
) -> ArmPoseNetwork:
    """Return a copy of `source` trained on the video's pictures, labelled by the tracked angles."""
    network = copy.deepcopy(source)
    labelled = labelled_by(found, scene, pictures)
    fit(network, labelled, effort.steps // 3, batch=32, seed=seed, peak=1e-3, geometry_steps=effort.geometry_steps)
    return network


def panda_camera(folder: Path) -> CameraModel:
    """Read the camera of panda_images; the data gives p_camera = R p_base + t."""
    content = json.loads((folder / "frames.json").read_text())
    T_camera_base = np.eye(4)
    T_camera_base[:3, :3] = Rotation.from_rotvec(content["T_camera_base"]["axis_angle_rad"]).as_matrix()
    T_camera_base[:3, 3] = content["T_camera_base"]["translation_m"]
    T = as_matrix(np.linalg.inv(T_camera_base))
    return CameraModel("front", content["height"], content["width"], as_matrix(content["K"]), T_base_camera=T)


def _row(ee: np.ndarray, mask: np.ndarray, real: ArmRenders) -> tuple[float, float, float]:
    error = np.linalg.norm(ee - real.ee_pos, axis=1)
    truth = real.masks > 0.5
    overlap = (mask & truth).sum() / max(1, (mask | truth).sum())
    return float(np.median(error)), float(np.quantile(error, 0.9)), float(overlap)


def _words(row: tuple[float, float, float]) -> str:
    return f"median {row[0]:.3f}  90 % {row[1]:.3f}  mask IoU {row[2]:.2f}"


def _since(begun: float) -> str:
    return f"{time.perf_counter() - begun:.0f} s"
