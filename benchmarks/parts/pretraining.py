"""What pretraining saves, from the learning curves of encoders with published weights and of fresh ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from policies.transfer.learning_curves import steps_to

WANTED_CM = 1.5
"""Error in real frames for which the frames needed are counted."""
Curves = Mapping[str, Mapping]
"""By method: `encoder`, whether it is `pretrained`, and `error_cm` (seeds, budgets)."""


def pairs(found: Curves) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the errors (S, P) of each pretrained encoder, in its better mode, and of a fresh one of its kind."""
    result = []
    for name in sorted({each["encoder"] for each in found.values() if each["pretrained"]}):
        same = [each for each in found.values() if each["encoder"] == name]
        fresh = next(np.array(each["error_cm"]) for each in same if not each["pretrained"])
        carried = [np.array(each["error_cm"]) for each in same if each["pretrained"]]
        result.append((min(carried, key=lambda errors: errors[:, -1].mean()), fresh))
    return result


def gain(found: Curves) -> float | None:
    """Return by which share the error is less with pretraining, at the largest budget; of the best encoder."""
    gains = [1.0 - float(carried[:, -1].mean() / fresh[:, -1].mean()) for carried, fresh in pairs(found)]
    return max(gains, default=None)


def frames_ratio(found: Curves, budgets: Sequence[int]) -> float | None:
    """Return frames needed for `WANTED_CM` with pretraining over those of a fresh encoder; None if it is not reached.

    A fresh encoder that does not get there counts as having needed the largest budget: an upper bound of the ratio.
    """
    ratios = []
    for carried, fresh in pairs(found):
        needed, without = (steps_to(-WANTED_CM, np.array(budgets), -each) for each in (carried, fresh))
        if np.isfinite(needed):
            ratios.append(needed / min(without, budgets[-1]))
    return min(ratios, default=None)
