"""Sub-command that fetches a vendor's description of an arm."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from sim2real.options import Arguments


@dataclass(frozen=True)
class FetchOptions:
    """Which arm's files are fetched."""

    arm: tyro.conf.Positional[str]
    """The arm, e.g. so101."""
    source: str | None = None
    """Address of a folder (https://…, file:///…) to take the files from; the vendor's repository by default."""


def fetch(arguments: Arguments) -> int:
    """Download an arm's URDF and meshes from its vendor, at a pinned revision."""
    config = arguments.parse(FetchOptions, fetch.__doc__)
    from robots.arms.vendor import VENDORS
    from robots.arms.vendor import fetch as download

    folder = download(config.arm, config.source, print)
    print(f"{folder} ({VENDORS[config.arm].licence})")
    return 0
