"""Pose of a real Panda by networks that are trained on renders alone; a part of benchmarks/adaptation.py.

One seed: nominal and randomised renders, the outline tracked through the video, and networks taught on one contiguous
third of the video and judged on the other thirds, picture by picture: by the third's tracked frames, by these and
renders like them at other poses, or, as an upper bound, by real labels. By the second one's landmarks the arm is
tracked in the other thirds, each picture is found or lost, and lost ones are tracked anew by a network that the found
ones taught as well. On request, seed 0 with every adaptation without a geometric model as well.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Sequence
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
from benchmarks.arm_pose.teaching import taught, with_found
from benchmarks.arm_pose.tracking import ArmTrack, distinct, track_arm
from robots.camera import CameraModel, as_matrix
from robots.registry import load_robot

HIDDEN = ("panda_hand", "panda_leftfinger", "panda_rightfinger")
"""Links that a chessboard occludes in these frames."""
WORKING_STEP = 0.5
"""[rad] the working pose is the recording's first joint reading, rounded to multiples of this."""
TRACKED = "outline tracked through the video"
SELF_TRAINED = "taught on tracked frames"
TAUGHT_BEYOND = "taught on renders like them as well"
UPPER_BOUND = "trained on real frames"
NOMINAL = "nominal renders"
BY_BLOCKS = "followed beyond the taught third"
BLOCKS = 3
"""Contiguous blocks of distinct pictures; repeats of one picture stay together."""
FAR_OFF = 0.05
"""[m] an end effector farther off should have been declared lost."""


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


@dataclass(frozen=True)
class BlockFigures:
    """End effectors of frames outside the taught block, pooled over the blocks."""

    error: np.ndarray
    """(M,) [m]."""
    lost: np.ndarray
    """(M,) bool."""

    @property
    def found_p90(self) -> float:
        """90 % error of the frames that are not lost [m]; NaN if all are."""
        found = self.error[~self.lost]
        return float(np.quantile(found, 0.9)) if len(found) else float("nan")

    @property
    def lost_share(self) -> float:
        """Share of frames declared lost."""
        return float(self.lost.mean())

    @property
    def false_found(self) -> float:
        """Share of all frames that are not declared lost although they are more than `FAR_OFF` off."""
        return float((~self.lost & (self.error > FAR_OFF)).mean())


def panda(data: Path, quick: bool) -> dict[str, float]:
    """Measure every seed; report the mean gap closed, the median error, and the figures by blocks over seeds."""
    torch.set_num_threads(1)
    effort = QUICK if quick else Effort()
    closed, errors, single, blocks = [], [], [], []
    for seed in range(effort.seeds):
        rows, chosen, figures = one_seed(data, effort, seed)
        lower, upper = rows[NOMINAL][0], rows[UPPER_BOUND][0]
        closed.append((lower - rows[chosen][0]) / (lower - upper))
        errors.append(rows[chosen][0])
        single.append(rows[TAUGHT_BEYOND][0])
        blocks.append(figures)
        print(f"  seed {seed}: chosen without labels: {chosen}; gap closed {100 * closed[-1]:.0f} %", flush=True)
    pooled = BlockFigures(np.concatenate([b.error for b in blocks]), np.concatenate([b.lost for b in blocks]))
    print(f"end effector, median of the judged frames, by seed [m]: {', '.join(f'{e:.3f}' for e in errors)}")
    print(
        f"taught on one third, judged on the others: lost {100 * pooled.lost_share:.1f} %, 90 % of the found within "
        f"{pooled.found_p90:.3f} m, found but more than {FAR_OFF} m off {100 * pooled.false_found:.1f} % of "
        f"{len(pooled.error)} frames; by seed lost " + ", ".join(f"{100 * b.lost_share:.0f} %" for b in blocks)
    )
    return {
        "panda_gap_closed": float(np.mean(closed)),
        "panda_ee_error_m": float(np.median(errors)),
        "panda_ee_error_worst_seed_m": float(np.max(errors)),
        "panda_single_picture_error_m": float(np.median(single)),
        "panda_blocks_p90_m": pooled.found_p90,
        "panda_lost_share": pooled.lost_share,
        "panda_false_found": pooled.false_found,
    }


def panda_methods(data: Path, quick: bool) -> dict[str, float]:
    """Measure every adaptation without a geometric model, on one seed."""
    torch.set_num_threads(1)
    rows, *_ = one_seed(data, QUICK if quick else Effort(), 0, tuple(METHODS))
    return {f"panda_{method}_error_m": rows[method][0] for method in METHODS}


