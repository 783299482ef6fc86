"""Figures on an MLflow server, by MLflow's own client and a store of its own in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from policies.training.checkpoints import Checkpoints
from policies.training.run_folder import RunFolder
from policies.training.tracking import EXPERIMENT, TrackingError

ROW = {"round": 1.0, "env_steps": 400.0, "success": 0.5, "low": float("nan"), "high": 0.9, "loss": 0.1, "seconds": 3.0}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "store").as_uri()


def test_figures_and_configuration_arrive_and_a_resumed_run_goes_on_in_the_same_one(store: str, tmp_path: Path) -> None:
    config = {"task": "reach", "mlflow": store, "recipe": {"batch": 128}}
    folder = RunFolder.create(tmp_path / "reach", {"config.json": config})
    folder.write_metrics([ROW])
    again = RunFolder.open(tmp_path / "reach")
    again.write_metrics([ROW, {**ROW, "round": 2.0, "success": 0.75}])
    again.finish({"evaluation": {"success": 0.875}, "env_steps": 800})
    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "reach"
    assert run.info.status == "FINISHED"
    assert run.data.params["recipe.batch"] == "128"
    assert run.data.metrics["evaluation_success"] == 0.875
    history = client.get_metric_history(run.info.run_id, "success")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.75)]
    assert "low" not in run.data.metrics  # which was no number


def test_losses_of_a_camera_runs_loops_arrive(store: str, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "reach", {"config.json": {"mlflow": store}})
    kept = Checkpoints(folder.path, folder.tracker)
    for step, loss in ((5, 0.5), (9, 0.25)):
        kept.save("encoder", {"step": step}, loss)
    assert folder.tracker is not None
    history = MlflowClient(tracking_uri=store).get_metric_history(folder.tracker.run, "loss_encoder")
    assert [(point.step, point.value) for point in history] == [(5, 0.5), (9, 0.25)]


def test_nothing_is_sent_unless_asked(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "reach", {"config.json": {"mlflow": ""}})
    assert folder.tracker is None
    folder.write_metrics([ROW])


def test_a_server_that_is_not_there_is_named_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match=r"MLflow at 'http://127\.0\.0\.1:9'.*is the server running"):
        RunFolder.create(tmp_path / "reach", {"config.json": {"mlflow": "http://127.0.0.1:9"}})
    assert not (tmp_path / "reach").exists()
