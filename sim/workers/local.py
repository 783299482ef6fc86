"""Batches in processes of this machine."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from robots.host.processes import end_with_pool
from sim.workers.pool import WorkersError, relayed, timed


class LocalWorkers:
    """Processes of this machine; they start with the first batch."""

    def __init__(self, count: int):
        """Prepare `count` processes."""
        self.count, self.seconds = count, 0.0
        # spawn: a fork of a process that has used threads may hang
        self._pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _begin_worker)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        """Begin a batch; see `Workers.submit`."""
        try:
            computed = self._pool.submit(timed, function, *arguments)
        except BrokenProcessPool as error:
            raise _died(error) from error
        return relayed(self, computed, lambda error: _died(error) if isinstance(error, BrokenProcessPool) else error)

    def share(self, value: Any) -> Any:
        """Return `value`: it is pickled for each batch."""
        return value

    def close(self) -> None:
        """End the processes; batches that have not begun are cancelled."""
        self._pool.shutdown(cancel_futures=True)


def _died(error: BaseException) -> WorkersError:
    return WorkersError(f"a worker died: {error}; was it short of memory? start again to go on")


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the pool's ends this one
    end_with_pool()
