"""Bring pictures back to the light that a policy was trained in, while it runs: slowly, bounded, and reversible.

    pictures ─▶ statistics of the last ones ─▶ how far outside training's ─▶ one grey-level curve a channel

Adaptation at test time at its simplest, and all of it that may happen beside a moving arm: no weight changes, and
whatever is done is a table of 3 × 256 numbers. What lies within what training saw is left as it is. Robot side: numpy
and OpenCV.
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
"""How many pictures' median statistics are matched: two seconds at 20 Hz; what passes through the picture is not."""
MOST_SHIFT = 50.0
"""How far a channel's mean may be moved [grey levels]."""
MOST_GAIN = 1.6
"""How many times contrast may grow or shrink."""
JUMP = 25.0
"""Grey levels that a channel's mean may differ from the last pictures' median; beyond, the curve is dropped at once."""
GAIN = 1.0
"""How far a curve may move from one picture to the next [grey levels]: no action jumps because of it."""


class LightMatch:
    """The curve for one camera's pictures, from what it showed lately."""

    def __init__(self, seen: Range, pictures: int = PICTURES):
        """Match to what was `seen` in training, as a bundle's `InputWatch` has it for an image, over `pictures`.

        Raises:
            SpecError: if that is no image's range, or fewer than two pictures are asked for.
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
        """How many pictures were `matched`, left `as_they_are`, or `jumped`."""

    @property
    def watching(self) -> bool:
        """Whether a picture was looked at since the last reset."""
        return self._last is not None

    @property
    def moved(self) -> float:
        """How far the curve is from doing nothing, at its farthest [grey levels]."""
        return float(np.abs(self._curve - self._identity).max())

    def reset(self) -> None:
        """Do nothing again, and forget what was seen."""
        self._recent.clear()
        self._last, self._curve = None, self._identity

    def __call__(self, image: np.ndarray, stamp: float) -> np.ndarray:
        """Return `image` (H, W, 3) uint8, taken at `stamp` [s], as it would look in training's light.

        It is returned itself while nothing is to be done. A picture that a loop faster than its camera shows again is
        looked at once.
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
    """The curves of all of a policy's cameras, switched on and off while it runs."""

    def __init__(self, inputs: InputWatch, cameras: Sequence[str], on: bool = False):
        """Match the pictures of `cameras` to what `inputs` has of them; nothing is done while not `on`.

        Raises:
            SpecError: if it is on, and nobody recorded what training saw.
        """
        ranges = {name: inputs.ranges.get(f"image_{name}") for name in cameras}
        self._matches = {name: LightMatch(seen) for name, seen in ranges.items() if seen is not None}
        self._missing = [name for name, seen in ranges.items() if seen is None]
        self.on = False
        if on:
            self.switch(True)

    def switch(self, on: bool) -> None:
        """Begin, or undo what is being done; the loop's next step does it, whichever thread asks.

        Raises:
            SpecError: if nobody recorded what training saw of a camera, or there is no camera.
        """
        if on and (self._missing or not self._matches):
            what = f"camera '{self._missing[0]}'" if self._missing else "a policy without cameras"
            raise SpecError(f"light match: the bundle does not say what training saw of {what}; export it again")
        self.on = on

    def reset(self) -> None:
        """Do nothing again, and forget what was seen; stays on if it is."""
        for match in self._matches.values():
            match.reset()

    def __call__(self, observation: dict[str, np.ndarray], state: RobotState) -> dict[str, np.ndarray]:
        """Return `observation` with the pictures of `state` brought into training's light."""
        if not self.on:
            if any(match.watching for match in self._matches.values()):
                self.reset()
            return observation
        for name, match in self._matches.items():
            image = f"image_{name}"
            observation[image] = match(observation[image], state.frames[name].stamp)
        return observation

    def report(self) -> Mapping[str, int]:
        """What has been done so far, for the node's diagnostics."""
        total: Counter[str] = Counter(light_match_on=int(self.on))
        for match in self._matches.values():
            total.update({f"light_match_{key}": count for key, count in match.counts.items()})
            total["light_match_levels"] = max(total["light_match_levels"], round(match.moved))
        return total
