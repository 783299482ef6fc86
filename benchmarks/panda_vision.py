"""A real Panda seen by networks that were trained on renderings alone; a part of benchmarks/adaptation.py.

One seed: nominal and randomised renderings, the outline followed through the video, and a network trained on real
frames as the ceiling; on request, seed 0 with every adaptation that knows no geometry as well. Frames are split by time
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
from adaptation.visual.arm_pose.adapt import METHODS, SOURCE_ONLY, adapted, spread, unsteadiness
from adaptation.visual.arm_pose.network import ArmVision, fit, predict
from adaptation.visual.arm_pose.video import Followed, follow, labelled_by
from adaptation.visual.arm_pose.views import ArmScene, ArmViews, draw_arm_views, stacked
from robots.camera import CameraModel, as_matrix
from robots.registry import load_robot

HIDDEN = ("panda_hand", "panda_leftfinger", "panda_rightfinger")
"""Links that hide behind a chessboard in these frames."""
WORKING_STEP = 0.5
"""[rad] how well it is known where this arm works: the recording's first joint reading, joint by joint so rounded."""
FOLLOWED = "outline followed through the video"
TAUGHT = "taught by the outline"
CEILING = "trained on real frames"
NOMINAL = "nominal renderings"


@dataclass(frozen=True)
class Effort:
    """How much is rendered and trained."""

    height: int = 60
    width: int = 80
    views: int = 4_000
    steps: int = 800
    channels: int = 32
    place_steps: int = 1_500
    adapt_steps: int = 40
    seeds: int = 3


QUICK = Effort(views=800, steps=250, channels=16, place_steps=400, adapt_steps=20, seeds=1)


def panda(data: Path, quick: bool) -> dict[str, float]:
    """Measure every seed; report the mean gap closed and the median over seeds of the median error."""
    torch.set_num_threads(1)
    effort = QUICK if quick else Effort()
    closed, errors, single = [], [], []
    for seed in range(effort.seeds):
        rows, chosen = one_seed(data, effort, seed)
        lower, upper = rows[NOMINAL][0], rows[CEILING][0]
        closed.append((lower - rows[chosen][0]) / (lower - upper))
        errors.append(rows[chosen][0])
        single.append(rows[TAUGHT][0])
        print(f"  seed {seed}: chosen without labels: {chosen}; gap closed {100 * closed[-1]:.0f} %", flush=True)
    print(f"end effector, median of the judged frames, by seed [m]: {', '.join(f'{e:.3f}' for e in errors)}")
    return {
        "panda_gap_closed": float(np.mean(closed)),
        "panda_ee_error_m": float(np.median(errors)),
        "panda_ee_error_worst_seed_m": float(np.max(errors)),
        "panda_single_picture_error_m": float(np.median(single)),
    }


def panda_methods(data: Path, quick: bool) -> dict[str, float]:
    """Measure every adaptation that knows no geometry, on one seed: they take as long as all else."""
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
    networks: dict[str, ArmVision] = {}
    for name in (NOMINAL, SOURCE_ONLY):
        # half of the poses near where this arm works; no picture is labelled by it
        views = draw_arm_views(scene, working, effort.views, seed=seed, randomised=name == SOURCE_ONLY)
        torch.manual_seed(seed)
        networks[name] = ArmVision(views.pixels.shape[1], effort.height, effort.width, effort.channels)
        fit(networks[name], views, effort.steps, batch=32, seed=seed, place_steps=effort.place_steps)
    print(f"\npanda_images, seed {seed}: {effort.views} views, {effort.steps} steps, {_since(begun)}", flush=True)
    source = networks[SOURCE_ONLY]
    for method in tried:
        if method != SOURCE_ONLY:
            networks[method] = adapted(source, method, views, real.images, seed, effort.adapt_steps)
    found = follow(source, scene, ArmOutline(robot, HIDDEN), images, working, seed=seed)
    print(f"  outline followed, {_since(begun)}", flush=True)
    networks[TAUGHT] = taught(source, scene, real.images, found, effort, seed)
    networks[CEILING] = copy.deepcopy(source)
    fit(
        networks[CEILING],
        real[~judged],
        effort.steps // 3,
        batch=32,
        seed=seed,
        peak=1e-3,
        place_steps=effort.place_steps,
    )
    rows, steadiness = {}, {}
    of_source = spread(source, real.images[::4])
    print(f"  on {int(judged.sum())} judged frames, {_since(begun)}: end effector [m], mask, jumps without labels [m]")
    for name, network in networks.items():
        ee, mask = predict(network, real.images[judged])
        rows[name] = _row(ee, mask, real[judged])
        steadiness[name] = unsteadiness(network, real.images[::4], 0, of_source)
        print(f"    {name:36} {_words(rows[name])}  jumps {steadiness[name]:.3f}")
    mask = stacked([scene.label(real.images[i], found.q[i]) for i in np.flatnonzero(judged)]).masks > 0.5
    rows[FOLLOWED] = _row(found.ee_pos[judged], mask, real[judged])
    alone = _row(found.alone[judged], mask, real[judged])
    print(f"    {FOLLOWED:36} {_words(rows[FOLLOWED])}  from edges {np.median(found.score):.2f} px")
    print(f"    by each picture's landmarks alone    median {alone[0]:.3f}  90 % {alone[1]:.3f}")
    # Two things are judged without labels: which network jumps least, and whether the followed outline lies on edges
    # better than the outline where the network's own landmarks put it
    networks_only = min(tried, key=steadiness.__getitem__)
    improved = np.median(found.score) < np.median(found.score_alone)
    print(f"    least jumps: {networks_only}; outline before and after: ", end="")
    print(f"{np.median(found.score_alone):.2f} and {np.median(found.score):.2f} px")
    return rows, FOLLOWED if improved else networks_only


def taught(
    source: ArmVision, scene: ArmScene, pictures: np.ndarray, found: Followed, effort: Effort, seed: int
) -> ArmVision:
    """Return a copy of `source` trained on the video's pictures, labelled by the outline: self-training by geometry."""
    network = copy.deepcopy(source)
    labelled = labelled_by(found, scene, pictures)
    fit(network, labelled, effort.steps // 3, batch=32, seed=seed, peak=1e-3, place_steps=effort.place_steps)
    return network


def panda_camera(folder: Path) -> CameraModel:
    """Read the camera of panda_images; the data gives p_camera = R p_base + t."""
    content = json.loads((folder / "frames.json").read_text())
    T_camera_base = np.eye(4)
    T_camera_base[:3, :3] = Rotation.from_rotvec(content["T_camera_base"]["axis_angle_rad"]).as_matrix()
    T_camera_base[:3, 3] = content["T_camera_base"]["translation_m"]
    T = as_matrix(np.linalg.inv(T_camera_base))
    return CameraModel("front", content["height"], content["width"], as_matrix(content["K"]), T_base_camera=T)


def _row(ee: np.ndarray, mask: np.ndarray, real: ArmViews) -> tuple[float, float, float]:
    error = np.linalg.norm(ee - real.ee_pos, axis=1)
    truth = real.masks > 0.5
    overlap = (mask & truth).sum() / max(1, (mask | truth).sum())
    return float(np.median(error)), float(np.quantile(error, 0.9)), float(overlap)


def _words(row: tuple[float, float, float]) -> str:
    return f"median {row[0]:.3f}  90 % {row[1]:.3f}  mask IoU {row[2]:.2f}"


def _since(begun: float) -> str:
    return f"{time.perf_counter() - begun:.0f} s"
