"""Frames per second of `sim.rendering.renderer` and, in turn with it, of PyBullet's TinyRenderer.

    python benchmarks/parts/render_speed.py [--quick] [--json FILE]

Both draw the Panda (ours reduced, TinyRenderer's stock), a table, a cube and a ball from one camera,
in poses that change at every frame. Every repeat measures each variant once, so that a busy machine
slows all of them; the figures are medians over the repeats, the ratios are taken within a repeat.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import pybullet
import pybullet_data
from scipy.spatial.transform import Rotation

from benchmarks.parts.record import heading, origin, save
from robots.camera import CameraModel
from robots.shapes.meshes import cuboid, sphere
from robots.shapes.visual_meshes import load_urdf_visuals
from sim.randomization.appearance_sampler import AppearanceRanges, sample_appearance, texture_pool
from sim.rendering.appearance import Appearance
from sim.rendering.packed_bodies import Body
from sim.rendering.renderer import Frame, RenderedScene

SEED = 0
SIZES = (64, 84, 128)
VARIANTS = {
    "plain": {"shadow": False, "supersample": 1},
    "shadow": {"shadow": True, "supersample": 1},
    "shadow_ssaa2": {"shadow": True, "supersample": 2},
}
EYE, TARGET, FOV = (1.3, 0.7, 0.75), (0.3, 0.0, 0.2), 45.0
HOME = np.array([0, -0.3, 0, -2.2, 0, 2.0, 0.79, 0, 0, 0.03, 0.03])
DATA = Path(pybullet_data.getDataPath())


class World:
    """The same things for both renderers."""

    def __init__(self) -> None:
        self.client = pybullet.connect(pybullet.DIRECT)
        urdf = DATA / "franka_panda" / "panda.urdf"
        self.arm = pybullet.loadURDF(str(urdf), useFixedBase=True, physicsClientId=self.client)
        self._box((0.35, 0.5, 0.15), (0.45, 0, -0.15), (0.72, 0.56, 0.4, 1))
        self._box((0.025, 0.025, 0.025), (0.5, 0.15, 0.025), (0.85, 0.15, 0.12, 1))
        ball = pybullet.createVisualShape(
            pybullet.GEOM_SPHERE, radius=0.03, rgbaColor=(0.1, 0.35, 0.8, 1), physicsClientId=self.client
        )
        pybullet.createMultiBody(0, -1, ball, basePosition=(0.6, -0.1, 0.03), physicsClientId=self.client)
        meshes = load_urdf_visuals(urdf)
        self.links = list(meshes)
        self.bodies = [
            *(Body(name, mesh, "arm") for name, mesh in meshes.items()),
            Body("table", cuboid((0.7, 1.0, 0.3)), colour=(0.72, 0.56, 0.4), casts_shadow=False),
            Body("cube", cuboid((0.05, 0.05, 0.05)), colour=(0.85, 0.15, 0.12)),
            Body("ball", sphere(0.03), colour=(0.1, 0.35, 0.8)),
        ]
        joints = range(pybullet.getNumJoints(self.arm, physicsClientId=self.client))
        self.numbers = {pybullet.getJointInfo(self.arm, i, physicsClientId=self.client)[12].decode(): i for i in joints}

    def _box(self, half: tuple, position: tuple, colour: tuple) -> None:
        shape = pybullet.createVisualShape(
            pybullet.GEOM_BOX, halfExtents=half, rgbaColor=colour, physicsClientId=self.client
        )
        pybullet.createMultiBody(0, -1, shape, basePosition=position, physicsClientId=self.client)

    def pose(self, q: np.ndarray) -> np.ndarray:
        """Move the arm and return every body's pose (B, 4, 4)."""
        for joint, value in enumerate(q):
            pybullet.resetJointState(self.arm, joint, value, physicsClientId=self.client)
        T = np.tile(np.eye(4), (len(self.bodies), 1, 1))
        for k, name in enumerate(self.links):
            if name in self.numbers:
                state = pybullet.getLinkState(
                    self.arm, self.numbers[name], computeForwardKinematics=True, physicsClientId=self.client
                )
                T[k, :3, 3], T[k, :3, :3] = state[4], Rotation.from_quat(state[5]).as_matrix()
        T[-3:, :3, 3] = (0.45, 0, -0.15), (0.5, 0.15, 0.025), (0.6, -0.1, 0.03)
        return T

    def tiny_renderer(self, size: int, shadow: bool) -> None:
        """Draw one frame as it is usually done: RGB, depth and segmentation."""
        pybullet.getCameraImage(
            size,
            size,
            pybullet.computeViewMatrix(EYE, TARGET, (0, 0, 1)),
            pybullet.computeProjectionMatrixFOV(FOV, 1.0, 0.05, 5.0),
            shadow=int(shadow),
            renderer=pybullet.ER_TINY_RENDERER,
            physicsClientId=self.client,
        )


