"""The same rows out of a Ray cluster of two nodes as out of processes here."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.report.session_report import read_session
from evaluation.session.protocol_file import open_registered, register_file
from evaluation.simulation.simulated_session import run_simulated_session
from sim.workers.pool import WorkersError
from tests.support.session_plan import PLAN
from tests.support.tiny_bundle import tiny_bundle


@pytest.fixture
def plan(tmp_path) -> Path:
    """A registered protocol of two policies and two places."""
    tiny_bundle((0.5, 0.1, 0.12), camera=None).save(tmp_path / "right")
    tiny_bundle((0.5, -0.2, 0.12), camera=None).save(tmp_path / "wrong")
    path = tmp_path / "bench.toml"
    path.write_text(PLAN.format(trials=2, stop="fixed"))
    register_file(path)
    return path


@pytest.mark.slow
def test_a_cluster_of_two_nodes_gives_the_same_rows(plan, ray_cluster, tmp_path) -> None:
    import ray

    file, registration = open_registered(plan)
    run_simulated_session(registration, file.bundles, tmp_path / "here", "mild", 1, videos=0)
    run_simulated_session(registration, file.bundles, tmp_path / "there", "mild", ray=ray_cluster.address, videos=0)
    here, there = read_session(tmp_path / "here"), read_session(tmp_path / "there")
    assert len(there.trials) == 4
    assert there.trials == here.trials
    assert not ray.is_initialized()  # what was begun here was ended here


def test_a_cluster_that_is_not_there_is_named(plan, tmp_path) -> None:
    file, registration = open_registered(plan)
    with pytest.raises(WorkersError, match=r"Ray at '127\.0\.0\.1:1'"):
        run_simulated_session(registration, file.bundles, tmp_path / "out", "mild", ray="127.0.0.1:1", videos=0)
    assert read_session(tmp_path / "out").trials == ()
