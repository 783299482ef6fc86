"""The demo end to end, small, and Ctrl-C at any moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    *("--trials", "3", "--collect", "4", "--views", "1500", "--steps", "150"),
    *("--nominal-views", "1200", "--nominal-steps", "100"),
)
KEYS = [
    *(
        f"success_{policy}{end}"
        for policy in ("nominal", "randomised", "adapted")
        for end in ("", "_low", "_high", "_trials")
    ),
    "wall_minutes",
    "loop_p99_ms",
]


def start(out: Path) -> subprocess.Popen:
    # A mark in the environment finds every descendant, however it was started
    environment = {**os.environ, "SIM2REAL_TEST_MARK": str(out)}
    command = [sys.executable, "-m", "sim2real", "demo", "--out", str(out), *SMALL]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def descendants(out: Path) -> list[str]:
    """Command lines of all processes that carry the mark."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if f"SIM2REAL_TEST_MARK={out}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it has ended meanwhile, or is another user's
            continue
    return found


@pytest.mark.slow
@pytest.mark.ros
@pytest.mark.timeout(1_500)
def test_the_whole_path(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    process = start(out)
    printed, _ = process.communicate(timeout=1_400)
    assert process.returncode == 0, printed
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary) == KEYS
    assert summary["success_adapted_trials"] == 3
    assert 0 <= summary["success_nominal_low"] <= summary["success_nominal"] <= summary["success_nominal_high"] <= 1
    assert 0 < summary["loop_p99_ms"] < 50
    page = (out / "report.html").read_text()
    for part in ("randomised", "data:video/mp4", "MuJoCo", "scatter", "latency"):
        assert part in page
    assert descendants(out) == []


@pytest.mark.slow
@pytest.mark.ros
@pytest.mark.parametrize("marker", ["results go to", "progress train randomised 0.1", "progress train randomised 0.5"])
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, marker: str) -> None:
    out = tmp_path / "demo"
    process = start(out)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(marker):
            break
    assert len(descendants(out)) >= 1
    process.send_signal(signal.SIGINT)
    printed = process.stdout.read()
    assert process.wait(timeout=30) == 130, printed
    assert "Traceback" not in printed
    deadline = time.monotonic() + 5.0
    while descendants(out) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert descendants(out) == []
