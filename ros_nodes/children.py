"""Child processes that never outlive the session that started them, however it ends.

Each runs in a process group of its own, so that Ctrl-C in a terminal reaches the parent alone, which ends
them in order; and each is told by the kernel when the parent dies, so that a SIGKILL leaves nothing either.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# prctl(PR_SET_PDEATHSIG, SIGTERM), then become the command; the setting survives execve. The parent may have died
# before the call: then it is another process's child by now.
_TIED = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None, use_errno=True).prctl(1, 15)\n"
    "if os.getppid() != int(sys.argv[1]): sys.exit(1)\n"
    "os.execvp(sys.argv[2], sys.argv[2:])\n"
)


class ChildDied(RuntimeError):
    """A process that a session needs has ended; the message says which, how, and its last words."""


@dataclass(frozen=True)
class Child:
    """One running process."""

    name: str
    process: subprocess.Popen
    log: Path
    """Its standard output and error."""


class Children:
    """Starts processes, notices when one dies, and ends all of them on leaving the `with` block."""

    def __init__(self, log_dir: Path, environment: Mapping[str, str]):
        """Log into `log_dir`, which is made; `environment` replaces the processes' environment."""
        self._log_dir = log_dir
        self._environment = dict(environment)
        self._children: list[Child] = []
        log_dir.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, command: Sequence[str]) -> Child:
        """Start one process."""
        log = self._log_dir / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", _TIED, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        child = Child(name, process, log)
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
        """End all, the last started first: SIGINT, and SIGKILL for the whole group of one that stays."""
        for child in reversed(self._children):
            _signal_group(child, signal.SIGINT)
            # The first ones to go command the arm; it stays until they have brought it to rest
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(timeout=patience)
            _signal_group(child, signal.SIGKILL)
            child.process.wait()
        self._children.clear()

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        with _deaf():  # a second Ctrl-C must not leave half of them behind
            self.stop()


@contextlib.contextmanager
def ends_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit inside the block, so that `with` blocks are left properly."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    previous = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    try:
        previous = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    except ValueError:  # not in the main thread, where signals arrive
        previous = {}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _signal_group(child: Child, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.process.pid, number)


def _last_line(log: Path, wait: float = 0.2) -> str:
    time.sleep(wait)  # its last words may still be on their way
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
