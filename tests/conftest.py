"""Order and retries of the tests; fixtures of those with ROS nodes or a Ray cluster, which leave nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

LONGEST = ("test_demo.py", "test_camera_resume.py", "test_learning.py", "test_transfer.py")
"""Files with which workers begin, so that the others do not wait for one of them at the end."""


def pytest_collection_modifyitems(items):
    """Begin with the longest files, and try real-time tests up to three times.

    A machine that stalls for 0.1 s is no fault of the nodes, which then stop. Every further try is reported as such; a
    node that is wrong fails all three.
    """
    items.sort(key=lambda item: item.path.name not in LONGEST)
    for item in items:
        if item.get_closest_marker("ros") or item.get_closest_marker("real_time"):
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.fixture(scope="session")
def ros_environment(tmp_path_factory):
    """Environment of this session's ROS processes, this one included."""
    import rclpy  # noqa: F401 - fails here, once and clearly, where ROS is missing

    from ros_nodes.session.ros_environment import free_domain, isolated
    from ros_nodes.session.shared_memory import free_leftovers

    with free_domain() as domain:
        environment = isolated(domain, tmp_path_factory.mktemp("ros_log"))
        root = str(Path(__file__).resolve().parents[1])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH", "")]))
        os.environ.update({key: value for key, value in environment.items() if key.startswith(("ROS_", "FASTDDS_"))})
        yield environment
    free_leftovers()


@pytest.fixture
def ros(ros_environment):
    """A test's own context, observer and processes."""
    from tests.support.ros_bench import RosBench

    with RosBench(ros_environment) as bench:
        yield bench


@pytest.fixture(scope="session")
def tiny_bundle_path(tmp_path_factory):
    """A saved bundle that reaches for a point, with a camera."""
    from tests.support.tiny_bundle import tiny_bundle

    return tiny_bundle(gain=2.0).save(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def ray_cluster(monkeypatch):
    """Two nodes of one core on this machine, each with a store and workers of its own."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
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
