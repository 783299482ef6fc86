"""Child processes that never outlive the session that started them.

Each runs in a process group of its own, so that Ctrl-C in a terminal reaches the parent alone, which ends
them in order; the kernel signals each when the parent dies, so that a SIGKILL leaves none behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robots.host.processes import tied


class ChildDied(RuntimeError):
    """A process that a session needs has ended; the message says which, how, and the last line of its log."""


@dataclass(frozen=True)
class Child:
    """One running process."""

    name: str
    process: subprocess.Popen
    log: Path
    """Its standard output and error."""
    layer: int


class Children:
    """Starts processes, checks that they run, and ends all of them on leaving the `with` block."""

    def __init__(self, log_dir: Path, environment: Mapping[str, str]):
        """Log into `log_dir`, which is made; `environment` replaces the processes' environment."""
        self._log_dir = log_dir
        self._environment = dict(environment)
        self._children: list[Child] = []
        log_dir.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, command: Sequence[str], layer: int = 0) -> Child:
        """Start one process; those of the highest `layer` are ended first, all of a layer at once."""
        log = self._log_dir / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                tied(command, signal.SIGTERM),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        child = Child(name, process, log, layer)
        self._children.append(child)
        return child

    def check(self) -> None:
        """Raise `ChildDied` if any has ended."""
        for child in self._children:
            status = child.process.poll()
            if status is not None:
                raise ChildDied(
                    f"process '{child.name}' ended with status {status}: {_last_line(child.log)}; see {child.log}"
                )

    def stop(self, patience: float = 3.0) -> None:
        """End all, layer by layer: SIGINT, and after `patience` [s] SIGKILL for the group of one that stays."""
        for layer in sorted({child.layer for child in self._children}, reverse=True):
            ending = [child for child in self._children if child.layer == layer]
            for child in ending:
                _signal_group(child, signal.SIGINT)
            deadline = time.monotonic() + patience
            for child in ending:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.process.wait(timeout=max(0.0, deadline - time.monotonic()))
                _signal_group(child, signal.SIGKILL)
                child.process.wait()
        self._children.clear()

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Interruption:
    """Defers SIGINT, SIGTERM and SIGHUP inside its `with` block to calls of `check`.

    Raised at once, they may occur inside an executor's C++ code, which turns them into another error.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._previous: dict[int, Callable | int | None] = {}

    def check(self) -> None:
        """Raise KeyboardInterrupt for SIGINT, SystemExit for the others, if one has come.

        Raises:
            KeyboardInterrupt, SystemExit: as Python would have without this.
        """
        if self._number == signal.SIGINT:
            raise KeyboardInterrupt
        if self._number is not None:
            raise SystemExit(128 + self._number)

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if kind is None:
            self.check()

    def _note(self, number: int, _frame: object) -> None:
        self._number = number


def _signal_group(child: Child, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.process.pid, number)


def _last_line(log: Path, wait: float = 0.2) -> str:
    time.sleep(wait)  # its last line may not be written yet
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no output"