def one_seed(
    data: Path, effort: Effort, seed: int, tried: tuple[str, ...] = (SOURCE_ONLY,)
) -> tuple[dict[str, tuple[float, float, float]], str, BlockFigures]:
    """Train, adapt and judge; return median, 90 % error [m] and mask overlap by method, the one that is chosen, and the
    figures by blocks."""
    folder = data / "panda_images"
    frames = json.loads((folder / "frames.json").read_text())["frames"]
    q = np.array([frame["q"] for frame in frames])
    images = [np.ascontiguousarray(cv2.imread(str(folder / frame["file"]))[..., ::-1]) for frame in frames]
    robot, camera = load_robot("franka_panda"), panda_camera(folder)
    photographs = data / "real_tabletops" / "real_inpainting"
    scene = ArmScene(robot, camera.resized(effort.height, effort.width), photographs)
    size = (effort.width, effort.height)
    real = stacked([scene.label(cv2.resize(i, size, interpolation=cv2.INTER_AREA), each) for i, each in zip(images, q)])
    block = blocks_of(images)
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
    outline = ArmOutline(robot, HIDDEN)
    found = track_arm(source, scene, outline, images, working, seed=seed)
    print(f"  outline tracked, {_since(begun)}: {100 * found.lost.mean():.0f} % lost", flush=True)
    rows, jumps = {}, {}
    of_source = spread(source, real.images[::4])
    print(f"  {len(real)} frames, {_since(begun)}: end effector [m], mask, jumps without labels [m]")
    for name, network in networks.items():
        rows[name] = _row(*predict(network, real.images), real)
        jumps[name] = augmented_jump(network, real.images[::4], 0, of_source)
        print(f"    {name:36} {_words(rows[name])}  jumps {jumps[name]:.3f}")
    mask = stacked([scene.label(image, q) for image, q in zip(real.images, found.q)]).masks > 0.5
    rows[TRACKED] = _row(found.ee_pos, mask, real)
    alone = _row(found.landmark_ee_pos, mask, real)
    print(f"    {TRACKED:36} {_words(rows[TRACKED])}  lost {100 * found.lost.mean():.0f} %")
    lost_alone = 100 * found.landmark_lost.mean()
    print(f"    by each picture's landmarks alone    {_words(alone)}  lost {lost_alone:.0f} %")
    # both criteria are label-free: which network changes least under augmentation, and of how many frames it is known
    # that the tracked outline is the arm's, as against the outline at the landmarks' pose
    networks_only = min(tried, key=jumps.__getitem__)
    improved = (~found.lost).sum() > max((~found.landmark_lost).sum(), found.lost.sum())
    figures = by_blocks(source, scene, outline, images, real, found, block, working, effort, seed, rows)
    print(f"    {BY_BLOCKS}: lost {100 * figures.lost_share:.0f} %, 90 % of the found {figures.found_p90:.3f}")
    return rows, TRACKED if improved else networks_only, figures


def blocks_of(images: Sequence[np.ndarray]) -> np.ndarray:
    """Return the contiguous block (N,) of each picture; repeats of a picture are in the block of the first."""
    new = distinct(images)
    shown = np.searchsorted(new, np.arange(len(images)), side="right") - 1
    return shown * BLOCKS // len(new)


def by_blocks(
    source: ArmPoseNetwork,
    scene: ArmScene,
    outline: ArmOutline,
    images: Sequence[np.ndarray],
    real: ArmRenders,
    found: ArmTrack,
    block: np.ndarray,
    working: np.ndarray,
    effort: Effort,
    seed: int,
    rows: dict[str, tuple[float, float, float]],
) -> BlockFigures:
    """Teach networks on each block, judge them on the others, and add their `rows`."""
    names = (SELF_TRAINED, TAUGHT_BEYOND, UPPER_BOUND)
    predicted: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {name: [] for name in names}
    errors, lost, before = [], [], []

    def beyond(rows: np.ndarray, q: np.ndarray) -> ArmPoseNetwork:
        sizes = effort.views // 2, effort.steps, effort.geometry_steps
        return taught(source, scene, real.images[rows], q, *sizes, seed)

    for third in range(BLOCKS):
        judged, known = np.flatnonzero(block != third), np.flatnonzero((block == third) & ~found.lost)
        networks = {UPPER_BOUND: _fitted(source, real[block == third], effort, seed)}
        if len(known):
            labels = stacked([scene.label(real.images[i], found.q[i]) for i in known])
            networks[SELF_TRAINED] = _fitted(source, labels, effort, seed)
            networks[TAUGHT_BEYOND] = beyond(known, found.q[known])
        for name in names:
            predicted[name].append((judged, *predict(networks.get(name, source), real.images[judged])))
        network = networks.get(TAUGHT_BEYOND, source)
        followed = track_arm(network, scene, outline, images, working, seed=seed, rows=judged)
        before.append(followed.lost)
        if followed.lost.any() and len(known):
            teaching = np.concatenate([known, judged[~followed.lost]])
            network = beyond(teaching, np.concatenate([found.q[known], followed.q[~followed.lost]]))
            again = track_arm(network, scene, outline, images, working, seed=seed + 1, rows=judged)
            followed = with_found(followed, again)
        errors.append(np.linalg.norm(followed.ee_pos - real.ee_pos[judged], axis=1))
        lost.append(followed.lost)
    for name, parts in predicted.items():
        order, ee, mask = (np.concatenate(column) for column in zip(*parts))
        rows[name] = _row(ee, mask, real[order])
        print(f"    {name:36} {_words(rows[name])}")
    print(f"    lost before any was tracked anew: {100 * np.concatenate(before).mean():.0f} %")
    return BlockFigures(np.concatenate(errors), np.concatenate(lost))


def _fitted(source: ArmPoseNetwork, labels: ArmRenders, effort: Effort, seed: int) -> ArmPoseNetwork:
    network = copy.deepcopy(source)
    fit(network, labels, effort.steps // 3, batch=32, seed=seed, peak=1e-3, geometry_steps=effort.geometry_steps)
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
