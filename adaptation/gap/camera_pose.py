"""Coverage of the target's camera by the randomisation of camera pose and lens."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from adaptation.gap.image_gap import Factor
from adaptation.visual.self_calibration import Calibration
from sim.randomization.parameters import ParameterSpace

AXES = ("pitch", "yaw", "roll", "x", "y", "z", "focal", "cx", "cy")
"""The simulator's parameter names, in the order of `Calibration.mean`."""
DRAWN = 200


def camera_factors(calibration: Calibration, space: ParameterSpace, camera: str, seed: int = 0) -> list[Factor]:
    """Compare the estimated camera with the ranges of `space`; the least covered comes first.

    `covered` is 1 for an estimate within its range. Outside it is the probability of an estimate at least so far out if
    the true value is at the range's end, so that an uncertain estimate counts as covered.
    """
    rng = np.random.default_rng(seed)
    found = []
    for i, axis in enumerate(AXES):
        param = space[f"camera_{camera}_{axis}"]
        low, high = param.range
        middle = float(calibration.mean[i]) + (1.0 if axis == "focal" else 0.0)
        sigma = float(np.sqrt(calibration.covariance[i, i]))
        # tolerance for ranges without width
        room = 1e-3 * (0.5 if axis in ("cx", "cy") else 0.01)
        outside = max(0.0, low - room - middle, middle - high - room)
        covered = float(2 * norm.sf(outside / sigma))
        remedy = f"widen {param.name} to hold {middle:.3g} {param.unit}".strip() + ", or adapt by self-calibration"
        found.append(
            Factor(
                param.name,
                low,
                high,
                middle,
                covered,
                remedy,
                tuple(rng.uniform(low, high, DRAWN).tolist()),
                tuple(rng.normal(middle, sigma, DRAWN).tolist()),
            )
        )
    return sorted(found, key=lambda factor: factor.covered)
