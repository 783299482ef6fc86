"""The report's charts, as small hand-written SVG.

Inline SVG takes its colours from the page, so one chart serves light and dark, and its text can be read,
searched and spoken. Colours are the stylesheet's classes `c0`, `c1`, … (one per policy); success and
failure differ in shape as well as in colour.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from html import escape

import numpy as np

from evaluation.session.trials import LATENCY_EDGES, LatencySummary
from policies.scoring.intervals import SuccessRate

WIDTH = 720
COLOURS = 6
"""How many `c…` classes the stylesheet has; further policies start over."""

_numbers = itertools.count(1)


def chart(height: float, title: str, description: str, body: Sequence[str], width: float = WIDTH) -> str:
    """Wrap drawn elements as an accessible image: `title` is its name, `description` says what it shows."""
    n = next(_numbers)  # ids must be unique within the page that the charts end up in
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-labelledby="t{n} d{n}">'
        f'<title id="t{n}">{escape(title)}</title><desc id="d{n}">{escape(description)}</desc>'
        f"{''.join(body)}</svg>"
    )


def forest(rows: Sequence[tuple[str, SuccessRate]]) -> str:
    """Success rates as dots on a line for the interval, one row per policy."""
    left, right, top, step = _margin([label for label, _ in rows]), WIDTH - 24.0, 12.0, 46.0
    bottom = top + step * len(rows)

    def x(share: float) -> float:
        return left + (right - left) * share

    body = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        body.append(line(x(share), top, x(share), bottom, "grid"))
        body.append(text(x(share), bottom + 18, f"{100 * share:.0f} %", "tick"))
    for i, (label, rate) in enumerate(rows):
        y, colour = top + step * (i + 0.5), _colour(i)
        body.append(text(left - 14, y + 4, label, "name end"))
        body.append(f'<g class="{colour}">')
        body.append(line(x(rate.low), y, x(rate.high), y, "whisker"))
        body += [line(x(end), y - 6, x(end), y + 6, "whisker") for end in (rate.low, rate.high)]
        body.append(f'<circle class="dot" cx="{x(rate.estimate):.1f}" cy="{y:.1f}" r="7"/></g>')
    said = "; ".join(
        f"{label}: {100 * r.estimate:.0f} %, {100 * r.low:.0f} to {100 * r.high:.0f} %" for label, r in rows
    )
    return chart(bottom + 28, "Success rate per policy with its interval", said, body)


def distances(rows: Sequence[tuple[str, np.ndarray, np.ndarray]], radius: float | None) -> str:
    """Final distances on a logarithmic axis: a dot per trial, a bar at the median, a line at the radius.

    Args:
        rows: label, distances [m], successes (bool), for each policy.
        radius: distance that counts as reached [m].
    """
    left, right, top, step = _margin([label for label, _, _ in rows]), WIDTH - 24.0, 26.0, 58.0
    bottom = top + step * len(rows)
    everything = np.concatenate([d for _, d, _ in rows] + [np.array([radius or 0.03])])
    low = max(1e-3, 0.8 * everything.min())
    high = max(1.3 * everything.max(), 10 * low)

    def x(distance: float) -> float:
        share = np.log(max(distance, low) / low) / np.log(high / low)
        return left + (right - left) * float(share)

    body = []
    for tick in _log_ticks(low, high):
        body.append(line(x(tick), top, x(tick), bottom, "grid"))
        body.append(text(x(tick), bottom + 18, f"{100 * tick:g} cm", "tick"))
    if radius is not None:
        body.append(line(x(radius), top - 6, x(radius), bottom, "limit"))
        body.append(text(x(radius), top - 11, f"reached: {100 * radius:g} cm", "tick"))
    for i, (label, values, successes) in enumerate(rows):
        y = top + step * (i + 0.5)
        body.append(text(left - 14, y + 4, label, "name end"))
        body.append(f'<g class="{_colour(i)}">')
        # Spread by the golden ratio: even, and the same in every rendering.
        offsets = (np.arange(len(values)) * 0.618034 % 1 - 0.5) * (step - 26)
        for value, offset, success in zip(values, offsets, successes):
            body.append(mark(x(value), y + float(offset), bool(success), 4.0))
        body.append(line(x(float(np.median(values))), y - 20, x(float(np.median(values))), y + 20, "median"))
        body.append("</g>")
    said = "; ".join(f"{label}: median {100 * np.median(d):.1f} cm, n = {len(d)}" for label, d, _ in rows)
    return chart(bottom + 28, "Final distance to the goal per policy", said, body)


def workspace(
    label: str,
    position: Sequence[tuple[float, float]],
    successes: Sequence[bool],
    bounds: tuple[float, float, float, float],
    colour: int,
) -> str:
    """Map of the initial positions as seen from behind the arm: x away from its base, y to the left.

    Args:
        label: the policy.
        position: (x, y) in the base frame [m].
        successes: one per position.
        bounds: x low, x high, y low, y high of the workspace [m].
        colour: number of the policy.
    """
    x_low, x_high, y_low, y_high = bounds
    width, margin_left, margin, margin_bottom = 300.0, 40.0, 14.0, 24.0
    scale = (width - margin_left - margin) / max(y_high - y_low, 1e-6)
    depth = (x_high - x_low) * scale
    left, top = margin_left, margin

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (y_high - y) * scale, top + (x_high - x) * scale

    body = [
        f'<rect class="table" x="{left:g}" y="{top:g}" '
        f'width="{(y_high - y_low) * scale:.1f}" height="{depth:.1f}" rx="4"/>'
    ]
    for x_tick in (x_low, (x_low + x_high) / 2, x_high):
        body.append(text(left - 6, place(x_tick, y_high)[1] + 4, signed(x_tick), "tick end"))
    for y_tick in (y_low, (y_low + y_high) / 2, y_high):
        body.append(text(place(x_low, y_tick)[0], top + depth + 16, signed(y_tick), "tick"))
    body.append(f'<g class="{_colour(colour)}">')
    # Failures last: they are the few that must not be hidden.
    for (px, py), success in sorted(zip(position, successes), key=lambda item: not item[1]):
        u, v = place(px, py)
        body.append(mark(u, v, success, 5.0))
    body.append("</g>")
    failed = [f"({x:.2f}, {y:.2f})" for (x, y), success in zip(position, successes) if not success]
    said = f"{len(position) - len(failed)} of {len(position)} positions succeeded."
    if failed:
        said += f" Failed at x, y in metres: {', '.join(failed)}."
    return chart(top + depth + margin_bottom, f"{label}: where the object stood", said, body, width)


def latency(summary: LatencySummary, deadline: float | None) -> str:
    """Histogram of the loop's latency on a logarithmic axis with p50, p99 and the deadline."""
    counts = np.zeros(len(LATENCY_EDGES) - 1)
    for edge, count in summary.histogram:
        counts[edge] = count
    counts = counts.reshape(-1, 2).sum(axis=1)  # 20 bars a decade
    edges = LATENCY_EDGES[::2]
    filled = np.flatnonzero(counts)
    if len(filled) == 0:
        raise ValueError("latency: the histogram is empty; make it with `LatencySummary.of`")
    low, high = edges[max(filled[0] - 2, 0)], edges[min(filled[-1] + 3, len(edges) - 1)]
    if deadline is not None:
        high = max(high, 1.4 * deadline)
    left, right, top, bottom = 24.0, WIDTH - 24.0, 44.0, 220.0

    def x(seconds: float) -> float:
        return left + (right - left) * float(np.log(seconds / low) / np.log(high / low))

    body = []
    for tick in _log_ticks(low, high):
        body.append(line(x(tick), top, x(tick), bottom, "grid"))
        body.append(text(x(tick), bottom + 18, f"{1e3 * tick:g} ms", "tick"))
    for i in filled:
        height = (bottom - top) * counts[i] / counts.max()
        body.append(
            f'<rect class="bar" x="{x(edges[i]) + 0.5:.1f}" y="{bottom - height:.1f}" '
            f'width="{x(edges[i + 1]) - x(edges[i]) - 1:.1f}" height="{height:.1f}"/>'
        )
    body.append(line(left, bottom, right, bottom, "axis"))
    marks = [("p50", summary.p50, "median"), ("p99", summary.p99, "median")]
    if deadline is not None:
        marks.append(("deadline", deadline, "limit"))
    for row, (name, value, kind) in enumerate(marks):
        body.append(line(x(value), top - 6, x(value), bottom, kind))
        side = "end" if x(value) > WIDTH * 0.6 else "start"
        nudge = -6 if side == "end" else 6
        y = 16 + 14 * (row % 2)  # neighbours on two lines, so that close values stay legible
        body.append(text(x(value) + nudge, y, f"{name} {1e3 * value:#.3g} ms", f"tick strong {side}"))
    said = f"{summary.count} cycles: median {1e3 * summary.p50:.3g} ms, 99 % within {1e3 * summary.p99:.3g} ms."
    return chart(bottom + 28, "Loop latency", said, body)


