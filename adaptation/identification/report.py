"""Report of an identification as one HTML page: measured and replayed held-out motions, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from adaptation.identification.pipeline import HeldOutReplay, Identification

STYLE = """:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;
padding:0 1rem}h1,h2{line-height:1.2}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:.25rem .9rem .25rem 0;text-align:right;border-bottom:1px solid #8884}td:first-child,th:first-child
{text-align:left}svg{width:100%;height:auto;display:block}svg text{font-size:12px;fill:currentColor}
.measured{stroke:currentColor}.before{stroke:#b04a16;stroke-dasharray:5 4}.after{stroke:#0b6a5d}.band{fill:#0b6a5d;
opacity:.22}path{fill:none;stroke-width:1.4}figure{margin:1.2rem 0}figcaption{opacity:.75}.bad{color:#b3261e}"""
WIDTH, HEIGHT = 960, 150
DRAWN, SHOWN_PAIRS = 2000, 8
"""Draws of the posterior for the charts, and number of pairs that are shown."""
SECONDS = 20.0
"""Length of the middle part of a motion that a chart shows [s]."""


def identification_page(found: Identification) -> str:
    """Return the self-contained page."""
    f = found.figures()
    units = found.posterior.units(np.random.default_rng(0), DRAWN)
    parts = [
        f"<h1>{escape(found.robot)}: identification from its motion</h1>",
        f"<p>Fitted on {escape(', '.join(found.trained_on))}. Everything below is about held-out motions, "
        f"replayed open loop from first sample to last: {escape(', '.join(found.evaluated_on))}.</p>",
        f"<p><b>{1e3 * f['rmse_after']:.1f} mrad</b> mean error, against {1e3 * f['rmse_before']:.1f} mrad before; "
        f"the 90 % band holds <b>{100 * f['coverage_90']:.0f} %</b> of the samples. {found.candidates} candidates, "
        f"{found.seconds:.0f} s, {found.steps_per_s:,.0f} simulator steps a second.</p>",
        "<p class='bad'>Quick: a first look, whose search may have missed the best.</p>" * found.quick,
        "<h2>The recordings</h2>",
        *_recordings(found),
        "<h2>Joint by joint</h2>",
        _joint_table(found),
        "<h2>Measured and replayed</h2>",
        "<p>Black: measured. Green: replayed by the identified arm, with its 90 % band. Dashed: before.</p>",
    ]
    for replay in found.replays:
        parts += [_curves(found, replay, j) for j in range(len(found.joint_names))]
    parts += [
        "<h2>Parameters</h2>",
        "<p>The line is the prior's range, the green curve the posterior, the dark part of the line its 90 % "
        "interval, the mark the best value. A parameter without a curve is unknown and keeps its prior.</p>",
        _intervals(found, units),
        "<h2>Correlated parameters</h2>",
        _scatters(found, units),
        _pairs(found.posterior.correlations()),
    ]
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>{escape(found.robot)} identified</title><style>{STYLE}</style><body>{''.join(parts)}</body></html>"
    )


def _recordings(found: Identification) -> list[str]:
    lines = [f"<li>{escape(line.strip())}</li>" for i in found.inspections for line in i.lines()]
    left = ", ".join(found.left_out)
    said = f"<p class='bad'>Left out, at their prior: {escape(left)}.</p>" if left else "<p>Nothing was left out.</p>"
    return ["<ul>", *lines, "</ul>", said]


def _joint_table(found: Identification) -> str:
    before = np.mean([j.rmse_before for j in found.replays], axis=0)
    after = np.mean([j.rmse_after for j in found.replays], axis=0)
    inside = np.mean([j.inside for j in found.replays], axis=0)
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{1e3 * b:.1f}</td><td>{1e3 * a:.1f}</td><td>{100 * c:.0f} %</td></tr>"
        for name, b, a, c in zip(found.joint_names, before, after, inside)
    )
    head = "<tr><th>joint</th><th>before [mrad]</th><th>after [mrad]</th><th>samples in the 90 % band</th></tr>"
    return f"<table>{head}{rows}</table>"


