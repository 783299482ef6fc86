"""Keeps an arm from pressing ever harder against what is in its way, before its torque limits stop it for good."""

from __future__ import annotations

import numpy as np

from policies.runtime.limits import SafetyLimits

STRAINED = 0.75
"""Share of a joint's torque limit from which it is strained: what is left is for the setpoint's way to rest."""

FALLING = 0.3
"""Least cosine of the angle between a way back and the steepest one, since stiffness is only about known."""


class Strain:
    """Tells by the joints' torques and deflections which motions would press harder.

    A joint behind a position or impedance controller is a spring. Where something holds the arm, joints stay behind
    their setpoints, and the springs' energy grows as these go on. While a joint is strained, setpoints may only go
    where that energy falls. Stiffness is taken to be in proportion to the torque limits, as it is about where drives
    are made for one arm.
    """

    def __init__(self, limits: SafetyLimits):
        """Prepare for an arm with these limits."""
        self._names, self._limits = limits.joint_names, np.array(limits.tau)
        self._held: np.ndarray | None = None
        self.reason = ""
        """Which joint is strained, in a sentence; empty if none is."""

    def on_state(self, q: np.ndarray, tau: np.ndarray | None) -> None:
        """Take measured positions (n,) [rad] and torques (n,) [N·m]; NaN, or None, where no torque is measured."""
        self._held, self.reason = None, ""
        if tau is None:
            return
        shares = np.abs(np.nan_to_num(tau, nan=0.0)) / self._limits
        worst = int(shares.argmax())
        if shares[worst] > STRAINED:
            self._held = q
            self.reason = (
                f"joint '{self._names[worst]}' bears {100 * shares[worst]:.0f} % of its torque limit; does the arm "
                "press against something?"
            )

    def grows(self, q: np.ndarray, following: np.ndarray) -> bool:
        """Return whether the way from the setpoint `q` to `following` (n,) [rad] presses a strained joint harder."""
        if self._held is None:
            return False
        way, slope = following - q, self._limits * (q - self._held)
        return bool(slope @ way > -FALLING * np.linalg.norm(slope) * np.linalg.norm(way))
