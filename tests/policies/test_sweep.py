"""Several trainings side by side: in processes, on a cluster of two nodes, and begun anew after an interruption."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from policies.bundle import PolicyBundle
from policies.sweep import SweepConfig, SweepError, run_sweep
from sim.workers.pool import WorkersError
from sim2real.command_line import main

QUIET = lambda *_: None  # noqa: E731
TINY = ["--observation", "state", "--task", "reach", "--randomise", "nominal", "--workers", "1"]
TINY += ["--evaluation-episodes", "2", "--recipe.envs", "2", "--recipe.rounds", "1", "--recipe.round-steps", "30"]
TINY += ["--recipe.validation-episodes", "2", "--recipe.last-gradient-steps", "20", "--recipe.batch", "16"]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep over two widths, one seed, in processes here."""
    out = tmp_path_factory.mktemp("sweeps") / "here"
    words = ["sweep", "--out", str(out), "--seeds", "7", "--vary", "recipe.hidden=8,16", "--", *TINY]
    assert main(words) == 0
    return out


@pytest.mark.slow
def test_every_setting_has_its_runs_and_the_report_reads_them(here: Path) -> None:
    report = json.loads((here / "sweep.json").read_text())
    assert [found["setting"] for found in report["settings"]] == [{"recipe.hidden": "8"}, {"recipe.hidden": "16"}]
    for found, width in zip(report["settings"], (8, 16)):
        (run,) = found["runs"]
        config = json.loads((Path(run) / "config.json").read_text())
        assert config["seed"] == 7
        assert config["recipe"]["hidden"] == [width]
        metrics = json.loads((Path(run) / "metrics.json").read_text())
        assert found["success"] == [metrics["evaluation"]["success"]] == [found["median"]]
    assert (here / "sweep.png").stat().st_size > 1_000


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_was_and_nothing_else_goes_on_in_its_folder(here: Path) -> None:
    run = here / "hidden=8" / "seed_7"
    before = (run / "config.json").stat().st_mtime_ns
    (run / "metrics.json").unlink()  # as if it had been killed before the end
    run_sweep(SweepConfig(here, (7,), ("recipe.hidden=8,16",)), TINY, QUIET)
    assert (run / "config.json").stat().st_mtime_ns == before  # resumed, not begun again
    assert (run / "metrics.json").is_file()
    with pytest.raises(SweepError, match="holds a sweep of"):
        run_sweep(SweepConfig(here, (7,)), ["--task", "push"], QUIET)


@pytest.mark.slow
def test_a_cluster_of_two_nodes_trains_the_same_policy(here: Path, tmp_path: Path, ray_cluster) -> None:
    run_sweep(SweepConfig(tmp_path / "sweep", (7,), ("recipe.hidden=8",), ray=ray_cluster.address), TINY, QUIET)
    words = [*TINY, "--ray", ray_cluster.address, "--seed", "7", "--recipe.hidden", "16"]
    assert main(["train", *words, "--out", str(tmp_path / "run")]) == 0  # its batches alone are computed there
    for ours, theirs in (
        (here / "hidden=8/seed_7", tmp_path / "sweep/hidden=8/seed_7"),
        (here / "hidden=16/seed_7", tmp_path / "run"),
    ):
        one, other = (PolicyBundle.load(run / "last").weights for run in (ours, theirs))
        for name, weights in one.items():
            np.testing.assert_array_equal(weights, other[name])


@pytest.mark.slow
def test_a_run_that_fails_is_named_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(
        SweepError, match=r"1 of 1 runs failed; the first: .*seed_0: status 1: .*unknown task 'dance'; known are reach"
    ):
        run_sweep(SweepConfig(tmp_path / "out", (0,)), ["--observation", "state", "--task", "dance"], QUIET)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({"seeds": (1, 1)}, (), "one or more different ones"),
        ({"seeds": ()}, (), "one or more different ones"),
        ({"parallel": 0}, (), "parallel is 0"),
        ({"vary": ("recipe.batch",)}, (), "expected an option and its values"),
        ({"vary": ("recipe.batch=1,2",)}, ("--recipe.batch", "3"), "is varied and given"),
        ({}, ("--seed", "3"), "sets --seed itself"),
        ({}, ("--out=there",), "sets --out itself"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused(change: dict, arguments: tuple, message: str, tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=message):
        run_sweep(SweepConfig(tmp_path / "out", **change), arguments, QUIET)
    assert not (tmp_path / "out").exists()


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkersError, match=r"Ray at '127\.0\.0\.1:1'"):
        run_sweep(SweepConfig(tmp_path / "out", (0,), ray="127.0.0.1:1"), TINY, QUIET)
