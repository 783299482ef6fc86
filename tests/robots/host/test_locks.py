"""A folder has one process at a time, and is free again when that dies."""

from __future__ import annotations

import subprocess
import sys

import pytest

from robots.host.locks import FolderLock, LockedError
from tests.support.full_disk import room_for

HOLD = (
    "import sys, time\n"
    "from robots.host.locks import FolderLock\n"
    "lock = FolderLock(sys.argv[1])\n"
    "print('held', flush=True)\n"
    "time.sleep(60)\n"
)


def test_a_lock_dies_with_its_owner(tmp_path):
    owner = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    try:
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=f"is in use by process {owner.pid}; wait until that has ended"):
            FolderLock(tmp_path)
    finally:
        owner.kill()
        owner.wait()
    with FolderLock(tmp_path), pytest.raises(LockedError):
        FolderLock(tmp_path)
    FolderLock(tmp_path).release()


def test_a_lock_that_finds_no_room_is_named_and_not_held(tmp_path):
    with room_for(0), pytest.raises(OSError, match=r"File too large: '.*\.lock'"):
        FolderLock(tmp_path)
    FolderLock(tmp_path).release()


def test_a_child_does_not_keep_the_lock(tmp_path):
    """The file is closed on exec: what a process starts may outlive its lock."""
    with FolderLock(tmp_path):
        child = subprocess.Popen(["sleep", "60"])
    try:
        FolderLock(tmp_path).release()
    finally:
        child.kill()
        child.wait()
