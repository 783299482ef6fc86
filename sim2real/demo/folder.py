"""The demo's folder: a new one, or that of a demo that was broken off, which goes on where it stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from robots.host.reading import FileError, read_json
from robots.host.writing import write_json
from sim2real.demo.options import DemoOptions

BEGUN = "demo.json"
"""In the folder: the demo's options, and for how long it has run so far [s]."""
SUMMARY = "summary.json"
"""In the folder of a demo that came to its end."""


def demo_folder(config: DemoOptions) -> Path:
    """Return --out, or the first of runs/demo, runs/demo-2 … that is free or holds the same demo, broken off.

    Raises:
        ValueError: if --out holds something else.
    """
    if config.out is not None:
        if config.out.exists() and not _broken_off(config.out, config):
            raise ValueError(f"'{config.out}' exists already; choose another --out, or remove it")
        return config.out
    wanted = folder = Path("runs") / "demo"
    number = 2
    while folder.exists() and not _broken_off(folder, config):
        folder = wanted.with_name(f"{wanted.name}-{number}")
        number += 1
    return folder


@contextmanager
def kept_time(folder: Path, config: DemoOptions) -> Iterator[float]:
    """Note the options in `folder`, and at the end for how long this ran; yields how long it ran before [s]."""
    before = _spent(folder)
    write_json(folder / BEGUN, {"options": _options(config), "seconds": before})
    begun = time.monotonic()
    try:
        yield before
    finally:
        write_json(folder / BEGUN, {"options": _options(config), "seconds": before + time.monotonic() - begun})


def _broken_off(folder: Path, config: DemoOptions) -> bool:
    try:
        return read_json(folder / BEGUN, "demo")["options"] == _options(config) and not (folder / SUMMARY).exists()
    except (FileError, KeyError):
        return False


def _spent(folder: Path) -> float:
    return float(read_json(folder / BEGUN, "demo")["seconds"]) if (folder / BEGUN).exists() else 0.0


def _options(config: DemoOptions) -> dict:
    options = asdict(replace(config, out=None))
    return {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
