"""What a Ray cluster adds to training: throughput against processes of this machine, and nodes that die.

    python benchmarks/scale.py [--quick] [--nodes 2 4 8] [--kills 10] [--delays 0 5 20] [--resume-kills 20]
                               [--full-disks 20] [--rounds 3] [--json FILE]

The nodes are started on this machine, one core reserved on each, and share its cores. Beside them run as many local
worker processes, so that both have equal cores; they take turns, and the efficiency is the ratio of their times.
Measured are labelled renders of two cameras, and a round of DAgger in which expert and policy act.

Then a node is killed at a random moment of drawing renders, again and again: all of them must be those that one
process draws, and nothing is begun anew but what that node was computing.

What a batch costs is then measured on nodes in network namespaces of their own, between which packets are delayed
(Linux, as root), and fitted: so much for a batch, for a megabyte and for a render. At last whole trainings from cameras
are killed, or their disk is full, and they are resumed: their bundles must be those of undisturbed ones.

`--nodes 0`, `--kills 0`, `--delays -1`, `--resume-kills 0` and `--full-disks 0` leave a part out.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

# Python puts this file's folder first, where statistics.py hides the standard library's module.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import tyro

from benchmarks.parts.record import heading, need, origin, save
from benchmarks.scaling.batch_costs import PLAIN, costs, fitted
from benchmarks.scaling.broken_trainings import survived
from benchmarks.scaling.delayed_network import missing
from benchmarks.scaling.workload import draw, roll_out
from sim.datasets.labelled_renders import CHUNK, LabelledRenders
from sim.workers.start import open_workers

STORE = 200_000_000
"""Object store of a node [bytes]."""


@dataclass(frozen=True)
class Config:
    """What to measure."""

    quick: bool = False
    """Two nodes, two kills of each kind, one round, one delay."""
    nodes: tuple[int, ...] = (2, 4, 8)
    """Sizes of clusters, in nodes of one core."""
    kills: int = 10
    """How often a node is killed."""
    rounds: int = 3
    """Measurements of each, in turns."""
    renders: int = 6_000
    """Labelled renders of a measurement."""
    steps: int = 200
    """Actions of each of 32 arms in a measurement."""
    delays: tuple[float, ...] = (0.0, 5.0, 20.0)
    """Delays of every packet, in each direction, with which batches are measured [ms]."""
    resume_kills: int = 20
    """How often a training is killed."""
    full_disks: int = 20
    """How often a training finds the disk full."""
    json: Path | None = None
    """File for the figures."""


@contextmanager
def cluster(nodes: int) -> Iterator:
    """Start a cluster of `nodes` with a core each."""
    os.environ.update(RAY_worker_niceness=str(os.nice(0)))  # as what it is compared with; 15 by default
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": STORE})
    try:
        for _ in range(nodes - 1):
            made.add_node(num_cpus=1, object_store_memory=STORE)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of `work` [s]."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def efficiency(nodes: int, config: Config) -> dict:
    """Compare a cluster of `nodes` with as many processes; return the medians of the ratios, and their ranges."""
    ratios: dict[str, list[float]] = {"renders": [], "rollouts": []}
    with cluster(nodes) as made, open_workers(ray=made.address) as there, open_workers(nodes) as here:
        both = (here, there)
        for workers in both:  # processes start, and open their environments
            draw(workers, nodes * CHUNK, 0)
            roll_out(workers, 5, 0)
        for seed in range(1, config.rounds + 1):
            drawn = [seconds(partial(draw, workers, config.renders, seed)) for workers in both]
            acted = [seconds(partial(roll_out, workers, config.steps, seed)) for workers in both]
            for name, (local, remote) in (("renders", drawn), ("rollouts", acted)):
                ratios[name].append(local / remote)
                print(f"{nodes} nodes, {name}: {local:.1f} s in processes, {remote:.1f} s in Ray", flush=True)
    return {name: {"median": float(np.median(each)), "range": [min(each), max(each)]} for name, each in ratios.items()}


def survives(kills: int, count: int, seed: int) -> int:
    """Kill a node at a random moment of drawing, `kills` times; return how often all renders were there and equal."""
    rng = np.random.default_rng(seed)
    with open_workers(2) as here:
        expected = draw(here, count, seed)
    survived = 0
    with cluster(1) as made:
        for kill in range(kills):
            node, moment = made.add_node(num_cpus=1, object_store_memory=STORE), rng.uniform(0.0, 0.9)

            def kill_node(share: float, node=node, moment=moment) -> None:
                if share >= moment and node in made.worker_nodes:
                    made.remove_node(node, allow_graceful=False)

            with open_workers(ray=made.address) as there:
                found = draw(there, count, seed, kill_node)
            equal = all(same(*each) for each in zip(expected, found, strict=True))
            survived += equal and node not in made.worker_nodes
            print(f"kill {kill + 1} at {moment:.2f} of the renders: {'equal' if equal else 'DIFFERENT'}", flush=True)
    return survived


def same(one: LabelledRenders, other: LabelledRenders) -> bool:
    """Return whether both hold the same renders, bit for bit."""
    return np.array_equal(one.images, other.images) and np.array_equal(one.points, other.points)


def main(config: Config) -> None:
    """Measure, and print a line for each size."""
    need("ray")
    if config.quick:
        config = replace(config, nodes=(2,), kills=2, rounds=1, delays=(5.0,), resume_kills=2, full_disks=2)
    described = origin(range(1, config.rounds + 1), ("ray",))
    print(heading(described))
    figures: dict[str, object] = {}
    sizes = tuple(nodes for nodes in config.nodes if nodes > 0)
    for nodes in sizes:
        found = efficiency(nodes, config)
        figures[f"efficiency_{nodes}"] = min(each["median"] for each in found.values())
        figures[f"nodes_{nodes}"] = found
        for name, each in found.items():
            low, high = each["range"]
            print(f"{nodes} nodes, {name}: {each['median']:.2f} [{low:.2f}, {high:.2f}] of the processes' throughput")
    if config.kills:
        figures["kills_tried"] = config.kills
        figures["kills_survived"] = survives(config.kills, 16 * CHUNK, 1)
        print(f"{figures['kills_survived']} of {config.kills} killed nodes cost nothing but time")
    if config.delays and min(config.delays) >= 0:
        figures |= measure_batches(sizes, config.delays)
    if config.resume_kills:
        found = survived("kills", config.resume_kills, 1)
        figures |= {f"resume_{name}": each for name, each in found.items()}
        print(f"{found['kills_survived']} of {config.resume_kills} kills of a training changed nothing")
    if config.full_disks:
        figures |= survived("full_disks", config.full_disks, 1)
        print(f"{figures['full_disks_survived']} of {config.full_disks} full disks were named and cost nothing")
    save(config.json, described, figures)


def measure_batches(sizes: tuple[int, ...], delays_ms: tuple[float, ...]) -> dict[str, object]:
    """Measure what a batch costs, with 1 node and with each of the `sizes`; print and return rows and the fit."""
    if lacking := missing():
        print(f"what a batch costs is not measured: {lacking}")
        return {}
    rows = []
    for nodes in (1, *sizes):
        rows += costs(nodes, delays_ms)
        for row in rows[-len(delays_ms) * (len(PLAIN) + 1) :]:
            times = ", ".join(f"{name} {1e3 * row[name]:.1f} ms" for name in ("wall", "driver", "head", "worker"))
            print(f"{nodes} nodes, {row['delay_ms']:g} ms away, {row['kind']}, {row['bytes'] / 1e6:.1f} MB: {times}")
    fit = fitted(rows)
    print("; ".join(f"{name} {value:.3g}" for name, value in fit.items()), flush=True)
    return {"batches": rows, "fit": fit}


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
