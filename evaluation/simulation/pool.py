"""Trials in simulation on many cores or many machines.

A trial is a pure function of its plan: the same rows come out of one process, of all cores, and of a Ray
cluster. They are recorded in the order of the schedule, so a stop rule decides as it would
on an arm.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol as Interface

from evaluation.session.protocol import PlannedTrial, Protocol
from evaluation.session.scheduler import TrialScheduler
from evaluation.session.trials import Trial
from evaluation.simulation.simulated_trials import SimulatedArm
from policies.bundle import PolicyBundle
from policies.cluster import ClusterError, connected
from robots.host.processes import end_with_pool

AHEAD = 4
"""Trials per worker that run or wait to be recorded: enough to keep it busy, few to discard."""


class PoolError(RuntimeError):
    """The workers cannot be started, or have died."""


class Pending(Interface):
    """A trial that is being computed."""

    def result(self) -> Trial:
        """Wait for it."""


@dataclass(frozen=True)
class Pool:
    """Workers that compute trials."""

    workers: int
    submit: Callable[[PlannedTrial, int], Pending]
    """Begin a trial, given its attempt."""


@dataclass
class Worker:
    """One worker's state between trials: an environment per policy."""

    protocol: Protocol
    space: str
    bundles: Mapping[str, Path]
    _arms: dict[str, SimulatedArm] = field(default_factory=dict)

    def run(self, planned: PlannedTrial, attempt: int) -> Trial:
        """Carry out one trial."""
        if planned.policy not in self._arms:
            bundle = PolicyBundle.load(self.bundles[planned.policy])
            self._arms[planned.policy] = SimulatedArm(bundle, self.protocol, self.space)
        return self._arms[planned.policy].run(planned, attempt)


def run_trials(scheduler: TrialScheduler, pool: Pool, progress: Callable[[Trial], None] = lambda trial: None) -> None:
    """Carry out all that is open, and record it in order."""
    while not scheduler.finished:
        waiting = deque(scheduler.open())
        running: deque[tuple[PlannedTrial, Pending]] = deque()
        while (waiting or running) and scheduler.decision is None:
            while waiting and len(running) < AHEAD * pool.workers:
                planned = waiting.popleft()
                running.append((planned, pool.submit(planned, scheduler.attempt(planned))))
            _, pending = running.popleft()
            trial = pending.result()
            scheduler.record(trial)
            progress(trial)


@contextmanager
def local_pool(
    protocol: Protocol, bundles: Mapping[str, Path], space: str, workers: int | None = None
) -> Iterator[Pool]:
    """One process a core of this machine."""
    count = workers or len(os.sched_getaffinity(0))
    # Spawned, not forked: a fork of a process with threads may hang
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(count, context, _begin_worker, (Worker(protocol, space, dict(bundles)),))
    try:
        yield Pool(count, lambda planned, attempt: LocalTrial(executor.submit(_work, planned, attempt)))
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def ray_pool(protocol: Protocol, bundles: Mapping[str, Path], space: str, address: str) -> Iterator[Pool]:
    """All cores of a Ray cluster; `local` starts one on this machine. The bundles travel to the nodes.

    Raises:
        PoolError: if Ray is not installed or the cluster does not answer.
    """
    workers: list = []
    try:
        with connected(address) as ray:
            payloads = {policy: _as_zip(path) for policy, path in bundles.items()}
            count = max(1, int(ray.cluster_resources().get("CPU", 1)))
            remote = ray.remote(num_cpus=1)(RayWorker)
            workers += [remote.remote(protocol, space, payloads) for _ in range(count)]
            turn = 0

            def submit(planned: PlannedTrial, attempt: int) -> Pending:
                nonlocal turn
                turn += 1
                return _Ray(workers[turn % count].run.remote(planned, attempt))

            try:
                yield Pool(count, submit)
            finally:
                while workers:
                    ray.kill(workers.pop())
    except ClusterError as error:
        raise PoolError(str(error)) from error


class RayWorker:
    """A `Worker` on another machine, with bundles of its own."""

    def __init__(self, protocol: Protocol, space: str, payloads: Mapping[str, bytes]):
        """Unpack the bundles, zip files by the policy's name."""
        self._folder = tempfile.TemporaryDirectory()
        bundles = {}
        for number, (policy, payload) in enumerate(payloads.items()):
            bundles[policy] = Path(self._folder.name) / f"{number}.zip"
            bundles[policy].write_bytes(payload)
        self._worker = Worker(protocol, space, bundles)

    def run(self, planned: PlannedTrial, attempt: int) -> Trial:
        """Carry out one trial."""
        return self._worker.run(planned, attempt)


@dataclass(frozen=True)
class LocalTrial:
    """A trial in a process of this machine."""

    future: Future

    def result(self) -> Trial:
        """Wait for it. Raises PoolError if its process has died."""
        try:
            return self.future.result()
        except BrokenProcessPool as error:
            raise PoolError(f"a worker died: {error}; was it short of memory? start again to go on") from error


@dataclass(frozen=True)
class _Ray:
    reference: object

    def result(self) -> Trial:
        import ray

        try:
            return ray.get(self.reference)
        except ray.exceptions.RayActorError as error:
            raise PoolError(f"a Ray worker died: {error}; start again to go on") from error


_worker: Worker | None = None


def _begin_worker(worker: Worker) -> None:
    global _worker
    end_with_pool()
    _worker = worker


def _work(planned: PlannedTrial, attempt: int) -> Trial:
    assert _worker is not None
    return _worker.run(planned, attempt)


def _as_zip(path: Path) -> bytes:
    if path.is_file():
        return path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        return PolicyBundle.load(path).save(Path(folder) / "bundle.zip").read_bytes()
