"""The gap as a page to look at: loads nothing, needs no script."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from adaptation.gap import Factor, LayerGap

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2430;background:#fff}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2.2rem}p{max-width:44rem}
table{border-collapse:collapse;width:100%}td,th{padding:.35rem .6rem;text-align:left;border-bottom:1px solid #dde2ea}
td.n{text-align:right;font-variant-numeric:tabular-nums}figure{display:inline-block;margin:0 1rem 1rem 0}
figure img{width:9.5rem;image-rendering:pixelated;border-radius:4px}figcaption{font-size:.85rem;color:#566}
.out{color:#b3261e;font-weight:600}.in{color:#1b6e3c}
@media (prefers-color-scheme:dark){body{background:#14181f;color:#e4e8ee}td,th{border-color:#333b47}
.out{color:#ff8a80}.in{color:#7fd6a0}figcaption{color:#9aa}}
"""
COVERED = 0.8
"""Share of the target's pictures that a factor must cover to count as covered."""


def gap_page(
    title: str,
    layers: Sequence[LayerGap],
    factors: Sequence[Factor],
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
) -> str:
    """Write the page.

    Args:
        title: which policy against which target.
        layers: from the first to the last.
        factors: the least covered first.
        pairs: target picture and its nearest simulated one, (H, W, 3) RGB uint8.
    """
    missing = [factor for factor in factors if factor.covered < COVERED]
    if missing:
        verdict = "The simulation does not cover the target in " + ", ".join(f.name for f in missing) + "."
    else:
        verdict = "In every factor that is measured, the simulation covers the target."
    last = layers[-1]
    told = f"By the last layer, a line tells the domains apart with an A-distance of {last.a_distance:.2f} out of 2."
    rows = "".join(
        f"<tr><td>{html.escape(g.layer)}</td><td>{_bar(g.a_distance / 2)}</td><td class=n>{g.a_distance:.2f}</td>"
        f"<td class=n>{g.mmd:.3f}</td><td class=n>{g.frechet:.3f}</td></tr>"
        for g in layers
    )
    ranges = "".join(
        f"<tr><td>{html.escape(f.name)}</td><td>{_range(f)}</td>"
        f"<td class={'in' if f.covered >= COVERED else 'out'}>{100 * f.covered:.0f} %</td>"
        f"<td>{html.escape(f.remedy) if f.covered < COVERED else '–'}</td></tr>"
        for f in factors
    )
    figures = "".join(
        f"<figure><img alt='target' src='{_png(there)}'><img alt='nearest simulated' src='{_png(here)}'>"
        "<figcaption>target · nearest simulated</figcaption></figure>"
        for there, here in pairs
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{html.escape(title)}</title><style>{STYLE}</style><h1>{html.escape(title)}</h1>"
        f"<p><strong>{html.escape(verdict)}</strong> {told}</p>"
        f"<h2>What the policy sees as near</h2>{figures}"
        f"<h2>Which randomisation would cover the target</h2><table><tr><th>factor<th>simulation 5–95 % and target"
        f"<th>covered<th>remedy</tr>{ranges}</table>"
        f"<h2>Layer by layer</h2><table><tr><th>layer<th>told apart<th>A-distance<th>MMD²<th>Fréchet</tr>{rows}</table>"
        "</html>\n"
    )


def write_gap_page(path: Path, page: str) -> None:
    """Write the page, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(page)
    draft.replace(path)


def _bar(share: float) -> str:
    width = 160 * min(1.0, max(0.0, share))
    return (
        "<svg width=160 height=12 role=img><title>share of the greatest distance</title>"
        f"<rect width=160 height=12 rx=3 fill='#8884'/><rect width={width:.1f} height=12 rx=3 fill='#3a78c9'/></svg>"
    )


def _range(factor: Factor) -> str:
    """Draw the simulation's range as a band and the target's median as a mark, on an axis that holds both."""
    ends = (factor.low, factor.high, factor.target)
    room = 0.15 * (max(ends) - min(ends) or 1.0)
    start, width = min(ends) - room, max(ends) - min(ends) + 2 * room
    low, high, mark = (260 * (value - start) / width for value in ends)
    return (
        f"<svg width=260 height=18 role=img><title>simulation {factor.low:.2f} to {factor.high:.2f}, "
        f"target {factor.target:.2f}</title><rect y=8 width=260 height=2 fill='#8884'/>"
        f"<rect x={low:.1f} y=5 width={max(1.0, high - low):.1f} height=8 rx=3 fill='#3a78c9'/>"
        f"<circle cx={mark:.1f} cy=9 r=5 fill='#e08a1e'/></svg>"
    )


def _png(image: np.ndarray) -> str:
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return "data:image/png;base64," + base64.b64encode(data.tobytes()).decode()
