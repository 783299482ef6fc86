"""One environment for all tests of what stands about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from sim.env import ArmEnv
from tests.support.segmented import VIEW


@pytest.fixture(scope="module")
def env() -> Iterator[ArmEnv]:
    with closing(ArmEnv("reach", space="nominal", observation=VIEW)) as env:
        yield env
