"""A registered session in simulation, on all cores or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from evaluation.session.protocol import Registration
from evaluation.session.scheduler import TrialScheduler
from evaluation.session.session_folder import SessionFolder, begin_session
from evaluation.session.trials import Trial
from evaluation.simulation.pool import run_trials
from evaluation.simulation.simulated_trials import film_failures
from robots.host.locks import FolderLock
from sim.workers.start import open_workers


def run_simulated_session(
    registration: Registration,
    bundles: Mapping[str, Path],
    out: Path,
    space: str = "full",
    workers: int | None = None,
    ray: str = "",
    videos: int = 2,
) -> SessionFolder:
    """Carry out what is open, record it, and film `videos` failures a policy.

    Args:
        registration: the plan.
        bundles: path of each of its policies.
        out: folder of the session.
        space: what varies: `nominal`, `mild`, `full` or `wild`, or the file of a space, see `chosen_space`.
        workers: processes; all cores if None.
        ray: address of a Ray cluster, `local`, or empty for local processes.
        videos: failures a policy that are filmed, and one success; 0 films nothing.

    Raises:
        LockedError: if another process carries the session out.
        ProtocolError, TrialError, WorkersError: trials recorded by then are kept, and the same call goes on.
    """
    protocol = registration.protocol
    folder = begin_session(out, registration, "sim", {"space": space})
    with FolderLock(out), closing(folder.store()) as store:
        scheduler = TrialScheduler(protocol, store)
        if not scheduler.finished:
            what = "resumed" if scheduler.resumed else "started"
            folder.note(store, what, f"simulation, randomised: {space}")
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            with open_workers(workers, ray) as opened, Progress(*columns) as bars:
                done = scheduler.progress
                bar = bars.add_task("trials", total=done.planned, completed=done.planned - done.left)

                def advance(_: Trial) -> None:
                    bars.update(bar, completed=scheduler.progress.planned - scheduler.progress.left)

                run_trials(scheduler, opened, bundles, space, advance)
            folder.note(store, "finished")
    if videos:
        film_failures(folder, bundles, space, videos)
    return folder
