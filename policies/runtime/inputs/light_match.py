"""Match the brightness and contrast of images to those of training while the policy runs: slowly, bounded, reversible.

    images ─▶ statistics of the last ones ─▶ how far outside training's ─▶ one grey-level curve per channel

Test-time adaptation that changes no weights: all it does is a table of 3 × 256 numbers. Images within the range of
training are left unchanged. Robot side: numpy and OpenCV.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from policies.bundle.input_watch import InputWatch, Range, picture_statistics
from robots.observation import RobotState
from robots.specs import SpecError

PICTURES = 40
"""Number of images whose median statistics are matched: two seconds at 20 Hz, so that passing objects do not count."""
MOST_SHIFT = 50.0
"""Greatest shift of a channel's mean [grey levels]."""
MOST_GAIN = 1.6
"""Greatest factor on contrast, up or down."""
JUMP = 25.0
"""Difference of a channel's mean from the last images' median above which the curve is reset at once [grey levels]."""
GAIN = 1.0
"""Greatest change of a curve from one image to the next [grey levels], so that actions do not jump."""


class LightMatch:
    """The curve for one camera's images, computed from its recent ones."""

    def __init__(self, seen: Range, pictures: int = PICTURES):
        """Match to the range `seen` in training, of a bundle's `InputWatch`, over the last `pictures` images.

        Raises:
            SpecError: if that is not the range of an image, or fewer than two images are given.
        """
        if len(seen.low) != 5:
            raise SpecError(f"light match: a range of {len(seen.low)} statistics, expected an image's five")
        if pictures < 2:
            raise SpecError(f"light match: over {pictures} pictures, expected at least 2")
        self._low, self._high = np.array(seen.low[:4]), np.array(seen.high[:4])
        self._recent: deque[np.ndarray] = deque(maxlen=pictures)
        self._last: float | None = None
        self._identity = np.repeat(np.arange(256.0)[:, None], 3, axis=1)
        self._curve = self._identity
        self.counts: Counter[str] = Counter(matched=0, as_they_are=0, jumped=0)
        """Number of images that were `matched`, left `as_they_are`, or `jumped`."""

    @property
    def watching(self) -> bool:
        """Whether an image was processed since the last reset."""
        return self._last is not None

    @property
    def moved(self) -> float:
        """Greatest distance of the curve from the identity [grey levels]."""
        return float(np.abs(self._curve - self._identity).max())

    def reset(self) -> None:
        """Return to the identity, and clear the statistics."""
        self._recent.clear()
        self._last, self._curve = None, self._identity

    def __call__(self, image: np.ndarray, stamp: float) -> np.ndarray:
        """Return `image` (H, W, 3) uint8, taken at `stamp` [s], matched to training's brightness and contrast.

        The image itself is returned while the curve is the identity. An image that is passed again, by a loop faster
        than its camera, counts once.
        """
        if stamp != self._last:
            self._last = stamp
            self._look(picture_statistics(image)[:4])
            self.counts["as_they_are" if self._curve is self._identity else "matched"] += 1
        if self._curve is self._identity:
            return image
        table = np.clip(self._curve + 0.5, 0, 255).astype(np.uint8)
        return cv2.LUT(image, table[None])

    def _look(self, statistics: np.ndarray) -> None:
        if self._recent and np.abs(statistics[:3] - np.median(self._recent, axis=0)[:3]).max() > JUMP:
            self.counts["jumped"] += 1
            self._recent.clear()
            self._curve = self._identity
        self._recent.append(statistics)
        if len(self._recent) == self._recent.maxlen:
            self._approach(self._wanted(np.median(self._recent, axis=0)))

    def _wanted(self, now: np.ndarray) -> np.ndarray:
        """Return the curve (256, 3) that brings statistics `now` (4,) into training's range, as far as allowed."""
        contrast = max(now[3], 1.0)  # a picture of one colour has none to stretch
        gain = float(np.clip(np.clip(contrast, self._low[3], self._high[3]) / contrast, 1 / MOST_GAIN, MOST_GAIN))
        shift = np.clip(np.clip(now[:3], self._low[:3], self._high[:3]) - now[:3], -MOST_SHIFT, MOST_SHIFT)
        if gain == 1.0 and not shift.any():
            return self._identity
        return now[:3] + shift + gain * (self._identity - now[:3])

    def _approach(self, wanted: np.ndarray) -> None:
        step = np.clip(wanted - self._curve, -GAIN, GAIN)
        arrived = not step.any()
        if not arrived:
            self._curve = self._curve + step
        if wanted is self._identity and np.abs(self._curve - self._identity).max() < 1e-9:
            self._curve = self._identity


class LightMatching:
    """The curves of all of a policy's cameras, which can be switched on and off while it runs."""

    def __init__(self, inputs: InputWatch, cameras: Sequence[str], on: bool = False):
        """Match the images of `cameras` to their ranges in `inputs`, while `on`.

        Raises:
            SpecError: if it is on, and the bundle has no range of training.
        """
        ranges = {name: inputs.ranges.get(f"image_{name}") for name in cameras}
        self._matches = {name: LightMatch(seen) for name, seen in ranges.items() if seen is not None}
        self._missing = [name for name, seen in ranges.items() if seen is None]
        self.on = False
        if on:
            self.switch(True)

    def switch(self, on: bool) -> None:
        """Switch matching on or off, from the loop's next step on; may be called from any thread.

        Raises:
            SpecError: if the bundle has no range of training for a camera, or there is no camera.
        """
        if on and (self._missing or not self._matches):
            what = f"camera '{self._missing[0]}'" if self._missing else "a policy without cameras"
            raise SpecError(f"light match: the bundle does not say what training saw of {what}; export it again")
        self.on = on

    def reset(self) -> None:
        """Return to the identity, and clear the statistics; stays on if it is."""
        for match in self._matches.values():
            match.reset()

    def __call__(self, observation: dict[str, np.ndarray], state: RobotState) -> dict[str, np.ndarray]:
        """Return `observation` with the images of `state` matched to training."""
        if not self.on:
            if any(match.watching for match in self._matches.values()):
                self.reset()
            return observation
        for name, match in self._matches.items():
            image = f"image_{name}"
            observation[image] = match(observation[image], state.frames[name].stamp)
        return observation

    def report(self) -> Mapping[str, int]:
        """Return counts of processed images, for the node's diagnostics."""
        total: Counter[str] = Counter(light_match_on=int(self.on))
        for match in self._matches.values():
            total.update({f"light_match_{key}": count for key, count in match.counts.items()})
            total["light_match_levels"] = max(total["light_match_levels"], round(match.moved))
        return total
