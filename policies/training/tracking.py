"""Log a run's figures to an MLflow server; nothing is sent unless its address is given."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXPERIMENT = "sim2real"
RUN_FILE = "mlflow_run.txt"
"""File in a run's folder with the identifier of its run on the server, which a resumed run continues."""
LOGGER = logging.getLogger(__name__)


class TrackingError(ValueError):
    """The server cannot be used."""


@dataclass
class Tracker:
    """Sends figures to one run on the server."""

    client: Any
    """MLflow's client."""
    run: str
    """Identifier of the run there."""

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Send `figures` of `step`; a server that has gone away is reported, and the training goes on without it."""
        import mlflow

        try:
            for name, value in figures.items():
                if math.isfinite(value):
                    self.client.log_metric(self.run, name, value, step=step)
        except mlflow.exceptions.MlflowException as error:
            LOGGER.warning("MLflow: %s; the run's own metrics.csv has the figures", " ".join(str(error).split()))

    def end(self) -> None:
        """Say that the run is finished."""
        self.client.set_terminated(self.run)


def open_tracker(address: str, name: str, folder: Path, config: Mapping[str, object]) -> Tracker | None:
    """Begin, or continue, the run of `folder` on the MLflow server at `address`; None without an address.

    Raises:
        TrackingError: if MLflow is not installed, or the server does not answer.
    """
    if not address:
        return None
    try:
        import mlflow
        from mlflow.tracking import MlflowClient
    except ImportError:
        raise TrackingError("--mlflow needs MLflow's client: pip install 'sim2real-arms[mlflow]'") from None
    try:
        client = MlflowClient(tracking_uri=address)
        known = folder / RUN_FILE
        if known.is_file():
            return Tracker(client, client.get_run(known.read_text().strip()).info.run_id)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        number = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT)
        run = client.create_run(number, run_name=name).info.run_id
        for key, value in _flat(config).items():
            client.log_param(run, key, value)
    except mlflow.exceptions.MlflowException as error:
        raise TrackingError(
            f"MLflow at '{address}': {' '.join(str(error).split())}; is the server running? start one with "
            "'mlflow server', or leave --mlflow out"
        ) from None
    return Tracker(client, run)


def _flat(config: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Flatten nested fields to names as on the command line: recipe.batch."""
    flat: dict[str, object] = {}
    for name, value in config.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
