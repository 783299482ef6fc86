"""Coverage of the target's camera by the randomisation of camera pose and lens."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from adaptation.gap.evidence import UNSEEN, WIDE, Evidence
from adaptation.gap.image_gap import Factor
from sim.randomization.parameters import ParameterSpace

AXES = ("pitch", "yaw", "roll", "x", "y", "z", "focal", "cx", "cy")
"""The simulator's parameter names, in the order of `Calibration.mean`."""
DRAWN = 200
SURE = 0.9
"""Least probability that the camera is within a range, or outside, of which a verdict is given."""
LEARNT = 0.75
"""An estimate whose standard deviation is a larger share of its prior's says nothing."""


def camera_factors(evidence: Evidence, space: ParameterSpace, camera: str, seed: int = 0) -> list[Factor]:
    """Compare the estimated camera with the ranges of `space`; the least covered comes first.

    `covered` is the probability that the camera is within its range. Estimates that are as wide as their prior, or lie
    across a range's end, tell nothing, and neither do any where the images do not show the arm.
    """
    rng = np.random.default_rng(seed)
    calibration, found = evidence.calibration, []
    for i, axis in enumerate(AXES):
        param = space[f"camera_{camera}_{axis}"]
        low, high = param.range
        middle = float(calibration.mean[i]) + (1.0 if axis == "focal" else 0.0)
        sigma = float(np.sqrt(calibration.covariance[i, i]))
        # tolerance for ranges without width
        room = 1e-3 * (0.5 if axis in ("cx", "cy") else 0.01)
        inside = float(norm.cdf((high + room - middle) / sigma) - norm.cdf((low - room - middle) / sigma))
        estimate = f"{middle:.3g} ± {sigma:.2g} {param.unit}".strip()
        unknown = UNSEEN if evidence.unknown else ""
        if not unknown and sigma > LEARNT * WIDE[i]:
            unknown = f"{estimate} is hardly narrower than before the recording; {_record(axis)}"
        elif not unknown and 1 - SURE < inside < SURE:
            unknown = f"{estimate} may lie within the range or outside; {_record(axis)}"
        found.append(
            Factor(
                param.name,
                low,
                high,
                middle,
                inside,
                f"widen {param.name} to hold {estimate}, or adapt by self-calibration",
                tuple(rng.uniform(low, high, DRAWN).tolist()),
                tuple(rng.normal(middle, sigma, DRAWN).tolist()),
                unknown,
            )
        )
    return sorted(found, key=lambda factor: factor.covered)


def _record(axis: str) -> str:
    if axis in ("focal", "cx", "cy"):
        return "calibrate the lens with a board: sim2real calibrate intrinsics"
    return "record more arm poses, near to the camera and far from it"
