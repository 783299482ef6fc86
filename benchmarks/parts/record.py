"""What a benchmark's figures belong to: command, date, revision, machine, versions, load and seeds."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from policies.bundle.provenance import provenance

ROOT = Path(__file__).resolve().parents[2]


def origin(seeds: Iterable[int] = (), packages: Iterable[str] = ()) -> dict[str, object]:
    """Describe this run, as plain JSON types, with the versions of further `packages` where they are installed."""
    found = provenance()
    versions = {**found["versions"], **{name: _version(name) for name in packages}}
    script = Path(sys.argv[0]).resolve()
    name = script.relative_to(ROOT) if script.is_relative_to(ROOT) else script.name
    return {
        **found,
        "command": " ".join(["python", str(name), *sys.argv[1:]]),
        "versions": {name: number for name, number in versions.items() if number},
        "load": round(os.getloadavg()[0], 1),
        "seeds": list(seeds),
    }


def heading(described: Mapping) -> str:
    """Return what `origin` described in one line."""
    versions = ", ".join(f"{name} {number}" for name, number in described["versions"].items())
    seeds = f"; seeds {', '.join(map(str, described['seeds']))}" if described["seeds"] else ""
    return f"{described['machine']}, load {described['load']}, Python {described['python']}; {versions}{seeds}"


def save(file: Path | None, described: Mapping, figures: Mapping) -> None:
    """Write figures and their origin as JSON; do nothing without a file."""
    if file is not None:
        file.write_text(json.dumps({**described, **figures}, indent=1) + "\n")


def need(*modules: str) -> None:
    """End the program with a line that says what to install if one of `modules` is missing."""
    for module in modules:
        if find_spec(module) is None:
            sys.exit(f"{Path(sys.argv[0]).name}: '{module}' is not installed; pip install 'sim2real-arms[bench]'")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


class Clock:
    """Told about a run's progress; knows how long it took without its judge."""

    def __init__(self) -> None:
        self._began, self._judging, self.judge_s = time.perf_counter(), 0.0, 0.0

    def __call__(self, stage: str, share: float, text: str) -> None:
        """See `policies.training.progress.StageProgress`."""
        if stage == "evaluate" and share == 0.0:
            self._judging = time.perf_counter()
        elif stage == "evaluate" and share == 1.0:
            self.judge_s += time.perf_counter() - self._judging

    @property
    def minutes(self) -> float:
        """Wall minutes so far, the judge's left out."""
        return (time.perf_counter() - self._began - self.judge_s) / 60
