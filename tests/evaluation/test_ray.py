"""The same rows out of a Ray cluster of two nodes as out of processes here."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.pool import PoolError
from evaluation.protocol_file import open_registered, register_file
from evaluation.session_report import read_session
from evaluation.sim_session import run_simulated_session
from tests.evaluation.test_sessions import PLAN
from tests.tiny_bundle import tiny_bundle

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def plan(tmp_path) -> Path:
    """A registered protocol of two policies and two places."""
    tiny_bundle((0.5, 0.1, 0.12), camera=None).save(tmp_path / "right")
    tiny_bundle((0.5, -0.2, 0.12), camera=None).save(tmp_path / "wrong")
    path = tmp_path / "bench.toml"
    path.write_text(PLAN.format(trials=2, stop="fixed"))
    register_file(path)
    return path


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes of one core on this machine, each with a store and workers of its own."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
    import ray
    from ray.cluster_utils import Cluster

    memory = 100 * 1024 * 1024
    node = {"num_cpus": 1, "object_store_memory": memory}
    nodes = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    nodes.add_node(**node)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.mark.slow
@pytest.mark.real_time
def test_a_cluster_of_two_nodes_gives_the_same_rows(plan, cluster, tmp_path) -> None:
    import ray

    file, registration = open_registered(plan)
    run_simulated_session(registration, file.bundles, tmp_path / "here", "mild", 1, videos=0)
    run_simulated_session(registration, file.bundles, tmp_path / "there", "mild", ray=cluster.address, videos=0)
    here, there = read_session(tmp_path / "here"), read_session(tmp_path / "there")
    assert len(there.trials) == 4
    assert there.trials == here.trials
    assert not ray.is_initialized()  # what was begun here was ended here


def test_a_cluster_that_is_not_there_is_named(plan, tmp_path) -> None:
    file, registration = open_registered(plan)
    with pytest.raises(PoolError, match=r"Ray at '127\.0\.0\.1:1'"):
        run_simulated_session(registration, file.bundles, tmp_path / "out", "mild", ray="127.0.0.1:1", videos=0)
    assert read_session(tmp_path / "out").trials == ()
