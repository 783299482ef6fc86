"""The demo end to end, small, and Ctrl-C while its trainings run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.flaky(reruns=1)]  # it drives an arm beside what else runs
ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--cameras", "front", "--scale", "0.03", "--trials", "1", "--collect", "4", "--frames", "40")
KEYS = [
    *(
        f"success_{policy}{end}"
        for policy in ("nominal", "randomised", "randomised_knocked", "adapted")
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


@pytest.mark.timeout(900)
def test_the_whole_path(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    process = start(out)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("progress trials"):
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    trained = [(out / name / "bundle" / "manifest.json").stat().st_mtime_ns for name in ("nominal", "randomised")]
    process = start(out)  # the same command goes on
    printed, _ = process.communicate(timeout=850)
    assert process.returncode == 0, printed
    assert trained == [
        (out / name / "bundle" / "manifest.json").stat().st_mtime_ns for name in ("nominal", "randomised")
    ]
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary) == KEYS
    assert summary["success_randomised_knocked_trials"] == summary["success_adapted_trials"] == 1
    assert 0 <= summary["success_nominal_low"] <= summary["success_nominal"] <= summary["success_nominal_high"] <= 1
    assert 0 < summary["loop_p99_ms"] < 50
    page = (out / "report.html").read_text()
    for part in ("randomised_knocked", "What changed", "data:video/mp4", "MuJoCo", "scatter", "latency"):
        assert part in page
    before, after = (json.loads((out / folder / "hidden_reality.json").read_text()) for folder in ("trials", "collect"))
    assert before["camera"] != after["camera"]
    assert before["arm"] == after["arm"]
    assert json.loads((out / "knocked_trials" / "hidden_reality.json").read_text()) == after
    assert json.loads((out / "adapted.report.json").read_text())["frames"] == 40
    assert "progress trials, knocked 1.000" in printed
    assert "min left" in printed
    assert descendants(out) == []


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    process = start(out)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("progress train randomised") and " starting" not in line:
            break  # both trainings run, with workers of their own
    assert len(descendants(out)) >= 3
    process.send_signal(signal.SIGINT)
    printed = process.stdout.read()
    assert process.wait(timeout=30) == 130, printed
    assert "Traceback" not in printed
    deadline = time.monotonic() + 5.0
    while descendants(out) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert descendants(out) == []
