"""What `ArmEnv.render` draws: the task's first camera, without its faults, as an array or in a window."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from robots.camera import CameraModel
from robots.model import RobotModel
from robots.specs import SpecError
from sim.physics.world import World
from sim.sensing.simulated_cameras import RenderConfig, SimulatedCameras
from sim.tasks import Task
from sim.window import Window

RENDER_MODES = ("human", "rgb_array")
WINDOW_HEIGHT = 480
"""Height of a window, if no other is asked for [px]."""


def check_render_mode(render_mode: str | None, height: int | None, width: int | None) -> None:
    """Raise `SpecError` for an unknown render mode, or a size [px] without one or below 1."""
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise SpecError(f"unknown render mode '{render_mode}'; known are None, {', '.join(RENDER_MODES)}")
    for name, value in (("render_height", height), ("render_width", width)):
        if value is not None and value < 1:
            raise SpecError(f"{name} is {value}, expected a positive number of pixels")
    if render_mode is None and (height or width):
        raise SpecError("render_height and render_width need a render_mode, 'human' or 'rgb_array'")


class Viewer:
    """Draws one world in one of the `RENDER_MODES`."""

    def __init__(
        self,
        task: Task,
        robot: RobotModel,
        render_mode: str,
        height: int | None,
        width: int | None,
        rendering: RenderConfig | None,
    ):
        """Load what is drawn.

        Args:
            task: laid out for the arm; its first camera is drawn.
            robot: the arm.
            render_mode: one of `RENDER_MODES`.
            height: of the image [px]; by default `WINDOW_HEIGHT` in a window, else the camera's.
            width: of the image [px]; by default the height times the camera's aspect ratio.
            rendering: how images are drawn.

        Raises:
            WindowError: if a window is asked for, and pygame is not installed.
        """
        view = _resized(task.cameras[0], height, width, render_mode)
        self._camera = view.name
        self._images = SimulatedCameras(task, robot, [view], rendering)
        self.window: Window | None = None
        """Where `draw` shows its images; None with `rgb_array`."""
        if render_mode == "human":
            self.window = Window(f"sim2real {task.name}, {robot.name}", task.action.rate_hz)
        self._ready = False

    def begin(self) -> None:
        """Take the episode's parameters anew at the next image."""
        self._ready = False

    def draw(self, world: World, parameters: Mapping[str, float]) -> np.ndarray | None:
        """Return the image (H, W, 3) uint8 RGB of an episode with these `parameters`, or show it and return None.

        Raises:
            WindowError: if there is no display for a window.
        """
        if not self._ready:
            self._images.begin(parameters, world.bodies[1:])
            self._ready = True
        image = self._images.render(world, self._camera).rgb
        if self.window is None:
            return image
        self.window.show(image)
        return None

    def close(self) -> None:
        """Close the window, and what draws."""
        self._images.close()
        if self.window is not None:
            self.window.close()


def _resized(camera: CameraModel, height: int | None, width: int | None, render_mode: str) -> CameraModel:
    """Return the camera with the size of a rendered image; what is not given follows from its aspect ratio."""
    if height is None and width is not None:
        height = max(1, round(width * camera.height / camera.width))
    if height is None:
        height = WINDOW_HEIGHT if render_mode == "human" else camera.height
    return camera.resized(height, width or max(1, round(height * camera.width / camera.height)))
