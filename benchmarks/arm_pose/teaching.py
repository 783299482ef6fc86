"""Teach an arm-pose network on the found pictures of a video, and find lost ones by it.

    found pictures ─┬───────────────────────────────▶ network, taught ─▶ lost pictures tracked anew
                    └▶ renders like them, at other poses ─┘

A network that is taught on the found pictures alone repeats their poses: it does not hold beyond them.
"""

from __future__ import annotations

import copy
from dataclasses import fields

import numpy as np

from benchmarks.arm_pose.network import ArmPoseNetwork, fit
from benchmarks.arm_pose.own_video import render_beyond, video_looks
from benchmarks.arm_pose.renders import ArmRenders, ArmScene, stacked
from benchmarks.arm_pose.tracking import ArmTrack

OWN_SHARE = 0.2
"""Share of the found pictures among those that teach."""
PEAK = 2e-3
"""Learning rate of the teaching, two thirds of that of a training from scratch."""


def taught(
    network: ArmPoseNetwork,
    scene: ArmScene,
    pictures: np.ndarray,
    q: np.ndarray,
    views: int,
    steps: int,
    geometry_steps: int,
    seed: int,
) -> ArmPoseNetwork:
    """Return a copy of `network` taught by found pictures and by renders like them at poses beyond theirs.

    Args:
        network: trained on renders.
        scene: arm and camera.
        pictures: (N, H, W, 3) uint8 found pictures, of the scene's size.
        q: (N, n) their tracked angles [rad].
        views: number of renders.
        steps: gradient steps of landmarks and mask.
        geometry_steps: gradient steps of the geometry.
        seed: of everything random.
    """
    renders = render_beyond(scene, video_looks(scene, pictures, q, seed), q, views, seed)
    found = stacked([scene.label(picture, each) for picture, each in zip(pictures, q)])
    repeats = max(1, round(OWN_SHARE * views / (1 - OWN_SHARE) / len(q)))
    parts = (renders, *repeats * [found])
    together = ArmRenders(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(found)})
    changed = copy.deepcopy(network)
    fit(changed, together, steps, batch=32, seed=seed, peak=PEAK, geometry_steps=geometry_steps)
    return changed


def with_found(track: ArmTrack, again: ArmTrack) -> ArmTrack:
    """Return `track` with the pictures that are lost in it and found `again`."""
    better = track.lost & ~again.lost
    merged = {}
    for each in fields(track):
        old, new = getattr(track, each.name), getattr(again, each.name)
        merged[each.name] = np.where(better.reshape(-1, *[1] * (old.ndim - 1)), new, old)
    return ArmTrack(**merged)
