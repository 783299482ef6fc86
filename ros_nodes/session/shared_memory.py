"""Frees the shared memory that Fast DDS leaves behind when a process is killed: 32 MiB a participant.

Only files are removed that no process has mapped or open, and whose lock, which Fast DDS keeps on a file beside each
segment and port, is free too: the first check misses other containers, the second alone is not sufficient.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

FOLDER = Path("/dev/shm")
PREFIXES = ("fastdds_", "fastrtps_")
"""Of Fast DDS 3 and 2."""
LOCKS = ("_el", "_sl")
"""Exclusive and shared lock, beside the file that they guard."""
YOUNG = 10.0
"""A file younger than this may not be locked yet [s]."""


def free_leftovers(folder: Path = FOLDER, young: float = YOUNG) -> int:
    """Remove segments and ports of dead processes; return how many bytes became free."""
    freed = 0
    candidates = {lock.name[: -len("_el")] for lock in folder.glob("fast*_[es]l")}
    candidates = {name for name in candidates if name.startswith(PREFIXES)}
    for name in sorted(candidates - _in_use(folder)) if candidates else ():
        if _is_unlocked(folder, name, young):
            freed += _remove(folder, name)
    return freed


def _in_use(folder: Path) -> set[str]:
    """Return the names in `folder` that a process has mapped or open, as far as this user may read that."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # ended meanwhile, or another user's
            for line in (process / "maps").read_text().splitlines():
                path = line.split(None, 5)[5:]
                if path and path[0].startswith(f"{folder}/"):
                    found.add(Path(path[0].removesuffix(" (deleted)")).name)
        with suppress(OSError):
            for handle in (process / "fd").iterdir():
                with suppress(OSError):
                    target = os.readlink(handle)
                    if target.startswith(f"{folder}/"):
                        found.add(Path(target.removesuffix(" (deleted)")).name)
    return found | {name[: -len("_el")] for name in found if name.endswith(LOCKS)}


def _is_unlocked(folder: Path, name: str, young: float) -> bool:
    for suffix in LOCKS:
        path = folder / (name + suffix)
        try:
            if time.time() - path.stat().st_mtime < young:
                return False
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        except OSError:  # another user's
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(handle)
    return True


def _remove(folder: Path, name: str) -> int:
    freed = 0
    for path in (folder / name, folder / f"sem.{name}_mutex", *(folder / (name + suffix) for suffix in LOCKS)):
        with suppress(OSError):
            size = path.stat().st_size
            path.unlink()
            freed += size
    return freed
