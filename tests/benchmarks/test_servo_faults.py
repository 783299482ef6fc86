"""The judge of benchmarks/so101.py notices positions that are not the servos' own; its faults are played."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.parts.servo_driver import EVENTS, FAULTS, FORGED, lab, run_event, run_fault

pytestmark = pytest.mark.real_time


def test_a_wrong_position_is_noticed():
    with lab() as here:
        reading = next(found for _ in range(50) if (found := here.cycle()) is not None)
        assert here.wrong(reading) == 0
        assert here.wrong(replace(reading, counts=reading.counts + np.array([0, 5, 0, -5, 4, 0]))) == 2


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_are_played(kind):
    run = run_fault(kind, 20, 0)
    assert run.packets >= 20
    assert run.released_alone == 0
    assert run.believed_wrongly == 0 or kind == FORGED
    assert run.stops == sum(run.keys.values())


def test_an_event_stops_until_a_reset():
    key, took, stayed, ended = run_event("overheating")
    assert (key, stayed, ended) == ("overheated", True, True)
    assert took < 0.2
    assert len(EVENTS) > 4
