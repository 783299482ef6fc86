"""A desktop window that shows images at a steady rate."""

from __future__ import annotations

import os

import numpy as np


class WindowError(RuntimeError):
    """No window can be opened here."""


class Window:
    """One window, opened by the first image. When a user closes it, later images are not shown."""

    def __init__(self, title: str, rate_hz: float):
        """Prepare a window that shows at most `rate_hz` images a second.

        Raises:
            WindowError: if pygame is not installed.
        """
        try:
            os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
            import pygame
        except ImportError:
            raise WindowError("a window needs pygame, which is not installed; pip install pygame") from None
        self._pygame = pygame
        self._title, self._rate_hz = title, rate_hz
        self._clock = pygame.time.Clock()
        self._screen = None
        self.closed = False
        """Whether the window was closed, by a user or by `close`."""

    def show(self, image: np.ndarray) -> None:
        """Show `image` (H, W, 3) uint8 RGB, when it is time for it.

        Raises:
            WindowError: if there is no display.
        """
        if self.closed:
            return
        pygame = self._pygame
        height, width = image.shape[:2]
        screen = self._screen = self._screen or self._open(width, height)
        if any(event.type == pygame.QUIT for event in pygame.event.get()):
            self.close()
            return
        surface = pygame.image.frombuffer(np.ascontiguousarray(image), (width, height), "RGB")
        screen.blit(surface, (0, 0))
        pygame.display.flip()
        self._clock.tick(self._rate_hz)

    def _open(self, width: int, height: int):
        pygame = self._pygame
        wanted = os.environ.get("SDL_VIDEODRIVER")
        try:
            pygame.display.init()
            screen = pygame.display.set_mode((width, height))
            driver = pygame.display.get_driver()
        except pygame.error as error:
            driver, reason = None, str(error)
        else:
            reason = f"SDL fell back to its '{driver}' driver"
        if driver is None or (driver in ("dummy", "offscreen") and driver != wanted):
            pygame.display.quit()
            raise WindowError(
                f"render_mode 'human': no window can be opened ({reason}); is there a display? DISPLAY is "
                f"'{os.environ.get('DISPLAY', '')}'; use render_mode 'rgb_array' without one"
            )
        pygame.display.set_caption(self._title)
        return screen

    def close(self) -> None:
        """Close the window."""
        if self._screen is not None:
            self._pygame.display.quit()
        self._screen, self.closed = None, True
