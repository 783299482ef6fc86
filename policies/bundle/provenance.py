"""Where a result came from: revision, versions, machine. Saved with every run and bundle."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("sim2real-arms", "numpy", "torch", "pybullet", "mujoco", "onnxruntime", "stable-baselines3", "numba")


def provenance() -> dict:
    """Describe this program and this machine, as plain JSON types."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "revision": _revision(),
        "python": platform.python_version(),
        "machine": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "system": platform.platform(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def inherited(record: Mapping[str, Any], key: str) -> Any:
    """Return what a bundle's provenance holds under `key`, or that of its parent if it was adapted; None if none."""
    while key not in record and isinstance(record.get("parent"), Mapping):
        record = record["parent"]
    return record.get(key)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _revision() -> str:
    """Git revision of the checkout this file lies in, with `+` for uncommitted changes; empty outside one."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return ""
