"""A plan of two small policies, and made-up trials of it."""

from __future__ import annotations

from pathlib import Path

from evaluation.report.session_report import read_session
from evaluation.session.trials import Trial

PLAN = """
name = "bench"
task = "reach"
trials = {trials}
seed = 3
timeout = 1.5
hold_time = 0.2
stop = "{stop}"

[workspace]
x_low = 0.49
x_high = 0.51
y_low = 0.09
y_high = 0.11

[[policies]]
name = "right"
bundle = "right"

[[policies]]
name = "wrong"
bundle = "wrong"
"""


def facts(out: Path) -> list[Trial]:
    return list(read_session(out).trials)


def made_up(protocol, planned, success: bool, **changes) -> Trial:
    bundle = {p.name: p.bundle for p in protocol.policies}[planned.policy]
    return Trial(
        session=protocol.name,
        policy=planned.policy,
        bundle=bundle,
        index=planned.index,
        seed=planned.seed,
        success=success,
        duration=1.0,
        initial=planned.initial,
        **changes,
    )
