"""Does the simulator's randomisation of camera pose and lens cover the camera that the target was seen by?"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from adaptation.gap.image_gap import Factor
from adaptation.visual.self_calibration import Calibration
from sim.randomization.parameters import ParameterSpace

AXES = ("pitch", "yaw", "roll", "x", "y", "z", "focal", "cx", "cy")
"""The simulator's names of what `Calibration.mean` holds, in its order."""
DRAWN = 200


def camera_factors(calibration: Calibration, space: ParameterSpace, camera: str, seed: int = 0) -> list[Factor]:
    """Compare the camera that was found with what `space` draws; the least covered comes first.

    A factor that was found within its range is covered; one outside by as much as is unlikely to be chance: covered is
    the probability of being found so far out, or farther, if the true value stood at the range's end. What the frames
    say little of is not held against the simulation.
    """
    rng = np.random.default_rng(seed)
    found = []
    for i, axis in enumerate(AXES):
        param = space[f"camera_{camera}_{axis}"]
        low, high = param.range
        middle = float(calibration.mean[i]) + (1.0 if axis == "focal" else 0.0)
        sigma = float(np.sqrt(calibration.covariance[i, i]))
        # a pixel's rounding away from a range of no width is no gap
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
