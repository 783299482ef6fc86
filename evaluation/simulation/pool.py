"""Trials in simulation, in worker processes.

A trial is a pure function of its plan: the same rows come out of one process, of all cores, and of a Ray
cluster. They are recorded in the order of the schedule, so a stop rule decides as it would
on an arm.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path

from evaluation.session.protocol import PlannedTrial, Protocol
from evaluation.session.scheduler import TrialScheduler
from evaluation.session.trials import Trial
from evaluation.simulation.simulated_trials import SimulatedArm
from policies.bundle import PolicyBundle
from sim.workers.pool import Workers
from sim.workers.worker_cache import WorkerCache

AHEAD = 4
"""Trials per worker that run or wait to be recorded: enough to keep it busy, few to discard."""
MOST_ARMS = 16
"""Environments that a worker keeps, one for each policy."""


def run_trials(
    scheduler: TrialScheduler,
    workers: Workers,
    bundles: Mapping[str, Path],
    space: str,
    progress: Callable[[Trial], None] = lambda trial: None,
) -> None:
    """Carry out all that is open, and record it in order.

    Args:
        scheduler: decides what is next.
        workers: compute the trials.
        bundles: path of each policy.
        space: what varies.
        progress: called with each trial that has been recorded.

    Raises:
        WorkersError: if a worker has died.
    """
    packed = {policy: workers.share(_as_zip(path)) for policy, path in bundles.items()}
    while not scheduler.finished:
        waiting = deque(scheduler.open())
        running: deque[Future] = deque()
        while (waiting or running) and scheduler.decision is None:
            while waiting and len(running) < AHEAD * workers.count:
                planned = waiting.popleft()
                policy, attempt = packed[planned.policy], scheduler.attempt(planned)
                running.append(workers.submit(carry_out, policy, scheduler.protocol, space, planned, attempt))
            trial = running.popleft().result()
            scheduler.record(trial)
            progress(trial)
        for future in running:  # not wanted any more
            future.cancel()


def carry_out(policy: bytes, protocol: Protocol, space: str, planned: PlannedTrial, attempt: int) -> Trial:
    """Carry out one trial of the zipped bundle `policy`, in a worker."""
    return _arm((policy, protocol, space)).run(planned, attempt)


def _open(description: tuple[bytes, Protocol, str]) -> SimulatedArm:
    policy, protocol, space = description
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle.zip"
        path.write_bytes(policy)
        return SimulatedArm(PolicyBundle.load(path), protocol, space)


_arm = WorkerCache(_open, most=MOST_ARMS)


def _as_zip(path: Path) -> bytes:
    if path.is_file():
        return path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        return PolicyBundle.load(path).save(Path(folder) / "bundle.zip").read_bytes()
