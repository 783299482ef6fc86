"""Charts of the failure analysis and of simulated against real success, as SVG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation.report.charts import COLOURS, WIDTH, chart, line, mark, signed, text
from evaluation.report.failure_analysis import FailureFactor
from policies.scoring.intervals import SuccessRate, wilson

CELLS = 3
"""Regions along each side of the workspace."""
FIFTHS = 5


def factor(label: str, found: FailureFactor, colour: int) -> str:
    """Every trial by the factor's value, failures in the upper row, and the share of failures in fifths."""
    values, failed = np.array(found.values), np.array(found.failed)
    left, right, top, bottom = 64.0, WIDTH - 24.0, 24.0, 210.0
    low, high = values.min(), values.max()

    def x(value: float) -> float:
        return left + (right - left) * (value - low) / (high - low)

    def y(share: float) -> float:
        return bottom - 34 - (bottom - top - 68) * share

    body = []
    for share in (0.0, 0.5, 1.0):
        body += [
            line(left, y(share), right, y(share), "grid"),
            text(left - 8, y(share) + 4, f"{100 * share:.0f} %", "end"),
        ]
    for value in np.linspace(low, high, 5):
        body.append(text(x(value), bottom + 18, f"{value:.3g}".replace("-", "−"), "tick"))
    body.append(f'<g class="c{colour % COLOURS}">')
    order = np.argsort(values, kind="stable")
    points = []
    for part in np.array_split(order, FIFTHS):
        rate = wilson(int(failed[part].sum()), len(part))
        at = x(float(np.median(values[part])))
        points.append(f"{at:.1f},{y(rate.estimate):.1f}")
        body.append(line(at, y(rate.low), at, y(rate.high), "whisker"))
        body.append(f'<circle class="dot" cx="{at:.1f}" cy="{y(rate.estimate):.1f}" r="5"/>')
    body.append(f'<polyline class="curve" points="{" ".join(points)}"/>')
    for i, (value, failure) in enumerate(zip(values, failed)):
        nudge = (i * 0.618034 % 1 - 0.5) * 16  # the golden ratio spreads evenly, and always alike
        body.append(mark(x(float(value)), (top if failure else bottom - 8) + nudge, not failure, 3.5))
    body.append("</g>")
    said = (
        f"Share of failures where {found.factor} is lowest: {100 * found.low_third.estimate:.0f} %, "
        f"highest: {100 * found.high_third.estimate:.0f} %."
    )
    return chart(bottom + 28, f"{label}: failures by {found.factor}", said, body)


def regions(
    label: str,
    positions: Sequence[tuple[float, float]],
    successes: Sequence[bool],
    bounds: tuple[float, float, float, float],
    colour: int,
) -> str:
    """The workspace from above in nine regions, each with its failures of trials; x leads away from the base."""
    x_low, x_high, y_low, y_high = bounds
    width, left, top, right = 300.0, 40.0, 14.0, 14.0
    scale = (width - left - right) / max(y_high - y_low, 1e-6)
    depth = min((x_high - x_low) * scale, 400.0)
    cell_w, cell_h = (width - left - right) / CELLS, depth / CELLS
    body, said = [], []
    at = np.array(positions)
    row_of = np.clip(((x_high - at[:, 0]) / max(x_high - x_low, 1e-6) * CELLS).astype(int), 0, CELLS - 1)
    column_of = np.clip(((y_high - at[:, 1]) / max(y_high - y_low, 1e-6) * CELLS).astype(int), 0, CELLS - 1)
    failed = ~np.array(successes)
    for r in range(CELLS):
        for c in range(CELLS):
            here = (row_of == r) & (column_of == c)
            n, k = int(here.sum()), int((here & failed).sum())
            u, v = left + c * cell_w, top + r * cell_h
            box = f'x="{u:.1f}" y="{v:.1f}" width="{cell_w:.1f}" height="{cell_h:.1f}"'
            if n == 0:
                body.append(f'<rect class="empty" {box}/>')
                body.append(text(u + cell_w / 2, v + cell_h / 2 + 5, "no trial", "tick"))
                continue
            body.append(f'<rect class="table" {box}/><rect class="heat" {box} fill-opacity="{0.55 * k / n:.2f}"/>')
            body.append(text(u + cell_w / 2, v + cell_h / 2 + 5, f"{k} / {n}", "strong"))
            if k:
                said.append(f"{('far', 'middle', 'near')[r]} {('left', 'centre', 'right')[c]} {k} of {n}")
    for x in (x_low, (x_low + x_high) / 2, x_high):
        body.append(text(left - 6, top + (x_high - x) / max(x_high - x_low, 1e-6) * depth + 4, signed(x), "tick end"))
    for y in (y_low, (y_low + y_high) / 2, y_high):
        body.append(text(left + (y_high - y) * scale, top + depth + 16, signed(y), "tick"))
    description = "Failures by region: " + (", ".join(said) or "none") + "."
    return chart(top + depth + 24, f"{label}: failures over the workspace", description, body, width)


def scatter_chart(rows: Sequence[tuple[str, SuccessRate, SuccessRate]]) -> str:
    """Real over simulated success, a cross of intervals each."""
    size, left, top = 420.0, 60.0, 16.0

    def x(share: float) -> float:
        return left + size * share

    def y(share: float) -> float:
        return top + size * (1 - share)

    body = [line(x(0), y(0), x(1), y(1), "axis")]
    for share in (0, 0.25, 0.5, 0.75, 1):
        body += [line(x(share), y(0), x(share), y(1), "grid"), line(x(0), y(share), x(1), y(share), "grid")]
        body.append(text(x(share), y(0) + 18, f"{100 * share:.0f} %", "tick"))
        body.append(text(x(0) - 8, y(share) + 4, f"{100 * share:.0f} %", "tick end"))
    body.append(text(x(0.5), y(0) + 38, "in simulation", "tick"))
    body.append(text(x(0.02), y(1) - 4, "on the arm", "tick start"))
    for i, (label, simulated, real) in enumerate(rows):
        u, v = x(simulated.estimate), y(real.estimate)
        body.append(f'<g class="c{i % COLOURS}">')
        body.append(line(x(simulated.low), v, x(simulated.high), v, "whisker"))
        body.append(line(u, y(real.low), u, y(real.high), "whisker"))
        body.append(f'<circle class="dot" cx="{u:.1f}" cy="{v:.1f}" r="7"/></g>')
        # To the right of the square, one line each: names beside the dots would cover each other
        body.append(f'<circle class="dot c{i % COLOURS}" cx="{x(1) + 28:.1f}" cy="{top + 20 + 24 * i:.1f}" r="6"/>')
        body.append(text(x(1) + 42, top + 24 + 24 * i, label, "name start"))
    said = "; ".join(
        f"{label}: {100 * s.estimate:.0f} % in simulation, {100 * r.estimate:.0f} % on the arm" for label, s, r in rows
    )
    return chart(top + size + 44, "Success on the arm over success in simulation", said, body)