def _margin(labels: Sequence[str]) -> float:
    """Room for the longest label: SVG does not measure text, 9 units a letter is generous at 14 px."""
    return 30 + 9.0 * max(8, *(len(label) for label in labels))


def _colour(i: int) -> str:
    return f"c{i % COLOURS}"


def mark(x: float, y: float, success: bool, r: float) -> str:
    """A dot for a success, a cross for a failure."""
    if success:
        return f'<circle class="hit" cx="{x:.1f}" cy="{y:.1f}" r="{r:g}"/>'
    d = f"M{x - r:.1f} {y - r:.1f}l{2 * r:g} {2 * r:g}m0 {-2 * r:g}l{-2 * r:g} {2 * r:g}"
    return f'<path class="miss" d="{d}"/>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A line of the stylesheet class `kind`."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(x: float, y: float, content: str, kind: str) -> str:
    """A piece of text of the stylesheet class `kind`."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(content)}</text>'


def signed(value: float) -> str:
    """A coordinate with a true minus sign."""
    return f"{value + 0.0:.2f}".replace("-", "−")


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each decade within [low, high]; only the 1s where that would be crowded."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [float(f"{m}e{d}") for d in decades for m in (1, 2, 5) if low <= float(f"{m}e{d}") <= high]
    if len(ticks) > 9:
        ticks = [tick for tick in ticks if f"{tick:e}".startswith("1")]
    return ticks
