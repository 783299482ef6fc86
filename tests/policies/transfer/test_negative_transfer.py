"""Negative transfer is named where it is measured, and refused where it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from policies.transfer.negative_transfer import NegativeTransferError, compared, quoted
from robots.host.reading import FileError


def evaluated(success: float) -> dict:
    return {"success": success, "episodes": 100}


@pytest.mark.parametrize(
    ("transferred", "scratch", "begins"),
    [(0.6, 0.9, "negative transfer: "), (0.9, 0.6, "transfer paid: "), (0.88, 0.9, "transferred 0.880")],
)
def test_intervals_that_are_apart_decide(transferred: float, scratch: float, begins: str) -> None:
    assert compared(evaluated(transferred), evaluated(scratch)).startswith(begins)


def written(path: Path, low: float, high: float) -> Path:
    curve = {"mean": [0.1, (low + high) / 2], "low": [0.0, low], "high": [0.2, high]}
    scratch = {"mean": [0.0, 0.8], "low": [0.0, 0.7], "high": [0.0, 0.9]}
    path.write_text(json.dumps({"task": "push", "robot": "arm", "methods": {"scratch": scratch, "all": curve}}))
    return path


def test_a_stored_comparison_is_quoted_or_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "transfer.json", 0.7, 0.9)
    assert "'all' 0.80 [0.70, 0.90], from scratch 0.80" in quoted(path, "push", "arm", "all")
    with pytest.raises(FileError, match="is of push on arm, expected stack on arm"):
        quoted(path, "stack", "arm", "all")
    with pytest.raises(FileError, match="has scratch, all, expected scratch and features"):
        quoted(path, "push", "arm", "features")
    with pytest.raises(NegativeTransferError, match=r"'all' 0.60 .* from scratch 0.80; train from scratch"):
        quoted(written(path, 0.5, 0.7), "push", "arm", "all")
    path.write_text("{}")
    with pytest.raises(FileError, match="none that compare-transfer wrote"):
        quoted(path, "push", "arm", "all")
