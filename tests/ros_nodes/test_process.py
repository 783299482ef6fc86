"""What every node's process does at start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ros_nodes import process

ROOT = Path(__file__).resolve().parents[2]
PICTURES = """
import resource, sys
from ros_nodes import process
if sys.argv[1] == "keep":
    assert process.keep_memory()
def round():
    pictures = [b"x" * 4_000_000 for _ in range(8)]
    del pictures
for _ in range(2):
    round()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    round()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    run = subprocess.run(
        [sys.executable, "-c", PICTURES, how], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return int(run.stdout)


def test_memory_of_pictures_is_kept():
    """Blocks of a picture's size are used again and not mapped anew: 8 × 4 MB are 7813 pages of 4 KiB."""
    assert page_faults("hand back") > 5 * 4000
    assert page_faults("keep") < 1000


def test_sleep_states_are_ruled_out_while_a_file_is_open(tmp_path):
    """The kernel's interface: a zero in four bytes counts for as long as the writer keeps the file open."""
    latency = tmp_path / "cpu_dma_latency"
    latency.touch()
    let_sleep = process.stay_awake(latency)
    assert latency.read_bytes() == bytes(4)

    def holds() -> bool:
        links = [Path(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
        return any(link.exists() and link.resolve() == latency for link in links)

    assert holds()
    let_sleep()
    assert not holds()
    process.stay_awake(tmp_path / "absent")()  # where it is not allowed, nothing happens
