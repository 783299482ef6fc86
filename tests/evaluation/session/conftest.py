"""The plan that sessions are carried out by."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.session_plan import PLAN
from tests.support.tiny_bundle import tiny_bundle


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> Path:
    """One policy that goes to the middle of the places, and one that does not."""
    folder = tmp_path_factory.mktemp("bundles")
    tiny_bundle((0.5, 0.1, 0.12), camera=None).save(folder / "right")
    tiny_bundle((0.5, -0.2, 0.12), camera=None).save(folder / "wrong")
    return folder


@pytest.fixture
def plan(bundles, tmp_path) -> Path:
    """A protocol beside its bundles, not registered yet."""
    for name in ("right", "wrong"):
        (tmp_path / name).symlink_to(bundles / name)
    path = tmp_path / "bench.toml"
    path.write_text(PLAN.format(trials=4, stop="fixed"))
    return path
