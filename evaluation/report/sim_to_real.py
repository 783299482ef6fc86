"""Success of the same bundles in simulation and on the arm, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.statistics.agreement import MIN_RANKED, Agreement, measure_agreement
from policies.scoring.intervals import SuccessRate


@dataclass(frozen=True)
class TransferRow:
    """One bundle in both."""

    policy: str
    simulated: SuccessRate
    real: SuccessRate


@dataclass(frozen=True)
class Transfer:
    """All bundles that were tried in both."""

    rows: tuple[TransferRow, ...]
    agreement: Agreement | None
    """Of the ranking; None where it is undefined."""
    why_not: str = ""
    """Why there is no agreement to report."""


def compare_sim_to_real(
    simulated: Mapping[str, SuccessRate],
    real: Mapping[str, tuple[str, SuccessRate]],
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
) -> Transfer | None:
    """Pair rates by the bundle's SHA-256; `real` also names the policy. None where no bundle is in both.

    `confidence` is that of the intervals of the agreement.
    """
    rows = tuple(
        TransferRow(name, simulated[bundle], rate) for bundle, (name, rate) in real.items() if bundle in simulated
    )
    if not rows:
        return None
    if len(rows) < MIN_RANKED:
        number = {1: "One policy was", 2: "Two policies were"}[len(rows)]
        return Transfer(
            rows,
            None,
            f"{number} tried in both. A correlation needs at least {MIN_RANKED}: between two it is always 1 or −1.",
        )
    sim, arm = (np.array([getattr(row, side).estimate for row in rows]) for side in ("simulated", "real"))
    if np.ptp(sim) == 0 or np.ptp(arm) == 0:
        side = "in simulation" if np.ptp(sim) == 0 else "on the arm"
        return Transfer(rows, None, f"All policies have the same success rate {side}: there is no ranking to predict.")
    trials = tuple(np.array([getattr(row, side).trials for row in rows]) for side in ("simulated", "real"))
    return Transfer(rows, measure_agreement(sim, arm, rng, trials=(trials[0], trials[1]), confidence=confidence))
