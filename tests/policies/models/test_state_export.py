"""What a bundle's parity records are taken from."""

from __future__ import annotations

import numpy as np

from policies.models.state_export import RecordedInputs
from robots.specs import ArraySpec, ObservationSpec

SPEC = ObservationSpec((ArraySpec("q", (2,), low=(-1.0, -2.0), high=(1.0, 2.0)), ArraySpec("opening", (1,), low=0.0)))


def test_records_outside_the_specification_are_left_out():
    q = np.array([[0.0, 1.9], [0.0, 2.1], [1.1, 0.0], [0.5, 0.0]], np.float32)
    opening = np.array([[0.0], [0.0], [0.0], [-0.1]], np.float32)
    kept = RecordedInputs({"q": q, "opening": opening}).within(SPEC)
    np.testing.assert_array_equal(kept.arrays["q"], q[:1])
    np.testing.assert_array_equal(kept.arrays["opening"], opening[:1])
