"""Start worker processes, on this machine or on a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sim.workers.local import LocalWorkers
from sim.workers.pool import Workers

FEW = 8
"""Processes that no machine refuses."""


def open_workers(
    count: int | None = None,
    ray: str = "",
    files: Iterable[Path] = (),
    check: Callable[[], object] = lambda: None,
) -> AbstractContextManager[Workers]:
    """Start `count` processes here, one for each core if None, or use the cluster at address `ray`; end them again.

    Args:
        count: number of processes; of a cluster all cores are used.
        ray: address of a Ray cluster, `local` to start one here, or empty.
        files: files and folders that the batches read, relative to the current folder; they are sent to the nodes.
        check: called once on every node of a cluster; raises where something that the batches need is missing.

    Raises:
        WorkersError: if Ray is not installed, the cluster does not answer, a file cannot be sent, or a node lacks
            something.
    """
    if ray:
        from sim.workers.ray_pool import ray_workers

        return ray_workers(ray, files, check)
    return _local_workers(count)


def refuse_too_many(name: str, count: int) -> None:
    """Raise ValueError if `count` processes, the option `name`, are more than this machine can use."""
    cores = len(os.sched_getaffinity(0))
    if count > max(FEW, 2 * cores):
        raise ValueError(f"{name} is {count}, and there are {cores} cores; one for each core is best")


@contextmanager
def _local_workers(count: int | None) -> Iterator[Workers]:
    refuse_too_many("workers", count or 1)
    workers = LocalWorkers(count or len(os.sched_getaffinity(0)))
    try:
        yield workers
    finally:
        workers.close()
