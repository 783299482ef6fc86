"""Questions that the operator's page shows in the tests."""

from __future__ import annotations

from dataclasses import replace

from evaluation.operator_page.operator_state import Question

READY = Question(
    phase="ready",
    answers=("start",),
    session="tuesday",
    number=12,
    total=90,
    code="B",
    x=0.512,
    y=-0.1,
    timeout=3.0,
    text="Put the object into the yellow outline and step back.",
)
VERDICT = replace(READY, phase="verdict", answers=("success", "failure", "void"))