def _curves(found: Identification, replay: HeldOutReplay, j: int) -> str:
    middle = len(replay.t) // 2
    half = int(SECONDS / 2 / (replay.t[1] - replay.t[0]))
    rows = slice(max(0, middle - half), middle + half)
    t = replay.t[rows]
    keep = slice(None, None, max(1, len(t) // 500))
    t = t[keep]
    curves = [getattr(replay, k)[rows][keep][:, j] for k in ("measured", "before", "after", "low", "high")]
    low, high = min(c.min() for c in curves), max(c.max() for c in curves)
    span = max(high - low, 1e-3)
    x = (t - t[0]) / max(t[-1] - t[0], 1e-9) * WIDTH
    ys = [HEIGHT - 8 - (c - low) / span * (HEIGHT - 16) for c in curves]
    band = _points(np.concatenate([x, x[::-1]]), np.concatenate([ys[3], ys[4][::-1]]))
    lines = "".join(f"<path class='{k}' d='M{_points(x, y)}'/>" for k, y in zip(("measured", "before", "after"), ys))
    name = escape(f"{replay.name}, {found.joint_names[j]}")
    error = f"{1e3 * replay.rmse_before[j]:.1f} → {1e3 * replay.rmse_after[j]:.1f} mrad"
    return (
        f"<figure><svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{name}: {error}'>"
        f"<polygon class='band' points='{band}'/>{lines}</svg><figcaption>{name}: {error}, {t[0]:.0f} to {t[-1]:.0f} "
        f"s, {low:.2f} to {high:.2f} rad</figcaption></figure>"
    )


def _points(x: np.ndarray, y: np.ndarray) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y))


def _intervals(found: Identification, units: np.ndarray) -> str:
    post = found.posterior
    ends, interval, best = post.quantile_interval(), post.interval(), post.best
    rows = []
    for i, param in enumerate(post.prior.params):
        if param.distribution.kind == "constant":
            continue
        known = post.known[param.name]
        low, high = interval[param.name]
        hill = f"<polygon points='{_hill(units[:, i])}' fill='#0b6a5d' opacity='.45'/>"
        green = (
            f"<rect x='{200 * ends[i, 0]:.1f}' y='31' width='{200 * np.ptp(ends[i]):.1f}' height='3' fill='#0b6a5d'/>"
        )
        mark = f"<rect x='{200 * post.u[i] - 1:.1f}' y='2' width='2' height='32' fill='currentColor'/>"
        bar = f"<rect y='31' width='200' height='3' fill='#8886'/>{hill + green + mark if known else ''}"
        value = f"{best[param.name]:.4g} {escape(param.unit)}" if known else "unknown"
        rows.append(
            f"<tr><td>{escape(param.name)}</td><td><svg style='width:200px' viewBox='0 0 200 36'>{bar}</svg></td>"
            f"<td>{value}</td><td>{low:.4g} to {high:.4g}</td></tr>"
        )
    head = "<tr><th>parameter</th><th>prior and posterior</th><th>best</th><th>90 %</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _hill(values: np.ndarray) -> str:
    """Return the outline of the density of `values` in the unit interval, from y = 30 to 3."""
    counts, edges = np.histogram(values, 80, (0.0, 1.0))
    counts = np.convolve(counts, (0.25, 0.5, 0.25), "same")
    x = 200 * np.concatenate([[0.0], 0.5 * (edges[:-1] + edges[1:]), [1.0]])
    return _points(x, np.concatenate([[30.0], 30 - 27 * counts / max(counts.max(), 1), [30.0]]))


def _scatters(found: Identification, units: np.ndarray) -> str:
    """Draw the most correlated pairs over the prior's range, one dot for each draw."""
    names = found.posterior.prior.names
    pictures = []
    for a, b, correlation in found.posterior.correlations()[:SHOWN_PAIRS]:
        i, j = names.index(a), names.index(b)
        dots = "".join(f"<circle cx='{200 * u:.1f}' cy='{200 - 200 * v:.1f}' r='1.5'/>" for u, v in units[:300, [i, j]])
        label = f"{escape(a)} (across) and {escape(b)} (up): {correlation:+.2f}"
        pictures.append(
            f"<figure style='display:inline-block;width:220px;margin:.4rem'><svg viewBox='-1 -1 202 202' role='img' "
            f"aria-label='{label}'><rect width='200' height='200' fill='none' stroke='#8886'/>"
            f"<g fill='#0b6a5d' opacity='.5'>{dots}</g></svg><figcaption>{label}</figcaption></figure>"
        )
    return "".join(pictures)


def _pairs(pairs: Sequence[tuple[str, str, float]]) -> str:
    if not pairs:
        return "<p>No pair of parameters is correlated by 0.6 or more.</p>"
    rows = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td><td>{c:+.2f}</td></tr>" for a, b, c in pairs[:30])
    return f"<table><tr><th>parameter</th><th>with</th><th>correlation</th></tr>{rows}</table>"
