"""Sections of the report that only a registered session has: plan, failure analysis, simulation beside the arm."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from evaluation.report import charts as svg
from evaluation.report import failure_charts
from evaluation.report.markup import legend, p_text, panel, row, span, table
from policies.scoring.intervals import Interval

if TYPE_CHECKING:
    from evaluation.report.data import ReportData

SHOWN_FACTORS = 8
"""Rows of the table of factors; the rest is counted in a sentence."""
CHARTS = 3


def registration_section(data: ReportData, *_: object) -> str:
    """The registered protocol, and where the session departed from it."""
    if not data.registered:
        return ""
    pairs = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in data.registered.items())
    items = "".join(f"<li>{escape(text)}</li>" for text in data.deviations)
    deviated = f"<ul>{items}</ul>" if items else "<p>None: the session was carried out as registered.</p>"
    return (
        f'<div class="panel"><dl>{pairs}</dl></div><h3>Deviations and incidents</h3><div class="panel">{deviated}</div>'
    )


def aggregates_section(data: ReportData, *_: object) -> str:
    """Interquartile means and probabilities of improvement."""
    found = data.aggregates
    if found is None:
        return ""
    rows = [
        row(
            escape(m.method),
            [str(m.runs), str(m.tasks), _share(m.iqm), "seeds" if m.over_seeds else "trials of these runs only"],
        )
        for m in found.methods
    ]
    level = f"{100 - 100 * data.alpha:.4g} %"
    columns = ("Method", "Runs", "Tasks", f"Interquartile mean of success ({level})", "Resampled")
    caption = (
        "The middle half of the runs’ success rates, with a stratified bootstrap interval (Agarwal et al. 2021). "
        "Where a task has one seed only, its trials are resampled, and the interval says nothing of other seeds."
    )
    parts = [table(columns, rows, caption)]
    if found.improvements:
        rows = [
            row(f"{escape(i.a)} <small>against</small> {escape(i.b)}", [_share(i.probability)])
            for i in found.improvements
        ]
        caption = (
            "Probability that a run of the first method beats a run of the second on the same task; ties count half."
        )
        parts.append(table(("Pair", f"Probability of improvement ({level})"), rows, caption))
    return "".join(parts)


def transfer_section(data: ReportData, *_: object) -> str:
    """Simulated beside real success, and whether the ranking survived."""
    found = data.transfer
    if found is None:
        return ""
    rows = [
        row(
            escape(data.label(r.policy)),
            [
                *(f"{100 * x.estimate:.0f} % ({span(x.low, x.high)}), n = {x.trials}" for x in (r.simulated, r.real)),
                f"{100 * (r.real.estimate - r.simulated.estimate):+.0f} points".replace("-", "−"),
            ],
        )
        for r in found.rows
    ]
    level = f"{100 - 100 * data.alpha:.4g} %"
    parts = [
        table(
            ("Policy", "In simulation", "On the arm", "Difference"),
            rows,
            f"Success of the same bundles in simulation and on the arm, with {level} intervals.",
        )
    ]
    if found.agreement is None:
        return "".join([*parts, f"<p>{escape(found.why_not)}</p>"])
    a = found.agreement
    measures = (
        ("Mean maximum rank violation", a.mmrv, "0 is a perfect ranking"),
        ("Pearson", a.pearson, "1 is a straight line"),
        ("Spearman", a.spearman, "1 is the same order"),
    )
    rows = [
        row(name, [f"{m.estimate:.3f} ({m.low:.3f} to {m.high:.3f})".replace("-", "−"), says])
        for name, m, says in measures
    ]
    chart = failure_charts.scatter_chart([(data.label(r.policy), r.simulated, r.real) for r in found.rows])
    caption = (
        f"Agreement over {a.policies} policies; the intervals say how far the figures could move by repeating the "
        "trials of these policies."
    )
    note = f"Each cross spans both {level} intervals; on the diagonal simulation predicts the arm."
    return "".join([*parts, panel("Chart of simulated against real success", chart, note)]) + table(
        ("Measure", f"Value ({level})", "Meaning"), rows, caption
    )


def failure_section(data: ReportData, *_: object) -> str:
    """Which factors are associated with failure, as a table and as charts."""
    if not data.failure_factors:
        return ""
    significant = [s for s in data.failure_factors if s.p_corrected <= data.alpha]
    rows = []
    for s in data.failure_factors[:SHOWN_FACTORS]:
        rows.append(
            row(
                f"{escape(s.factor)} <small>{escape(data.label(s.policy))}</small>",
                [
                    f"{s.auc:.2f}",
                    *(f"{100 * r.estimate:.0f} % ({span(r.low, r.high)})" for r in (s.low_third, s.high_third)),
                    p_text(s.p_value),
                    p_text(s.p_corrected),
                    f"fails when {s.direction}" if s.p_corrected <= data.alpha else "not shown",
                ],
            )
        )
    level = f"{100 * data.alpha:.4g} %"
    columns = ("Factor", "AUC", "Failures, lowest third", "Failures, highest third", "p", "p, Holm", f"At {level}")
    more = len(data.failure_factors) - len(rows)
    caption = (
        "Does a parameter or an initial condition predict failure? AUC is the probability that a failure has a larger "
        "value than a success (0.5: it says nothing); Mann–Whitney test, corrected by Holm’s method over all "
        f"{len(data.failure_factors)} combinations of factor and policy that could be tested"
        + (f"; {more} with larger p-values are not listed." if more > 0 else ".")
        + (
            " The test takes the number of trials as fixed."
            if any(c.inference.sequential for c in data.policies)
            else ""
        )
    )
    names = ", ".join(f"{s.factor} ({data.label(s.policy)})" for s in significant)
    lead = (
        f"Failure goes with: {names}."
        if significant
        else f"No factor predicts failure beyond chance at {level} after the correction."
    )
    charts = "".join(
        panel(
            f"Chart of {s.factor}",
            failure_charts.factor(data.label(s.policy), s, _colour(data, s.policy)),
            f"{data.label(s.policy)}: every trial by its {s.factor}, failures above, successes below; the line is the "
            "share of failures in fifths of the trials.",
        )
        for s in significant[:CHARTS]
        if s.factor not in data.position_keys
    )
    return (
        f"<p>{escape(lead)}</p>" + table(columns, rows, caption) + (legend() if charts else "") + charts + _maps(data)
    )


def _maps(data: ReportData) -> str:
    """Failures by region of the workspace, for each policy that failed anywhere."""
    key_x, key_y = data.position_keys
    maps = []
    for i, r in enumerate(data.results):
        placed = [t for t in r.trials if key_x in t.initial and key_y in t.initial]
        if len(placed) < 9 or all(t.success for t in placed):
            continue
        points = [(t.initial[key_x], t.initial[key_y]) for t in placed]
        xs, ys = zip(*points)
        bounds = data.workspace or (min(xs), max(xs), min(ys), max(ys))
        picture = failure_charts.regions(data.label(r.policy), points, [t.success for t in placed], bounds, i)
        maps.append(f'<div class="panel"><h3>{escape(data.label(r.policy))}</h3>{picture}</div>')
    if not maps:
        return ""
    lead = "Failures of trials by region of the workspace; the darker, the larger the share that failed."
    return f'<h3>Failures over the workspace</h3><p class="lead">{lead}</p><div class="row maps">{"".join(maps)}</div>'


def _colour(data: ReportData, policy: str) -> int:
    return next((i for i, r in enumerate(data.results) if r.policy == policy), 0) % svg.COLOURS


def _share(interval: Interval) -> str:
    return f"{100 * interval.estimate:.0f} % ({span(interval.low, interval.high)})"
