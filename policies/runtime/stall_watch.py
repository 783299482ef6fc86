"""Watch whether the arm follows the policy at all: it may be blocked, or its controller deaf. Robot side: numpy only.

The safety gate notices joints that lag far behind its setpoints; a policy's targets stay nearer to an arm at rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STALL_TIME = 2.0
"""How long targets stay ahead of an arm that does not move before it counts as stalled [s]."""
STALL_MOVE = 0.02
"""An arm with a joint that moves further than this is not stalled [rad]."""
FULL_LEAD = 0.9
"""Share of its lead from which a target is as far ahead as it may be."""


class StallWatch:
    """Notices an arm that stands still while a target is as far ahead of it as it may be."""

    def __init__(self, joints: Sequence[str], lead: float):
        """Watch `joints`, whose targets run at most `lead` [rad] ahead of them at rest."""
        self._joints, self._lead = joints, lead
        self._since: tuple[float, np.ndarray] | None = None

    def reset(self) -> None:
        """Begin anew, before a motion."""
        self._since = None

    def reason(self, target: np.ndarray, q: np.ndarray, now: float) -> str:
        """Return why an arm at `q` (n,) that is sent to `target` (n,) [rad] at `now` [s] is stalled; empty if not."""
        ahead = np.abs(target - q)
        worst = int(ahead.argmax())
        if ahead[worst] < FULL_LEAD * self._lead:
            self._since = None
        elif self._since is None or np.abs(q - self._since[1]).max() > STALL_MOVE:
            self._since = (now, q)
        elif now - self._since[0] > STALL_TIME:
            return (
                f"the arm does not move: the target of joint '{self._joints[worst]}' has been {ahead[worst]:.3f} rad "
                f"ahead for {now - self._since[0]:.1f} s (limit {STALL_TIME} s); is the arm blocked, or does it listen "
                "to another controller?"
            )
        return ""
