"""The benchmarks start, and record what their figures belong to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.parts.record import heading, need, origin, save

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(path.name for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text())
SCRIPTS += ["parts/merged_ticks.py", "parts/random_rigs.py", "scaling/devices.py"]


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_benchmark_explains_itself(script, tmp_path):
    """From another folder, as all are installed with the package's extras alone."""
    command = [sys.executable, ROOT / "benchmarks" / script, "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


def test_figures_are_saved_with_their_origin(tmp_path):
    described = origin(seeds=range(2), packages=("scipy", "no-such-package"))
    save(tmp_path / "figures.json", described, {"success": 0.9})
    saved = json.loads((tmp_path / "figures.json").read_text())
    assert saved["success"] == 0.9
    assert saved["seeds"] == [0, 1]
    assert {"numpy", "scipy"} <= set(saved["versions"])
    assert "no-such-package" not in saved["versions"]
    for field in ("command", "date", "revision", "machine", "python", "load"):
        assert saved[field] == described[field] is not None
    assert saved["machine"] in heading(described)
    save(None, described, {})


def test_a_missing_peer_is_named_with_its_remedy():
    need("numpy", "json")
    with pytest.raises(SystemExit, match=r"'no_such_peer' is not installed; pip install 'sim2real-arms\[bench\]'"):
        need("numpy", "no_such_peer")
