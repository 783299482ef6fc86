"""Processes that end with the one that started them, even when that is killed.

A command is tied by the kernel (`tied`), a worker of `multiprocessing` by a pipe whose other end the pool's process
holds (`end_with_pool`): the kernel's signal would come from the fork server, or from a thread that ends earlier.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import wait
from pathlib import Path

# prctl(PR_SET_PDEATHSIG, signal), then become the command; the setting survives execve. The parent may have died
# before the call: then it is another process's child by now.
_TIED = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None, use_errno=True).prctl(1, int(sys.argv[2]))\n"
    "if os.getppid() != int(sys.argv[1]): sys.exit(1)\n"
    "os.execvp(sys.argv[3], sys.argv[3:])\n"
)


def tied(command: Sequence[str], signal: int) -> list[str]:
    """Return `command` such that `signal` ends it when the thread that starts it ends, or its process."""
    return [sys.executable, "-c", _TIED, str(os.getpid()), str(int(signal)), *command]


def end_with_pool() -> None:
    """End this worker of `multiprocessing` at once when the process that has its pool is gone, whatever it waits for.

    To be called first in every worker; elsewhere it does nothing.
    """
    pool = multiprocessing.parent_process()
    if pool is not None:
        threading.Thread(target=_end_after, args=(pool.sentinel,), name="end_with_pool", daemon=True).start()


def processor_seconds(pid: int) -> float | None:
    """Return the processor time that process `pid` has used [s]; None where the system does not tell, or it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    user, system = text.rpartition(")")[2].split()[11:13]  # proc(5): utime and stime; the name may hold anything
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)  # nobody is left who could take a result
