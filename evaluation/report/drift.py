"""Success over the time of a session: does it drift?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from evaluation.report import charts as svg
from evaluation.report.failure_analysis import MIN_OF_EACH
from evaluation.report.markup import key, legend, p_text, panel, percent, row, span, table
from evaluation.session.results import PolicyResult
from evaluation.session.trials import Trial
from evaluation.statistics.comparison import holm
from policies.scoring.intervals import SuccessRate, wilson

if TYPE_CHECKING:
    from evaluation.report.data import ReportData

PARTS = 5
"""Parts of equal length into which a chart divides a session."""
FEWEST = 6
"""Trials of a policy below which nothing is said of its drift."""


@dataclass(frozen=True)
class Drift:
    """Outcomes of one policy in the order in which they came."""

    policy: str
    number: tuple[int, ...]
    """Of each trial that counts, among all that were carried out, from 1."""
    success: tuple[bool, ...]
    parts: tuple[SuccessRate, ...]
    """Of consecutive parts of the policy's trials."""
    p_value: float | None
    """Mann–Whitney: do successes come earlier or later than failures? None with too few of either."""
    p_corrected: float | None
    """After Holm's correction over the policies."""


def measure_drift(trials: Sequence[Trial], results: Sequence[PolicyResult]) -> tuple[Drift, ...]:
    """Drift of every policy with enough trials; `trials` come in the order of their recording."""
    found = []
    for result in results:
        at = [(n, t.success) for n, t in enumerate(trials, start=1) if t.policy == result.policy and not t.void]
        if len(at) < FEWEST:
            continue
        number, success = np.array([n for n, _ in at]), np.array([ok for _, ok in at])
        parts = [
            wilson(int(part.sum()), len(part), result.inference.confidence) for part in np.array_split(success, PARTS)
        ]
        p = None
        if min(success.sum(), (~success).sum()) >= MIN_OF_EACH:
            p = float(stats.mannwhitneyu(number[success], number[~success], alternative="two-sided").pvalue)
        found.append(Drift(result.policy, tuple(number.tolist()), tuple(success.tolist()), tuple(parts), p, None))
    tested = [d.p_value for d in found if d.p_value is not None]
    corrected = iter(holm(tested)) if tested else iter(())
    return tuple(
        d if d.p_value is None else Drift(d.policy, d.number, d.success, d.parts, d.p_value, float(next(corrected)))
        for d in found
    )


def drift_section(data: ReportData, results: Sequence[PolicyResult], *_: object) -> str:
    """A chart and a test for each policy."""
    drifts = measure_drift(data.trials, results)
    if not drifts:
        return ""
    colours = {r.policy: i for i, r in enumerate(results)}
    rows, charts = [], []
    for d in drifts:
        label, first, last = data.label(d.policy), d.parts[0], d.parts[-1]
        shown = d.p_corrected is not None and d.p_corrected <= data.alpha
        rows.append(
            row(
                f"{key(colours[d.policy])}{escape(label)}",
                [
                    *(f"{percent(p.estimate)} ({span(p.low, p.high)})" for p in (first, last)),
                    "–" if d.p_value is None else p_text(d.p_value),
                    "–" if d.p_corrected is None else p_text(d.p_corrected),
                    "a drift" if shown else "none shown" if d.p_value is not None else "too few of one outcome",
                ],
            )
        )
        note = f"{label}: every trial in the order of the session; the line is the rate in fifths of its trials."
        charts.append(panel(f"Success over time of {label}", drift_chart(label, d, colours[d.policy]), note))
    columns = ("Policy", "First fifth", "Last fifth", "p", "p, Holm", f"At {100 * data.alpha:.4g} %")
    caption = "Do successes come earlier or later than failures? Mann–Whitney test on the order of the trials."
    return table(columns, rows, caption) + legend() + "".join(charts)


def drift_chart(label: str, drift: Drift, colour: int) -> str:
    """Every trial in its order, successes above, failures below, and the success rate in fifths."""
    number, success = np.array(drift.number), np.array(drift.success)
    left, right, top, bottom = 64.0, svg.WIDTH - 24.0, 24.0, 210.0
    last = max(int(number.max()), 2)

    def x(value: float) -> float:
        return left + (right - left) * (value - 1) / (last - 1)

    def y(share: float) -> float:
        return bottom - 34 - (bottom - top - 68) * share

    body = []
    for share in (0.0, 0.5, 1.0):
        body += [
            svg.line(left, y(share), right, y(share), "grid"),
            svg.text(left - 8, y(share) + 4, percent(share), "end"),
        ]
    for tick in np.unique(np.linspace(1, last, min(last, 6)).round().astype(int)):
        body.append(svg.text(x(tick), bottom + 18, str(tick), "tick"))
    body.append(f'<g class="c{colour % svg.COLOURS}">')
    points = []
    for part, rate in zip(np.array_split(number, PARTS), drift.parts):
        at = x(float(np.median(part)))
        points.append(f"{at:.1f},{y(rate.estimate):.1f}")
        body.append(svg.line(at, y(rate.low), at, y(rate.high), "whisker"))
        body.append(f'<circle class="dot" cx="{at:.1f}" cy="{y(rate.estimate):.1f}" r="5"/>')
    body.append(f'<polyline class="curve" points="{" ".join(points)}"/>')
    for value, ok in zip(number, success):
        body.append(svg.mark(x(float(value)), top if ok else bottom - 8, bool(ok), 3.5))
    body.append("</g>")
    said = "Success in fifths: " + ", ".join(percent(rate.estimate) for rate in drift.parts) + "."
    return svg.chart(bottom + 28, f"{label}: success over time", said, body)