def frames_per_second(draw: Callable[[int], None], seconds: float) -> float:
    draw(0)
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        draw(count)
        count += 1
    return count / elapsed


def in_two_threads(frames: list[Frame], draw: Callable[[Frame, int], None], seconds: float) -> float:
    rates = [0.0] * len(frames)
    ready = threading.Barrier(len(frames))

    def work(k: int) -> None:
        ready.wait()
        rates[k] = frames_per_second(lambda i: draw(frames[k], i), seconds)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(frames))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates)


def measure(repeats: int, seconds: float) -> dict[str, list[float]]:
    """Rates of every variant, one value a repeat."""
    rng = np.random.default_rng(SEED)
    world = World()
    joints = [HOME + np.r_[rng.uniform(-0.4, 0.4, 7), np.zeros(4)] for _ in range(64)]
    poses = [world.pose(q) for q in joints]
    scene = RenderedScene(world.bodies, texture_pool(seed=SEED))
    ranges = AppearanceRanges(shadow=1.0)
    appearance: list[Appearance] = [sample_appearance(rng, scene, ranges) for _ in range(64)]
    rates: dict[str, list[float]] = {}
    for _ in range(repeats):
        for size in SIZES:
            camera = CameraModel.looking_at("front", EYE, TARGET, size, size, FOV)
            for name, options in VARIANTS.items():
                frames = [Frame.empty(size, size) for _ in range(2)]

                def draw(own: Frame, i: int, chosen: list[Appearance] | None = None) -> None:
                    look = None if chosen is None else chosen[i % 64]
                    scene.render(poses[i % 64], camera, look, out=own, **options)  # noqa: B023

                key = f"ours_{size}_{name}"
                rates.setdefault(key, []).append(frames_per_second(partial(draw, frames[0]), seconds))
                rates.setdefault(key + "_random_looks", []).append(
                    frames_per_second(partial(draw, frames[0], chosen=appearance), seconds)
                )
                rates.setdefault(key + "_two_threads", []).append(in_two_threads(frames, draw, seconds))
            for name, shadow in (("plain", False), ("shadow", True)):

                def tiny(i: int) -> None:
                    world.pose(joints[i % 64])
                    world.tiny_renderer(size, shadow)  # noqa: B023

                rates.setdefault(f"tiny_{size}_{name}", []).append(frames_per_second(tiny, seconds))
    return rates


def describe(values: list[float]) -> dict[str, float]:
    return {"median": float(np.median(values)), "low": float(min(values)), "high": float(max(values))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shorter runs: about a minute in all")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    arguments = parser.parse_args()
    repeats, seconds = (5, 0.2) if arguments.quick else (9, 0.8)
    described = origin([SEED])
    print(f"{heading(described)}; {repeats} repeats of {seconds:g} s each")
    rates = measure(repeats, seconds)
    figures = {key: describe(values) for key, values in rates.items()}
    ratios = {}
    print(f"\n{'frames/s, median (low to high)':44s}{'':24s}against TinyRenderer")
    for key, figure in figures.items():
        text = f"{key:44s}{figure['median']:8.0f} ({figure['low']:.0f} to {figure['high']:.0f})"
        owner, size, variant = key.split("_", 2)
        if owner == "ours":
            peer = rates[f"tiny_{size}_{'plain' if variant.startswith('plain') else 'shadow'}"]
            ratios[key] = describe([a / b for a, b in zip(rates[key], peer, strict=True)])
            r = ratios[key]
            text = f"{text:68s}× {r['median']:.0f} ({r['low']:.0f} to {r['high']:.0f})"
        print(text)
    lengths = {"repeats": repeats, "seconds_each": seconds}
    save(arguments.json, described, {**lengths, "frames_per_second": figures, "ratios": ratios})


if __name__ == "__main__":
    main()
