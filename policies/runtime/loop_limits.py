"""When the control loop refuses to act, and how far it runs ahead of the arm. Robot side: numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robots.action import MAX_LEAD
from robots.specs import SpecError

RESPONSE = 0.1
"""How long an arm takes to follow a command, about [s]: a joint that moves is behind its target by its speed times
this."""


@dataclass(frozen=True)
class LoopLimits:
    """When the loop refuses to act, and how long it blends in."""

    state_age: float = 0.1
    """Greatest age of the joint state [s]."""
    gripper_age: float = 0.25
    """Greatest age of the finger positions [s], for policies with a gripper."""
    frame_age: float = 0.25
    """Greatest age of a camera's frame [s]."""
    pose_age: float = 0.25
    """Greatest age of a pose estimate [s], for policies that observe one."""
    check_inputs: bool = True
    """Whether to refuse inputs unlike those of training, where the bundle has their ranges."""
    blend: float = 0.3
    """Time over which commands go from the present position to the policy's targets [s]."""
    lead: float = 0.12
    """How far a joint's target may run ahead of the measured joint [rad], what gravity bends its servo by aside: in
    simulation it is less in nine of ten actions. An arm that lags more would be faster than it can stop."""
    rest_lead: float = 0.09
    """The same where a joint does not move [rad]: how hard an arm that touches something presses. Less than the safety
    gate's `stall_error`, at which it takes the arm for blocked."""

    def __post_init__(self) -> None:
        for name in ("state_age", "gripper_age", "frame_age", "pose_age"):
            if not 0 < getattr(self, name) <= 1.0:
                raise SpecError(f"limit '{name}': {getattr(self, name)} s, expected within (0, 1]")
        if not 0 <= self.blend <= 10.0:
            raise SpecError(f"blend: {self.blend} s, expected within [0, 10]")
        if not 0 < self.lead <= MAX_LEAD:
            raise SpecError(f"lead: {self.lead} rad, expected within (0, {MAX_LEAD}]")
        if not self.rest_lead > 0:
            raise SpecError(f"rest_lead: {self.rest_lead} rad, expected more than 0")

    def leads(self, dq: np.ndarray) -> np.ndarray:
        """Return how far targets may run ahead of joints (n,) [rad] that move at `dq` (n,) [rad/s].

        From `rest_lead` it grows to `lead` by what a joint moves in `RESPONSE`; where the speed is not measured, it is
        `lead`.
        """
        moving = np.where(np.isfinite(dq), self.rest_lead + RESPONSE * np.abs(dq), self.lead)
        return np.minimum(moving, self.lead)
