"""Watch a policy's cameras, and go on without one that fails where the policy can.

A camera fails when its frames stop, when one is unlike those of training (a covered lens), or when the picture stands
still to the last bit while the arm moves. A policy that takes any subset of its cameras then goes on with the others,
while the error that it predicts stays within what it had in training; see `CameraMasking`. A camera stays masked until
the policy is started anew. Robot side: numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from policies.bundle.camera_mask import CameraMasking
from robots.observation import CameraFrame, RobotState

AVERAGED = 1.0
"""Time constant of the averages of the predicted std [s]."""
MOVED = 0.1
"""Way of a joint after which a picture that has not changed is taken for a frozen one [rad]."""
REPEATED = 3
"""Least number of further frames that hold the same picture."""


@dataclass
class _Picture:
    """The first of a series of equal pictures of one camera."""

    image: np.ndarray
    q: np.ndarray
    stamp: float
    repeated: int = 0


class CameraWatch:
    """Which of a policy's cameras count, and why the others do not."""

    def __init__(
        self, cameras: Sequence[str], masking: CameraMasking | None, shapes: Sequence[tuple[int, ...]], frame_age: float
    ):
        """Watch `cameras`, whose images have `shapes`; frames may be `frame_age` [s] old.

        Without a `masking` none is ever masked.
        """
        self._cameras = tuple(cameras)
        self._masking = masking
        self._frame_age = frame_age
        self._blank = {name: np.zeros(shape, np.uint8) for name, shape in zip(cameras, shapes)}
        self.failed: dict[str, tuple[str, str]] = {}
        """Why each masked camera does not count, and under which key that is counted."""
        self._pictures: dict[str, _Picture] = {}
        self._with_all: np.ndarray | None = None  # averages of the predicted std
        self._masked: np.ndarray | None = None
        self._masked_for = 0.0
        self.warning = ""
        """What the policy goes on without, and how much surer it was with it; empty while all cameras count. The
        predicted error is that of the first action, then the average of the first second."""

    def reset(self) -> None:
        """Let all cameras count again."""
        self.failed, self._pictures = {}, {}
        self._with_all = self._masked = None
        self.warning = ""

    @property
    def counting(self) -> tuple[str, ...]:
        """The cameras that are not masked."""
        return tuple(name for name in self._cameras if name not in self.failed)

    @property
    def mask(self) -> np.ndarray | None:
        """The graph's mask (C,); None while all count."""
        if not self.failed:
            return None
        return np.array([name not in self.failed for name in self._cameras], np.float32)

    def fault(self, name: str, state: RobotState, now: float) -> tuple[str, str] | None:
        """Return why camera `name` does not deliver, and the key under which that is counted; None if it does."""
        frame = state.frames.get(name)
        if frame is None:
            return f"camera '{name}': no frame received; is the camera driver running?", "camera_missing"
        age = now - frame.stamp
        if not age <= self._frame_age:
            limit = f"(limit {self._frame_age:.3f} s); is the camera driver running?"
            return f"camera '{name}': no frame for {age:.3f} s {limit}", "camera_stale"
        if self._masking is not None and self._is_frozen(name, frame, state.q):
            return (
                f"camera '{name}': the same picture again and again while the arm moves; is it frozen?",
                "camera_frozen",
            )
        return None

    def exclude(self, name: str, reason: str, key: str) -> bool:
        """Mask camera `name`, which failed for `reason`; return whether the policy can do without it."""
        if self._masking is None or self.counting == (name,):
            return False
        self.failed[name] = reason, key
        self._masked, self._masked_for = None, 0.0
        return True

    def filled(self, state: RobotState) -> RobotState:
        """Return `state` with black pictures of the masked cameras."""
        if not self.failed:
            return state
        black = {name: CameraFrame(0.0, self._blank[name], rectified=self._blank[name]) for name in self.failed}
        return replace(state, frames={**state.frames, **black})

    def judge(self, stds: np.ndarray | None, dt: float) -> tuple[str, str] | None:
        """Average the predicted std (P,) [m] of an action, `dt` [s] after the last one.

        Returns:
            Why the policy may not go on without the masked cameras, and the key under which that is counted; None if
            it may.
        """
        if stds is None or self._masking is None:
            return None
        if not self.failed:
            self._with_all = _averaged(self._with_all, stds, dt)
            return None
        self._masked = _averaged(self._masked, stds, dt)
        limits = np.array(self._masking.limits)
        worst = int((self._masked / limits).argmax())
        if self._masked[worst] <= limits[worst]:
            if self._masked_for == 0.0 or self._masked_for < AVERAGED <= self._masked_for + dt:
                self.warning = self._describe(self._masking, self._masked)
            self._masked_for += dt
            return None
        self.warning = ""
        reason, key = list(self.failed.values())[-1]
        return (
            f"{reason} With {_named(self.counting)} alone the predicted error of {self._masking.positions[worst]} is "
            f"{100 * self._masked[worst]:.1f} cm, allowed is {100 * limits[worst]:.1f}",
            key,
        )

    def _describe(self, masking: CameraMasking, now: np.ndarray) -> str:
        before = masking.usual if self._with_all is None else self._with_all
        errors = ", ".join(
            f"{name} {100 * a:.1f} cm instead of {100 * b:.1f}" for name, a, b in zip(masking.positions, now, before)
        )
        reasons = " ".join(reason for reason, _ in self.failed.values())
        return f"{reasons} Going on with {_named(self.counting)}, predicted error of {errors}"

    def _is_frozen(self, name: str, frame: CameraFrame, q: np.ndarray) -> bool:
        """Whether the newest frames of camera `name` have all held the same picture while the arm moved."""
        image, last = frame.image if frame.rectified is None else frame.rectified, self._pictures.get(name)
        if last is None or (frame.stamp != last.stamp and not np.array_equal(image, last.image)):
            self._pictures[name] = _Picture(image, q.copy(), frame.stamp)
            return False
        if frame.stamp != last.stamp:
            last.stamp, last.repeated = frame.stamp, last.repeated + 1
        return last.repeated >= REPEATED and bool(np.abs(q - last.q).max() > MOVED)


def _averaged(average: np.ndarray | None, value: np.ndarray, dt: float) -> np.ndarray:
    return value.astype(float) if average is None else average + min(1.0, dt / AVERAGED) * (value - average)


def _named(cameras: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in cameras)
