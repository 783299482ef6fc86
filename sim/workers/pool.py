"""Run functions in worker processes: the one seam between what is computed in batches and where it is computed.

A batch is a pure function of its arguments, its seed among them, so that results do not depend on the number of
workers, on where they are, or on the order in which they finish.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Protocol

AHEAD = 2
"""Batches for each worker that run or wait for one: it is never idle, and few are lost with it."""


class WorkersError(RuntimeError):
    """The workers cannot be started, or have died."""


class Workers(Protocol):
    """Processes that compute batches."""

    count: int
    """Number of them: how many batches are computed at once."""
    seconds: float
    """Processor time of all batches so far [s]."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        """Begin a batch: `function` of a module, called with `arguments` that can be pickled.

        The future raises what the function raises, and WorkersError if its process has died.
        """

    def share(self, value: Any) -> Any:
        """Return what stands for `value`, an argument of many batches, so that it is sent to a node only once."""


def in_any_order(
    workers: Workers, function: Callable[..., Any], batches: Iterable[tuple[Any, ...]]
) -> Iterator[tuple[int, Any]]:
    """Compute `function` of each of the `batches`, its arguments; yield number and result of each as it is done.

    At most `AHEAD` batches for each worker are under way at a time.
    """
    waiting = enumerate(batches)
    running: dict[Future, int] = {}

    def begin_next() -> None:
        if (batch := next(waiting, None)) is not None:
            running[workers.submit(function, *batch[1])] = batch[0]

    try:
        for _ in range(AHEAD * workers.count):
            begin_next()
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                number = running.pop(future)
                begin_next()
                yield number, future.result()
    finally:
        for future in running:
            future.cancel()


def in_order(
    workers: Workers,
    function: Callable[..., Any],
    batches: Iterable[tuple[Any, ...]],
    progress: Callable[[int], None] = lambda done: None,
) -> list[Any]:
    """Compute `function` of each of the `batches`; return the results in their order.

    `progress` is called with the number of batches that are done.
    """
    found: dict[int, Any] = {}
    for number, result in in_any_order(workers, function, batches):
        found[number] = result
        progress(len(found))
    return [found[number] for number in sorted(found)]


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """Return what `function` returns, and the processor time that it took [s]."""
    begun = time.process_time()
    result = function(*arguments)
    return result, time.process_time() - begun


def relayed(workers: Workers, computed: Future, translate: Callable[[BaseException], BaseException]) -> Future:
    """Return a future of what was `timed`, whose time is added to that of `workers`.

    It raises what `translate` makes of an exception.
    """
    told: Future = Future()

    def pass_on(done: Future) -> None:
        if not told.set_running_or_notify_cancel():
            return
        if done.cancelled():
            told.set_exception(WorkersError("the workers were closed before a batch was computed"))
        elif (error := done.exception()) is not None:
            told.set_exception(translate(error))
        else:
            result, seconds = done.result()
            workers.seconds += seconds
            told.set_result(result)

    computed.add_done_callback(pass_on)
    return told
