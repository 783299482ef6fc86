"""Two jobs of torch at once, each with threads of its own: one job that is split waits for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import torch

Check = Callable[[], None]
"""To be called now and then; raises where there is nothing left to work for."""


class GivenUp(Exception):
    """The other job has failed, and this one is given up."""


def side_by_side(main: Callable[[], None], beside: Callable[[Check], None]) -> None:
    """Do `main` with all of torch's threads but one, and at the same time `beside` with that one.

    With one thread only, one comes after the other. They must share nothing that either changes; torch lets go of the
    interpreter while it computes. What either raises is raised here; if `main` fails, or is interrupted, `beside` is
    given up at its next check.
    """
    threads = torch.get_num_threads()
    if threads < 2:
        main()
        beside(lambda: None)
        return
    failed = Event()
    errors: list[BaseException] = []

    def check() -> None:
        if failed.is_set():
            raise GivenUp

    def run() -> None:
        torch.set_num_threads(1)  # of this thread
        try:
            beside(check)
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=run, name="beside", daemon=True)
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
    """Keep torch to one thread: small layers gain nothing from a second, and wait for it when cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
