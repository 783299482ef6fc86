"""The report of an evaluation as one self-contained HTML page.

A section appears where `ReportData` holds something for it. The page loads nothing: styles, charts and images are
embedded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from evaluation.report import charts as svg
from evaluation.report.data import ReportData
from evaluation.report.drift import drift_section
from evaluation.report.images import data_uri, png
from evaluation.report.markup import (
    dot,
    interval_kind,
    key,
    legend,
    p_text,
    panel,
    percent,
    points,
    row,
    span,
    table,
    test_kind,
)
from evaluation.report.sections import aggregates_section, failure_section, registration_section, transfer_section
from evaluation.report.stylesheet import CSS
from evaluation.report.trial_sections import raters_section, trials_section
from evaluation.session.results import PolicyResult, compare_all, level_text
from evaluation.statistics.comparison import PairedComparison
from robots.host.writing import write_text


class ReportError(ValueError):
    """The data cannot make a report."""


def write_report(path: Path, data: ReportData) -> None:
    """Write the page. Raises ReportError when no trial counts or nothing can be written to `path`."""
    path = Path(path)
    if not path.parent.is_dir():
        raise ReportError(f"report '{path}': its folder does not exist; create it first")
    write_text(path, page(data))


def page(data: ReportData) -> str:
    """The whole page as HTML."""
    results = data.results
    if not results:
        raise ReportError(
            f"report '{data.title}': {len(data.trials)} trials, none of which counts; "
            f"record trials that are not void first"
        )
    comparisons = compare_all(results)
    sections: list[tuple[str, str, str]] = []  # anchor, heading, content
    for heading, make in _SECTIONS:
        content = make(data, results, comparisons)
        if content:
            sections.append((heading.lower().replace(" ", "-"), heading, content))
    links = "".join(f'<li><a href="#{anchor}">{escape(heading)}</a></li>' for anchor, heading, _ in sections)
    body = "".join(
        f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{escape(heading)}</h2>{content}</section>'
        for anchor, heading, content in sections
    )
    headline = data.headline or headline_of(data, results, comparisons)
    setting = f'<p class="lead">{escape(data.setting)}</p>' if data.setting else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(data.title)}</title><style>{CSS}</style></head><body>"
        '<a class="skip" href="#main">Skip to the results</a><div class="page">'
        f'<header><p class="kicker">sim2real evaluation{dot(data.date)}</p><h1>{escape(data.title)}</h1>'
        f'<p class="headline">{escape(headline)}</p>{setting}{_cards(data, results)}'
        f'<nav aria-label="Contents"><ul>{links}</ul></nav></header>'
        f'<main id="main">{body}</main>'
        f"<footer>Rates are shares of the trials that count; their intervals are {interval_kind(results)} ones at "
        f"{level_text(results[0].rate)}. This page loads nothing from the network.</footer></div></body></html>\n"
    )


def headline_of(data: ReportData, results: Sequence[PolicyResult], comparisons: Sequence[PairedComparison]) -> str:
    """The result in two sentences: the best policy, and how the worst one compares with it."""
    best = max(results, key=lambda r: r.rate.estimate)
    rate = best.rate
    text = (
        f"The policy “{data.label(best.policy)}” succeeded in {rate.successes} of {rate.trials} trials "
        f"({percent(rate.estimate)}, {_valid(best)}{level_text(rate)} interval {span(rate.low, rate.high)})."
    )
    worst = min(results, key=lambda r: r.rate.estimate)
    pair = next((c for c in comparisons if (c.a, c.b) == (best.policy, worst.policy)), None)
    if pair is not None and worst.rate.estimate < rate.estimate:
        apart, within = points(pair)
        corrected = "corrected " if len(comparisons) > 1 else ""
        verdict = "" if pair.significant else ": these trials do not show a difference"
        text += (
            f" “{data.label(worst.policy)}” succeeded in {worst.rate.successes} of {worst.rate.trials} "
            f"from the same starting points ({percent(worst.rate.estimate)}). The difference is {apart} points "
            f"({_valid(best)}{level_text(pair.difference)} interval {within}; {_valid(best)}{corrected}p "
            f"{_equals(pair.p_corrected)}){verdict}."
        )
    return text


def _valid(result: PolicyResult) -> str:
    return "anytime-valid " if result.inference.sequential else ""


def _equals(p: float) -> str:
    return p_text(p) if p < 0.001 else f"= {p_text(p)}"


_Section = Callable[[ReportData, Sequence[PolicyResult], Sequence[PairedComparison]], str]


def _success(data: ReportData, results: Sequence[PolicyResult], _: Sequence[PairedComparison]) -> str:
    rows = []
    for i, r in enumerate(results):
        times = r.times_to_success
        cells = [
            f"{r.rate.successes} of {r.rate.trials}",
            percent(r.rate.estimate),
            span(r.rate.low, r.rate.high),
            f"{np.median(times):.1f} s" if len(times) else "–",
            str(r.voided),
        ]
        rows.append(row(f"{key(i)}{escape(data.label(r.policy))}", cells))
    tried = {r.policy for r in results}
    for card in data.policies:
        if card.name not in tried:
            void = sum(t.policy == card.name for t in data.trials)
            rows.append(row(escape(card.label), ["no trial counts", "–", "–", "–", str(void)]))
    level = level_text(results[0].rate)
    interval = f"{interval_kind(results)} {level} interval".capitalize()
    columns = ("Policy", "Successes", "Rate", interval, "Median time to success", "Void trials")
    caption = "Success per policy. Void trials are recorded and left out of every figure."
    if any(r.inference.sequential for r in results):
        caption += " The plan let the results decide when to stop: anytime-valid intervals hold whenever that is."
    chart = svg.forest([(data.label(r.policy), r.rate) for r in results])
    return panel("Chart of success", chart, f"Each line spans the {level} interval.") + table(columns, rows, caption)


def _paired(data: ReportData, results: Sequence[PolicyResult], comparisons: Sequence[PairedComparison]) -> str:
    rows = []
    for c in comparisons:
        apart, within = points(c)
        cells = [
            str(c.pairs),
            str(c.only_a),
            str(c.only_b),
            f"{apart} points",
            f"{within} ({level_text(c.difference)})",
            p_text(c.p_value),
            p_text(c.p_corrected),
            f"{'a difference' if c.significant else 'none shown'} at {100 * c.alpha:.4g} %",
        ]
        pair = f"{escape(data.label(c.a))} <small>against</small> {escape(data.label(c.b))}"
        rows.append(row(pair, cells))
    if not rows:
        return ""
    columns = ("Pair", "Pairs", "Only first", "Only second", "Difference", "Interval", "p", "p, Holm", "Shown")
    intervals = {
        False: "Newcombe’s, extended to zero where the exact test, the more cautious, does not exclude it",
        True: "the anytime-valid ones of the same bets",
    }
    used = "; ".join(intervals[s] for s in sorted({c.sequential for c in comparisons}))
    return table(
        columns,
        rows,
        f"Every policy was tried from the same starting points, so trials are compared in pairs: {test_kind(results)} "
        "on those where only one succeeded, corrected for the number of comparisons by Holm’s method. Each interval "
        f"has the level at which that method tests its pair, and holds zero exactly where none is shown: {used}.",
    )


def _distance(data: ReportData, results: Sequence[PolicyResult], _: Sequence[PairedComparison]) -> str:
    rows, cells = [], []
    for i, r in enumerate(results):
        measured = [t for t in r.trials if t.final_distance is not None]
        if not measured:
            continue
        values = r.final_distances
        rows.append((data.label(r.policy), values, np.array([t.success for t in measured])))
        quantiles = [f"{100 * q:.1f} cm" for q in np.quantile(values, [0.25, 0.5, 0.75, 1])]
        cells.append(row(f"{key(i)}{escape(data.label(r.policy))}", [str(len(values)), *quantiles]))
    if not rows:
        return ""
    columns = ("Policy", "Trials", "Quarter within", "Half within", "Three quarters within", "Largest")
    chart = svg.distances(rows, data.success_radius)
    note = "One mark per trial; the bar is the median; the axis is logarithmic."
    shown = legend() + panel("Chart of final distances", chart, note)
    return shown + table(columns, cells, "Distance between end effector and goal at the end.")


def _workspace(data: ReportData, results: Sequence[PolicyResult], _: Sequence[PairedComparison]) -> str:
    key_x, key_y = data.position_keys
    placed = {r.policy: [t for t in r.trials if key_x in t.initial and key_y in t.initial] for r in results}
    points = [(t.initial[key_x], t.initial[key_y]) for trials in placed.values() for t in trials]
    if not points:
        return ""
    (x_low, y_low), (x_high, y_high) = np.min(points, axis=0), np.max(points, axis=0)
    bounds = data.workspace or (x_low - 0.01, x_high + 0.01, y_low - 0.01, y_high + 0.01)
    maps = []
    for i, r in enumerate(results):
        trials = placed[r.policy]
        places = [(t.initial[key_x], t.initial[key_y]) for t in trials]
        picture = svg.workspace(data.label(r.policy), places, [t.success for t in trials], bounds, i)
        maps.append(f'<div class="panel"><h3>{key(i)}{escape(data.label(r.policy))}</h3>{picture}</div>')
    lead = (
        "Where the object stood at the start of each trial, seen from above and behind the arm, whose base "
        "is below each map: x (upwards, in metres) leads away from it and y to its left."
    )
    return f'<p class="lead">{lead}</p>{legend()}<div class="row maps">{"".join(maps)}</div>'


def _clips(data: ReportData, *_: object) -> str:
    figures = []
    for clip in data.clips:
        still = data_uri(clip.still)
        if clip.mp4:
            # Plays on request only: no motion that nobody asked for
            shown = (
                f'<video controls muted loop playsinline preload="metadata" poster="{still}" '
                f'aria-label="{escape(clip.alt)}" src="{data_uri(clip.mp4)}"></video>'
            )
        else:
            shown = f'<img src="{still}" alt="{escape(clip.alt)}">'
        figures.append(f"<figure>{shown}<figcaption>{escape(clip.caption)}</figcaption></figure>")
    return f'<div class="row clips clip">{"".join(figures)}</div>' if figures else ""


def _camera(data: ReportData, *_: object) -> str:
    columns = []
    for samples in data.camera:
        images = "".join(
            f'<img src="{data_uri(png(image))}" alt="{escape(samples.domain)}, camera picture {n}" '
            f'width="{image.shape[1]}" height="{image.shape[0]}">'
            for n, image in enumerate(samples.images, start=1)
        )
        columns.append(
            f'<figure class="panel"><h3>{escape(samples.domain)}</h3><div class="frames">{images}</div>'
            f"<figcaption>{escape(samples.caption)}</figcaption></figure>"
        )
    return f'<div class="row domains">{"".join(columns)}</div>' if columns else ""


def _latency(data: ReportData, results: Sequence[PolicyResult], _: Sequence[PairedComparison]) -> str:
    summary = data.loop_latency
    if summary is None or not summary.histogram:
        return ""
    rows = []
    named = [(data.label(r.policy), r.latency) for r in results]
    for label, one in [*named, ("all", summary)]:
        if one is not None:
            times = [f"{1e3 * v:.2f} ms" for v in (one.p50, one.p99, one.maximum)]
            rows.append(row(escape(label), [f"{one.count:,}", *times, f"{one.missed:,}"]))
    columns = ("Policy", "Cycles", "p50", "p99", "Largest", "Missed deadlines")
    note = "From reading the sensors to having sent the command. The axis is logarithmic."
    chart = svg.latency(summary, data.loop_period)
    return panel("Chart of latency", chart, note) + table(columns, rows, "Control-loop latency.")


def _interventions(data: ReportData, results: Sequence[PolicyResult], _: Sequence[PairedComparison]) -> str:
    totals = [r.interventions for r in results]
    reasons = sorted(set().union(*totals), key=lambda reason: -sum(t[reason] for t in totals))
    if not reasons:
        return "<p>The safety filter never changed or stopped a command.</p>"
    rows = [row(escape(reason), [f"{t[reason]:,}" for t in totals]) for reason in reasons]
    columns = ("Reason", *(data.label(r.policy) for r in results))
    return table(columns, rows, "How often the safety filter changed or stopped a command, by reason.")


def _differences(data: ReportData, *_: object) -> str:
    rows = [row(escape(d.what), [d.training, d.target], numeric=False) for d in data.differences]
    caption = "What the policies were trained on, and what they were tried on."
    return table(("", "Training", "Target"), rows, caption, numeric=False) if rows else ""


def _tables(data: ReportData, *_: object) -> str:
    parts = []
    for one in data.tables:
        rows = [row(escape(cells[0]), list(cells[1:])) for cells in one.rows]
        parts.append(f"<h3>{escape(one.heading)}</h3>{table(one.columns, rows, one.caption)}")
    return "".join(parts)


def _made(data: ReportData, *_: object) -> str:
    items = dict(data.made)
    if data.wall_time is not None:
        items["Wall time"] = f"{data.wall_time / 60:.1f} minutes"
    cards = [f"{escape(c.label)}: {escape(c.description)}" for c in data.policies if c.description]
    pairs = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in items.items())
    pairs += "".join(f"<dt>Policy</dt><dd>{card}</dd>" for card in cards)
    bundles = {t.policy: t.bundle for t in data.trials if t.bundle}
    for policy, digest in bundles.items():
        pairs += f"<dt>Bundle of {escape(data.label(policy))}</dt><dd><code>{escape(digest)}</code></dd>"
    commands = escape("\n".join(data.commands))
    parts = [f'<div class="panel"><dl>{pairs}</dl></div>' if pairs else ""]
    parts.append(f"<h3>To repeat it</h3><pre>{commands}</pre>" if commands else "")
    return "".join(parts)


def _shortcomings(data: ReportData, *_: object) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in data.shortcomings)
    return f'<div class="panel short"><ul>{items}</ul></div>' if items else ""


# The order of the page. Each makes its content, or "" where there is nothing to show.
_SECTIONS: tuple[tuple[str, _Section], ...] = (
    ("Success", _success),
    ("Paired comparison", _paired),
    ("Over seeds and tasks", aggregates_section),
    ("Simulation against the arm", transfer_section),
    ("What falls short", _shortcomings),
    ("Registered and deviated", registration_section),
    ("Agreement of raters", raters_section),
    ("Success over time", drift_section),
    ("Trials to see", _clips),
    ("Where it fails", failure_section),
    ("What the cameras saw", _camera),
    ("Final distance", _distance),
    ("Over the workspace", _workspace),
    ("Loop latency", _latency),
    ("Safety interventions", _interventions),
    ("Training and target", _differences),
    ("Further figures", _tables),
    ("Every trial", trials_section),
    ("How it was made", _made),
)


def _cards(data: ReportData, results: Sequence[PolicyResult]) -> str:
    descriptions = {card.name: card.description for card in data.policies}
    items = []
    for i, r in enumerate(results):
        low, high, share = 100 * r.rate.low, 100 * r.rate.high, 100 * r.rate.estimate
        items.append(
            f'<li class="card c{i % svg.COLOURS}"><p class="name">{escape(data.label(r.policy))}</p>'
            f'<p class="big">{percent(r.rate.estimate)}</p><div class="meter" aria-hidden="true">'
            f'<i style="left:{low:.1f}%;right:{100 - high:.1f}%"></i><b style="left:{share:.1f}%"></b></div>'
            f'<p class="small">{r.rate.successes} of {r.rate.trials} trials, {level_text(r.rate)}: '
            f"{span(r.rate.low, r.rate.high)}</p>"
            f'<p class="small">{escape(descriptions.get(r.policy, ""))}</p></li>'
        )
    return f'<ul class="cards">{"".join(items)}</ul>'
