"""PyBullet's own renderers behind the interface of `RenderedScene`: the reference for ours.

TinyRenderer draws on the CPU, EGL on a GPU (or Mesa's llvmpipe, where there is none). Both draw the bodies of a
`RenderedScene` in their plain colours under the first light: no textures, highlights and further lights, and one sample
a pixel. They are slower by two orders of magnitude and give the same silhouettes and depths.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np

from robots.camera import CameraModel
from robots.shapes.meshes import Mesh
from sim.bullet import pybullet, quiet
from sim.rendering.appearance import Appearance, RenderError
from sim.rendering.renderer import Frame, RenderedScene

Renderer = Literal["numba", "tiny", "egl"]
RENDERERS: tuple[Renderer, ...] = ("numba", "tiny", "egl")
NEAR, FAR = 0.04, 20.0
"""Clipping planes [m]: nearer, and a depth buffer of 16 bits is off by more than 2 mm on the floor."""
AWAY = (0.0, 0.0, -1e3)
"""Where bodies are that must not be seen [m]."""
TINY_SHIFT = 0.5
"""TinyRenderer samples the corners of pixels: its images are half a pixel to the right and up."""


class BulletRenderer:
    """Draws one scene in a physics client of its own."""

    def __init__(self, scene: RenderedScene, renderer: Renderer):
        """Open the client, and EGL's plugin where that is the `renderer`.

        Raises:
            RenderError: for an unknown renderer, or if EGL cannot be loaded.
        """
        if renderer not in RENDERERS[1:]:
            raise RenderError(f"unknown renderer '{renderer}'; known are {', '.join(RENDERERS)}")
        self._scene = scene
        self._egl = renderer == "egl"
        self._folder = tempfile.TemporaryDirectory(prefix="sim2real_meshes_")
        with quiet():
            self._client = pybullet.connect(pybullet.DIRECT)
        self._plugin = -1
        if self._egl:
            found = importlib.util.find_spec("eglRenderer")
            if found is not None and found.origin is not None:
                with quiet():
                    self._plugin = pybullet.loadPlugin(found.origin, "_eglRendererPlugin", physicsClientId=self._client)
            if self._plugin < 0:
                self.close()
                raise RenderError(
                    "renderer 'egl': PyBullet's plugin cannot be loaded; install libegl1 and a driver, or take 'tiny'"
                )
        self._ids = [-1] * len(scene.bodies)
        self._drawn_at: list[tuple[float, ...] | None] = [None] * len(scene.bodies)

    def render(
        self,
        T_base_bodies: np.ndarray,
        camera: CameraModel,
        appearance: Appearance,
        *,
        shadow: bool,
        scales: np.ndarray,
        T_base_ee: np.ndarray | None = None,
        out: Frame | None = None,
        rows: tuple[int, int] | None = None,
    ) -> Frame:
        """Draw one frame; arguments and result are those of `RenderedScene.render`."""
        numbers = np.full(1, -1, np.int16)
        for b, T in enumerate(T_base_bodies):
            body = self._body(b, tuple(scales[b].tolist()))
            position, quat = (T[:3, 3], _quaternion(T[:3, :3])) if appearance.visible[b] else (AWAY, (0, 0, 0, 1))
            pybullet.resetBasePositionAndOrientation(body, position, quat, physicsClientId=self._client)
            rgb = np.clip(appearance.colours[b] * _own_colour(self._scene, b), 0.0, 1.0).tolist()
            pybullet.changeVisualShape(body, -1, rgbaColor=(*rgb, 1.0), physicsClientId=self._client)
            if body >= len(numbers):
                numbers = np.append(numbers, np.full(body + 1 - len(numbers), -1, np.int16))
            numbers[body] = b
        height, width = camera.height, camera.width
        brightest = max(float(appearance.light_colours[0].max()), 1e-6)
        with quiet():
            _, _, rgba, buffer, mask = pybullet.getCameraImage(
                width,
                height,
                _view(camera.pose(T_base_ee)),
                _projection(camera, 0.0 if self._egl else TINY_SHIFT),
                lightDirection=appearance.light_directions[0].tolist(),
                lightColor=(appearance.light_colours[0] / brightest).tolist(),
                lightDistance=3.0,
                shadow=int(shadow),
                lightAmbientCoeff=float(appearance.ambient.mean()),
                lightDiffuseCoeff=brightest,
                lightSpecularCoeff=0.0,
                renderer=pybullet.ER_BULLET_HARDWARE_OPENGL if self._egl else pybullet.ER_TINY_RENDERER,
                physicsClientId=self._client,
            )
        mask = np.reshape(mask, (height, width))
        seen = mask >= 0
        share = np.linspace(0.0, 1.0, height)[:, None, None]
        sky = 255 * np.clip(
            appearance.background[0] + share * (appearance.background[1] - appearance.background[0]), 0.0, 1.0
        )
        buffer = np.reshape(buffer, (height, width))
        frame = Frame(
            np.where(seen[..., None], np.reshape(rgba, (height, width, 4))[..., :3], sky).astype(np.uint8),
            np.where(seen, FAR * NEAR / (FAR - (FAR - NEAR) * buffer), 0.0).astype(np.float32),
            np.where(seen, numbers[np.maximum(mask, 0)], -1).astype(np.int16),
        )
        if out is None:
            return frame
        first, last = (0, height) if rows is None else rows
        for target, drawn in zip(out, frame):
            if target.size:
                target[first:last] = drawn[first:last]
        return out

    def close(self) -> None:
        """Close the client."""
        if self._client >= 0:
            with quiet():
                if self._egl and self._plugin >= 0:
                    pybullet.unloadPlugin(self._plugin, physicsClientId=self._client)
                pybullet.disconnect(self._client)
            self._folder.cleanup()
        self._client = -1

    def _body(self, b: int, scale: tuple[float, ...]) -> int:
        """Return the number of body `b` in the client; one of another size is built anew."""
        if self._drawn_at[b] == scale:
            return self._ids[b]
        if self._drawn_at[b] is not None:
            pybullet.removeBody(self._ids[b], physicsClientId=self._client)
        # EGL's plugin draws meshes from files only
        path = Path(self._folder.name) / f"{b}.obj"
        if not path.exists():
            path.write_text(_obj(self._scene.bodies[b].mesh))
        with quiet():
            shape = pybullet.createVisualShape(
                pybullet.GEOM_MESH, fileName=str(path), meshScale=scale, physicsClientId=self._client
            )
        self._ids[b] = pybullet.createMultiBody(0, -1, shape, physicsClientId=self._client)
        self._drawn_at[b] = scale
        return self._ids[b]


def _obj(mesh: Mesh) -> str:
    """Write a mesh as Wavefront OBJ, with a normal for each corner of each triangle."""
    vertices = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in mesh.vertices.tolist()]
    normals = [f"vn {x:.6g} {y:.6g} {z:.6g}" for x, y, z in mesh.normals.reshape(-1, 3).tolist()]
    faces = [
        f"f {a + 1}//{3 * i + 1} {b + 1}//{3 * i + 2} {c + 1}//{3 * i + 3}"
        for i, (a, b, c) in enumerate(mesh.triangles.tolist())
    ]
    return "\n".join(("o body", *vertices, *normals, *faces, ""))


def _own_colour(scene: RenderedScene, b: int) -> np.ndarray:
    """Mean colour (3,) of a body's mesh: PyBullet's bodies have one colour."""
    return scene.bodies[b].mesh.colours.mean(axis=0)


def _view(T_base_camera: np.ndarray) -> list[float]:
    """OpenGL's view matrix, column by column: its camera appearance along -z, with y up."""
    T = np.linalg.inv(T_base_camera @ np.diag([1.0, -1.0, -1.0, 1.0]))
    return T.T.ravel().tolist()


def _projection(camera: CameraModel, shift: float) -> list[float]:
    """OpenGL's projection matrix of a pinhole camera, column by column.

    Integer pixel coordinates are centres: u is at (2 u + 1) / width - 1 in OpenGL's image, v at
    1 - (2 v + 1) / height.
    """
    (fx, skew, cx), (_, fy, cy), _ = camera.K
    cx, cy = cx - shift, cy + shift
    w, h = camera.width, camera.height
    P = np.array(
        [
            [2 * fx / w, -2 * skew / w, 1 - (2 * cx + 1) / w, 0.0],
            [0.0, 2 * fy / h, (2 * cy + 1) / h - 1, 0.0],
            [0.0, 0.0, -(FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR)],
            [0.0, 0.0, -1.0, 0.0],
        ]
    )
    return P.T.ravel().tolist()


def _quaternion(R: np.ndarray) -> np.ndarray:
    """Orientation (4,) xyzw of a rotation (3, 3)."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(R).as_quat()
