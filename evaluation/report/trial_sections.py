"""Sections of the report about single trials: what each came to, and whether its raters agree."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from evaluation.report.markup import percent, row, span, table
from evaluation.session.trials import Trial
from evaluation.statistics.raters import RaterAgreement, rater_agreement

if TYPE_CHECKING:
    from evaluation.report.data import ReportData

WORDS = {True: "success", False: "failure", None: ""}


def raters_section(data: ReportData, *_: object) -> str:
    """Agreement of the measurement, the operator and the second rater, as far as two of them judged."""
    counted = [t for t in data.trials if not t.void]
    verdicts = (
        ("task’s measurement", [t.automatic for t in counted]),
        ("operator", [t.operator for t in counted]),
        ("second rater", [data.second_verdicts.get((t.policy, t.index)) for t in counted]),
    )
    rows = []
    confidence = 1 - data.alpha
    for i, (first, of_first) in enumerate(verdicts):
        for second, of_second in verdicts[i + 1 :]:
            known = [(a, b) for a, b in zip(of_first, of_second) if a is not None and b is not None]
            if known:
                found = rater_agreement(*zip(*known), confidence=confidence)
                rows.append(row(escape(f"{first}, {second}"), _agreement(found)))
    if not rows:
        return ""
    columns = ("Raters", "Trials", "Differ", "Rate of disagreement", "Only first: success", "Only second", "Cohen’s κ")
    caption = (
        "Trials that two raters judged, each without the other’s verdict. κ is 1 for full agreement and 0 for what "
        f"chance gives. Intervals at {100 * confidence:.4g} %: Wilson’s for the rate, the asymptotic one for κ, which "
        "is crude below some thirty trials."
    )
    return table(columns, rows, caption)


def _agreement(a: RaterAgreement) -> list[str]:
    kappa = "undefined: one answer only" if a.kappa is None else f"{a.kappa:.2f}"
    if a.kappa_interval is not None:
        kappa += f" ({a.kappa_interval.low:.2f} to {a.kappa_interval.high:.2f})"
    d = a.disagreement
    return [
        str(d.trials),
        str(d.successes),
        f"{percent(d.estimate)} ({span(d.low, d.high)})",
        str(a.only_first),
        str(a.only_second),
        kappa.replace("-", "−"),
    ]


def trials_section(data: ReportData, *_: object) -> str:
    """Every trial in the order of the session, void ones included. What was not measured is left empty."""
    rows = [row(str(n), _cells(data, t), numeric=False) for n, t in enumerate(data.trials, start=1)]
    tried = ("No.", "Policy", "Place", "Attempt", "Outcome", "Time to success", "Distance")
    columns = (*tried, "Measured", "Operator", "Second rater", "Remarks")
    void = sum(t.void for t in data.trials)
    title = f"All {len(data.trials)} trials, {void} of them void"
    caption = "In the order of the session. An empty cell was not measured, or not asked."
    shown = table(columns, rows, caption, numeric=False)
    return f"<details><summary>{escape(title)}</summary>{shown}</details>"


def _cells(data: ReportData, t: Trial) -> Sequence[str]:
    x, y = (t.initial.get(name) for name in data.position_keys)
    place = f"{t.index}" if x is None or y is None else f"{t.index} ({x:.2f}, {y:.2f})".replace("-", "−")
    remarks = [t.void_reason, t.stopped, t.operator_note]
    return [
        data.label(t.policy),
        place,
        str(t.attempt + 1),
        "void" if t.void else WORDS[t.success],
        "" if t.time_to_success is None else f"{t.time_to_success:.1f} s",
        "" if t.final_distance is None else f"{100 * t.final_distance:.1f} cm",
        WORDS[t.automatic],
        WORDS[t.operator],
        WORDS[data.second_verdicts.get((t.policy, t.index)) if not t.void else None],
        "; ".join(dict.fromkeys(each for each in remarks if each)),
    ]
