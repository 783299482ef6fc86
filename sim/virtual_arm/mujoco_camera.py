"""The virtual arm's cameras: rendered images, distorted by the hidden lenses and sensors."""

from __future__ import annotations

import copy
import logging
from typing import Protocol

import numpy as np

from sim.virtual_arm.interface import Snapshot, VirtualArm
from sim.virtual_arm.mujoco_gl import BACKEND, INSTALL_HINT, mujoco
from sim.virtual_arm.real_camera import Lens


class CameraRenderer(Protocol):
    """Renders the scene for the arm's cameras."""

    name: str
    """Which renderer drew a session's images: belongs in its report."""

    def draw(self, snapshot: Snapshot, camera: str) -> np.ndarray:
        """Return RGB uint8, height × width × 3 of the camera called `camera`, as it is drawn."""
        ...

    def close(self) -> None:
        """Free the renderer; called in the thread that drew."""
        ...


class RendererUnavailable(RuntimeError):
    """A renderer cannot run on this machine; the message says what to install."""


class MujocoRenderer:
    """MuJoCo's own OpenGL renderer, off screen. Belongs to the thread that makes it, as OpenGL contexts do."""

    def __init__(self, arm: VirtualArm):
        """Open an OpenGL context.

        Raises:
            RendererUnavailable: if there is no EGL or OSMesa.
        """
        self._sizes = {name: (each.drawn.height, each.drawn.width) for name, each in arm.cameras.items()}
        self._model = copy.copy(arm.model)  # the appearance is written here while the arm steps the original
        self._data = mujoco.MjData(self._model)
        self._light = self._model.light_diffuse.copy()
        self._ambient = self._model.vis.headlight.ambient.copy()
        try:
            self._renderers = {size: mujoco.Renderer(self._model, *size) for size in sorted(set(self._sizes.values()))}
        except Exception as error:  # each OpenGL platform raises its own kinds
            raise RendererUnavailable(
                f"MuJoCo cannot open an OpenGL context with MUJOCO_GL={BACKEND} "
                f"({type(error).__name__}: {error}); {INSTALL_HINT}"
            ) from None
        for renderer in self._renderers.values():
            # Nothing here reflects, and no sky is in sight: the passes for them take a third of the time
            for absent in (mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_SKYBOX):
                renderer.scene.flags[absent] = 0
        self.name = f"mujoco ({BACKEND})"
        for camera in self._sizes:
            self.draw(arm.snapshot(), camera)  # the first image compiles shaders; later ones come in time

    def draw(self, snapshot: Snapshot, camera: str) -> np.ndarray:
        """Return RGB uint8, height × width × 3 of the camera called `camera`, as it is drawn."""
        self._data.qpos[:] = snapshot.qpos
        self._data.mocap_pos[:], self._data.mocap_quat[:] = snapshot.mocap[:, :3], snapshot.mocap[:, 3:]
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        for name, colour in snapshot.appearance.colours.items():
            self._model.geom(name).rgba[:3] = colour
        self._model.light_diffuse[:] = self._light * snapshot.appearance.light
        self._model.vis.headlight.ambient[:] = self._ambient * snapshot.appearance.light
        renderer = self._renderers[self._sizes[camera]]
        renderer.update_scene(self._data, camera)
        return renderer.render()

    def close(self) -> None:
        """Free the OpenGL contexts."""
        for renderer in self._renderers.values():
            renderer.close()


class VirtualCameras:
    """Captures images of the arm as its real cameras would."""

    def __init__(self, arm: VirtualArm, renderer: CameraRenderer):
        """Capture images of `arm`, drawn by `renderer`."""
        self.renderer = renderer
        self._lenses = {name: Lens(camera) for name, camera in arm.cameras.items()}

    def take(self, name: str, snapshot: Snapshot, rng: np.random.Generator) -> np.ndarray:
        """Return the image (height, width, 3) RGB uint8 of camera `name`, distorted, exposed and noisy."""
        return self._lenses[name].take(self.renderer.draw(snapshot, name), rng)


def open_renderer(arm: VirtualArm) -> CameraRenderer:
    """Open the best renderer of this machine, in the calling thread: MuJoCo's, else our own.

    The renderer's `name` belongs in reports.
    """
    try:
        return MujocoRenderer(arm)
    except RendererUnavailable as unavailable:
        logging.getLogger(__name__).warning("%s; drawing with our own rasteriser instead", unavailable)
    from sim.virtual_arm.rasterised_lab import RasterRenderer  # numba compiles on import

    return RasterRenderer(arm)
