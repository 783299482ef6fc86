"""Batches in worker processes: in order, whatever the workers, and what fails is named."""

from __future__ import annotations

import os
import socket
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from robots.arms.vendor import find_vendor_file
from robots.registry import load_robot
from sim.catalogue import parameter_space
from sim.datasets.labelled_renders import sample_renders
from sim.tasks import fitted_task
from sim.workers.pool import WorkersError, in_any_order, in_order
from sim.workers.ray_pool import check_cluster, compute, pack_files
from sim.workers.start import open_workers
from sim.workers.worker_cache import WorkerCache


def late_first(number: int, seconds: float) -> int:
    time.sleep(seconds)
    return number**2


def divide(a: float, b: float) -> float:
    return a / b


def read(path: str) -> str:
    return Path(path).read_text()


def busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.mark.slow
def test_results_come_in_order_and_errors_as_they_were() -> None:
    done: list[int] = []
    with open_workers(2) as workers:
        list(in_order(workers, late_first, [(1, 0.0), (2, 0.0)]))  # both processes have started
        assert in_order(workers, late_first, [(3, 0.5), (4, 0.0), (5, 0.0)], done.append) == [9, 16, 25]
        assert done == [1, 2, 3]
        assert [i for i, _ in in_any_order(workers, late_first, [(3, 0.5), (4, 0.0)])] == [1, 0]
        with pytest.raises(ZeroDivisionError, match="division by zero"):
            in_order(workers, divide, [(1.0, 0.0), (1.0, 2.0)])
        before = workers.seconds
        in_order(workers, busy, [(0.1,)])
        assert workers.seconds - before == pytest.approx(0.1, abs=0.05)
        with pytest.raises(WorkersError, match=r"a worker died.*start again to go on"):
            in_order(workers, os._exit, [(3,)])


def test_what_a_worker_keeps_is_limited_and_closed() -> None:
    closed: list[str] = []
    kept = WorkerCache(str.upper, closed.append, most=2)
    assert [kept("a"), kept("b"), kept("a"), kept("c")] == ["A", "B", "A", "C"]
    assert closed == ["B"]


def test_files_travel_to_the_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here/arm").mkdir(parents=True)
    (tmp_path / "here/arm/arm.json").write_text("an arm")
    monkeypatch.chdir(tmp_path / "here")
    files = pack_files([Path("arm")])
    monkeypatch.chdir(tmp_path)  # a node has another folder
    assert compute(files, read, "arm/arm.json")[0] == "an arm"
    with pytest.raises(WorkersError, match=r"'/.*' cannot be sent to the nodes: give it relative"):
        pack_files([tmp_path])
    with pytest.raises(WorkersError, match="relative to the current folder"):
        pack_files([Path("../arm")])


def test_a_server_that_is_not_ray_is_refused_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"

        def greet() -> None:
            client, _ = other.accept()
            client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            client.close()

        threading.Thread(target=greet, daemon=True).start()
        begun = time.monotonic()
        with pytest.raises(WorkersError, match=f"Ray at '{address}': what answers there is not Ray; start it with"):
            check_cluster(address, [])
        assert time.monotonic() - begun < 5.0


def test_more_processes_than_a_machine_can_use_are_refused() -> None:
    cores = len(os.sched_getaffinity(0))
    too_many, said = 32 * cores + 64, rf"workers is {32 * cores + 64}, and there are {cores} cores; one for each"
    with pytest.raises(ValueError, match=said), open_workers(too_many):
        pass


@pytest.mark.slow
def test_a_node_that_lacks_files_is_named_and_one_that_dies_costs_only_its_batches(ray_cluster) -> None:
    lacking = partial(find_vendor_file, "vendor://so101/none.urdf")
    said = r"Ray's node \S+ cannot do the batches: 'none\.urdf' of arm 'so101' is not in .*must be installed there"
    with pytest.raises(WorkersError, match=said), open_workers(ray=ray_cluster.address, check=lacking):
        pass
    space = parameter_space(fitted_task("reach", load_robot("franka_panda"), "front"), load_robot("franka_panda"))
    drawn = ("reach", "franka_panda", space.preset("full"), 1_500, 3)
    with open_workers(2) as workers:
        (here,) = sample_renders(*drawn, workers, cameras="front")
    lost = ray_cluster.add_node(num_cpus=1, object_store_memory=100 * 1024 * 1024)

    def kill_node(share: float) -> None:
        if 0.0 < share < 1.0 and lost in ray_cluster.worker_nodes:
            ray_cluster.remove_node(lost, allow_graceful=False)

    there_too = partial(load_robot, "franka_panda")
    with open_workers(ray=ray_cluster.address, check=there_too) as workers:
        assert workers.count == 3
        (there,) = sample_renders(*drawn, workers, kill_node, cameras="front")
    assert lost not in ray_cluster.worker_nodes
    np.testing.assert_array_equal(here.images, there.images)
    np.testing.assert_array_equal(here.pixels, there.pixels)
