"""Start worker processes, on this machine or on a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sim.workers.local import LocalWorkers
from sim.workers.pool import Workers


def open_workers(
    count: int | None = None, ray: str = "", files: Iterable[Path] = ()
) -> AbstractContextManager[Workers]:
    """Start `count` processes here, one for each core if None, or use the cluster at address `ray`; end them again.

    Args:
        count: number of processes; of a cluster all cores are used.
        ray: address of a Ray cluster, `local` to start one here, or empty.
        files: files and folders that the batches read, relative to the current folder; they are sent to the nodes.

    Raises:
        WorkersError: if Ray is not installed, the cluster does not answer, or a file cannot be sent.
    """
    if ray:
        from sim.workers.ray_pool import ray_workers

        return ray_workers(ray, files)
    return _local_workers(count)


@contextmanager
def _local_workers(count: int | None) -> Iterator[Workers]:
    workers = LocalWorkers(count or len(os.sched_getaffinity(0)))
    try:
        yield workers
    finally:
        workers.close()
