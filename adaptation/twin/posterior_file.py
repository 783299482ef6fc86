"""A posterior in a file, so that a later process designs a motion for it or continues the fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from adaptation.identification.posterior import Posterior
from robots.host.reading import FileError, read_arrays
from robots.host.writing import write_arrays
from sim.randomization.parameters import ParameterSpace

ARRAYS = ("u", "covariance", "error_floor", "error_slope", "band", "weight")
"""Fields that are arrays."""


def save_posterior(path: Path, posterior: Posterior) -> None:
    """Write a normal posterior, with its prior, as .npz.

    Raises:
        ValueError: for one that is given by samples.
    """
    if posterior.samples is not None:
        raise ValueError("the posterior is given by samples, expected a normal one (method 'laplace')")
    found = {name: getattr(posterior, name) for name in ARRAYS if getattr(posterior, name) is not None}
    told = {"prior": posterior.prior.to_dict(), "widening": dict(posterior.widening)}
    write_arrays(path, {**found, "about": np.array(json.dumps(told))})


def load_posterior(path: Path) -> Posterior:
    """Read what `save_posterior` wrote.

    Raises:
        FileError: if the file is missing or holds something else.
    """
    arrays = read_arrays(path, "posterior")
    if missing := [name for name in (*ARRAYS[:4], "about") if name not in arrays]:
        raise FileError(f"posterior '{path}': no {', '.join(missing)}; identify again")
    about = json.loads(str(arrays["about"]))
    prior = ParameterSpace.from_dict(about["prior"])
    d = len(prior)
    if arrays["u"].shape != (d,) or arrays["covariance"].shape != (d, d):
        raise FileError(
            f"posterior '{path}': u has shape {arrays['u'].shape}, covariance {arrays['covariance'].shape}, expected "
            f"{(d,)} and {(d, d)}; identify again"
        )
    found: dict[str, Any] = {name: arrays[name].astype(np.float64) for name in ARRAYS if name in arrays}
    return Posterior(prior, widening=about["widening"], **found)
