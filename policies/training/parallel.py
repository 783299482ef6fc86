"""Run two torch jobs at once, each with its own threads: one job on all threads scales worse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import torch

Check = Callable[[], None]
"""To be called repeatedly by a job; raises `Cancelled` once its result is not needed any more."""


class Cancelled(Exception):
    """The other job has failed, and this one ends without a result."""


def run_parallel(main: Callable[[], None], background: Callable[[Check], None]) -> None:
    """Run `main` with all of torch's threads but one, and at the same time `background` with that one.

    With only one thread they run one after the other. Neither may change what the other uses. Exceptions of both are
    raised here; if `main` fails, or is interrupted, `background` is cancelled at its next check.
    """
    threads = torch.get_num_threads()
    if threads < 2:
        main()
        background(lambda: None)
        return
    failed = Event()
    errors: list[BaseException] = []

    def check() -> None:
        if failed.is_set():
            raise Cancelled

    def run() -> None:
        torch.set_num_threads(1)  # of this thread
        try:
            background(check)
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=run, name="background", daemon=True)
    thread.start()
    try:
        torch.set_num_threads(threads - 1)
        main()
    except BaseException:
        failed.set()
        raise
    finally:
        thread.join()
        torch.set_num_threads(threads)
    if errors:
        raise errors[0]


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread: for small layers a second one costs more than it saves when cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
