"""What a batch costs on a cluster whose nodes are a network apart, and what that says of many more nodes.

Run as a program it is the driver, in the head's network namespace.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.scaling.delayed_network import DelayedNetwork, address, delayed_network
from benchmarks.scaling.workload import draw
from sim.datasets.labelled_renders import CHUNK
from sim.workers.pool import Workers, in_order
from sim.workers.start import open_workers

ROOT = Path(__file__).resolve().parents[2]
PORT = 6379
STORE = 300_000_000
"""Object store of a node [bytes]."""
PLAIN = ((0, 40), (1_000_000, 24), (8_000_000, 8))
"""Batches that compute nothing: bytes of a result, and how many there are."""
RENDERS = 2
"""Batches of labelled renders for each node."""
JOIN = 180.0
"""Longest wait for all nodes [s]."""
IDLE = 5.0
"""Time for which the driver's machine is measured while nothing happens [s]."""


def costs(nodes: int, delays_ms: tuple[float, ...]) -> list[dict[str, float]]:
    """Measure batches on `nodes` of one core, each and the driver's machine in a network of its own.

    Returns:
        Rows: `nodes`, `delay_ms` in each direction, `kind` of batch, its `items` and `bytes`, and times for each batch
        [s]: `wall`, and processor time of the `driver`, of Ray beside it, `head`, and of a `worker`.
    """
    rows = []
    with delayed_network(nodes + 1) as network, tempfile.TemporaryDirectory() as scratch, _ray(network, nodes, scratch):
        driver = subprocess.Popen(
            network.within(0, [sys.executable, __file__, str(nodes)]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_environment(),
        )
        assert driver.stdin is not None
        assert driver.stdout is not None
        if driver.stdout.readline() != "ready\n":
            raise SystemExit("the driver did not find all nodes")
        for delay in delays_ms:
            network.delay(delay / 1e3)
            driver.stdin.write("measure\n")
            driver.stdin.flush()
            rows += [{"nodes": nodes, "delay_ms": delay, **row} for row in json.loads(driver.stdout.readline())]
        network.delay(0.0)
        driver.stdin.close()
        driver.wait()
    return rows


@contextmanager
def _ray(network: DelayedNetwork, nodes: int, folder: str) -> Iterator[None]:
    """Start a head without cores on the first node, and `nodes` of one core; all keep their files in `folder`."""
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--object-store-memory={STORE}"]
    head = ["--head", f"--port={PORT}", "--num-cpus=0", "--include-dashboard=false", f"--node-ip-address={address(0)}"]
    head.append(f"--temp-dir={folder}")  # and not where other clusters of this machine look for an address
    started = []
    try:
        for node in range(nodes + 1):
            own = [f"--address={address(0)}:{PORT}", "--num-cpus=1", f"--node-ip-address={address(node)}"]
            command = network.within(node, [*ray, *(own if node else head)])
            pipe = subprocess.PIPE
            started.append(
                subprocess.Popen(command, env=_environment(), stdout=pipe, stderr=subprocess.DEVNULL, text=True)
            )
            said = started[-1].stdout
            assert said is not None
            if not any("Ray runtime started" in line for line in said):  # one after the other: they share a folder
                raise SystemExit(f"node {node} of Ray did not start")
        yield
    finally:
        for each in reversed(started):
            each.terminate()
        for each in started:
            try:
                each.wait(20.0)
            except subprocess.TimeoutExpired:
                each.kill()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}


def send_back(size: int) -> np.ndarray:
    """Return `size` bytes."""
    return np.zeros(size, np.uint8)


def _head_seconds() -> float:
    """Return the processor time [s] of Ray's own processes on the head, which receive what the driver gets."""
    spent = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes()
            if b"raylet" in words.split(b"\0")[0] and address(0).encode() in words:
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                spent += int(fields[11]) + int(fields[12])
        except OSError:
            continue
    return spent / os.sysconf("SC_CLK_TCK")


def _measured(workers: Workers, work: Callable[[], object]) -> np.ndarray:
    """Do `work`; return its wall time, and processor times [s]: the driver's, Ray's beside it, and all workers'."""
    before = time.monotonic(), time.process_time(), _head_seconds(), workers.seconds
    work()
    after = time.monotonic(), time.process_time(), _head_seconds(), workers.seconds
    return np.subtract(after, before)


def _row(kind: str, count: int, size: int, items: int, spent: np.ndarray, idle: np.ndarray) -> dict[str, object]:
    """Return the times of one of `count` batches of `items`, results of `size` bytes; those of `idle` are left out."""
    wall, driver, head, worker = spent / count
    driver, head = (max(0.0, each - wall * rate) for each, rate in zip((driver, head), idle[1:3] / idle[0]))
    return {
        "kind": kind,
        "bytes": size,
        "items": items,
        "wall": wall,
        "driver": driver,
        "head": head,
        "worker": worker,
    }


def _drive(nodes: int) -> None:
    """Measure each time that standard input says so."""
    with open_workers(ray=f"{address(0)}:{PORT}") as workers:
        end = time.monotonic() + JOIN
        import ray

        while (found := int(ray.cluster_resources().get("CPU", 0))) < nodes and time.monotonic() < end:
            time.sleep(0.5)
        if found < nodes:
            raise SystemExit(f"{found} of {nodes} nodes have joined")
        workers.count = nodes
        (first, _) = draw(workers, nodes * CHUNK, 0)  # processes start, and open their environments
        size = 2 * first.images[:CHUNK].nbytes  # of two cameras
        print("ready", flush=True)
        for seed, _ in enumerate(sys.stdin, 1):
            rows, idle = [], _measured(workers, partial(time.sleep, IDLE))
            for each, count in PLAIN:
                spent = _measured(workers, partial(in_order, workers, send_back, [(each,)] * count))
                rows.append(_row("plain", count, each, 0, spent, idle))
            count = RENDERS * nodes
            spent = _measured(workers, partial(draw, workers, count * CHUNK, seed))
            rows.append(_row("renders", count, size, CHUNK, spent, idle))
            print(json.dumps(rows), flush=True)


def fitted(rows: list[dict]) -> dict[str, float]:
    """Fit what one batch costs the driver's machine, and a worker, in processor time; medians of equal batches count.

    Returns:
        `fixed_ms`, `ms_per_mb` and `ms_per_item` of the driver's machine, each at least 0; `worker_ms_per_item`;
        `busy_workers`: how many workers that render one driver can keep busy with batches as they are.
    """
    from scipy.optimize import nnls

    equal: dict[tuple, list[float]] = {}
    for row in rows:
        equal.setdefault((1.0, row["bytes"] / 1e6, row["items"]), []).append(1e3 * (row["driver"] + row["head"]))
    terms, spent = np.array(list(equal)), np.array([np.median(each) for each in equal.values()])
    (fixed, per_mb, per_item), _ = nnls(terms, spent)
    renders = [row for row in rows if row["kind"] == "renders"]
    worker = float(np.median([1e3 * row["worker"] / row["items"] for row in renders]))
    items, megabytes = renders[0]["items"], renders[0]["bytes"] / 1e6
    return {
        "fixed_ms": float(fixed),
        "ms_per_mb": float(per_mb),
        "ms_per_item": float(per_item),
        "worker_ms_per_item": worker,
        "batch_items": items,
        "batch_mb": megabytes,
        "busy_workers": worker * items / float(fixed + per_mb * megabytes + per_item * items),
    }


if __name__ == "__main__":
    _drive(int(sys.argv[1]))
