"""The gap report as a self-contained HTML page without scripts."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from adaptation.gap.camera_gap import CameraGap, Plane
from adaptation.gap.image_gap import Factor
from robots.host.writing import write_text

STYLE = """
:root{--ink:#18212d;--soft:#5a6675;--line:#dfe4ec;--card:#f6f8fb;--sim:#3a78c9;--real:#d9771a;
--bad:#b3261e;--good:#1b6e3c}
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1.2rem;color:var(--ink);
background:#fff}
h1{font-size:1.7rem;margin:0 0 .3rem}h2{font-size:1.3rem;margin:2.8rem 0 .4rem}h3{font-size:1.1rem;margin:2rem 0 .4rem}
p{max-width:46rem;margin:.3rem 0 1rem}
.soft{color:var(--soft)}.sim{color:var(--sim)}.real{color:var(--real)}.sim,.real{font-weight:600}
.verdict{font-size:1.15rem;border-left:5px solid var(--real);padding:.4rem 1rem;background:var(--card)}
.pairs{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:1.1rem}
.pairs figure{margin:0;background:var(--card);border-radius:8px;padding:.6rem}
.pairs div{display:grid;grid-template-columns:1fr 1fr;gap:.4rem}
.pairs img{width:100%;image-rendering:pixelated;border-radius:5px;display:block}
figcaption{font-size:.85rem;color:var(--soft);display:grid;grid-template-columns:1fr 1fr;gap:.4rem}
.factors{display:grid;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));gap:1.1rem}
.factors article{background:var(--card);border-radius:8px;padding:.7rem .9rem}
.factors h4{margin:0;font-size:1rem;display:flex;justify-content:space-between;gap:.5rem}
.factors p{margin:.2rem 0 0;font-size:.9rem}
svg{width:100%;height:auto;display:block}table{border-collapse:collapse;width:100%}
td,th{padding:.35rem .6rem;text-align:left;border-bottom:1px solid var(--line)}
td.n{text-align:right;font-variant-numeric:tabular-nums}.out{color:var(--bad);font-weight:600}.in{color:var(--good);font-weight:600}
@media (prefers-color-scheme:dark){:root{--ink:#e4e8ee;--soft:#9fabba;--line:#333b47;--card:#1d232d;--sim:#7fb0f0;
--real:#f2a65a;--bad:#ff8a80;--good:#7fd6a0}body{background:#14181f}}
"""
BINS = 24


def gap_page(title: str, cameras: Sequence[CameraGap]) -> str:
    """Write the page: which policy against which target, and a section for each of the `cameras`."""
    several = len(cameras) > 1
    named: dict[str, list[str]] = {"covered": [], "not covered": [], "not told": []}
    for each in cameras:
        for factor in (*each.factors, *each.poses):
            suffix = f" ({each.camera})" if several and factor in each.factors else ""
            named[factor.verdict].append(f"{factor.name}{suffix}")
    missing, untold = named["not covered"], named["not told"]
    verdict = f"The simulation does not cover the target in {', '.join(missing)}." if missing else ""
    if untold:
        verdict += f" This recording does not tell of {', '.join(untold)}."
    if not missing and not untold:
        verdict = "In every factor that is measured, the simulation covers the target."
    verdict = verdict.strip()
    separation = ", ".join(
        f"{each.layers[-1].a_distance:.2f}{f' ({each.camera})' if several else ''}" for each in cameras
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{html.escape(title)}</title><style>{STYLE}</style><main><h1>{html.escape(title)}</h1>"
        f"<p class=verdict><strong>{html.escape(verdict)}</strong><br>A-distance of the domains in the last layer's "
        f"features, out of 2: {html.escape(separation)}.</p>{''.join(map(_section, cameras))}</main></html>\n"
    )


def _section(gap: CameraGap) -> str:
    figures = "".join(
        f"<figure><div><img alt='target' src='{_png(there)}'><img alt='nearest simulated' src='{_png(here)}'></div>"
        "<figcaption><span class=real>target</span><span class=sim>nearest simulated</span></figcaption></figure>"
        for there, here in gap.pairs
    )
    rows = "".join(
        f"<tr><td>{html.escape(each.layer)}</td><td>{_bar(each.a_distance / 2)}</td>"
        f"<td class=n>{each.a_distance:.2f}</td><td class=n>{each.mmd:.3f}</td><td class=n>{each.frechet:.3f}</td></tr>"
        for each in gap.layers
    )
    pose = ""
    if gap.poses:
        pose = (
            "<h3>Camera pose and lens</h3><p class=soft>Ranges of the simulation, and the target's camera, "
            f"estimated from landmarks in its images, with its uncertainty. {html.escape(_evidence(gap))}</p>"
            f"<section class=factors>{''.join(map(_card, gap.poses))}</section>"
        )
    clouds = ""
    if gap.plane is not None:
        clouds = (
            "<h3>Features of the last layer</h3><p class=soft>One point for each image. Across: difference of the "
            f"domains' means; up: largest variation of the rest.</p>{_clouds(gap.plane)}"
        )
    return (
        f"<section><h2>Camera {html.escape(gap.camera)}</h2>"
        "<h3>Nearest simulated images</h3><p class=soft>Each <span class=real>target</span> image beside "
        f"the <span class=sim>simulated</span> one whose features are nearest.</p><section class=pairs>{figures}"
        "</section><h3>Coverage by the randomisation</h3><p class=soft>Distributions of the images: "
        "<span class=sim>simulated</span>, and the <span class=real>target's</span>.</p>"
        f"<section class=factors>{''.join(map(_card, gap.factors))}</section>{pose}{clouds}"
        "<h3>Layer by layer</h3><table><tr><th>layer<th>separation<th>A-distance<th>MMD²<th>Fréchet</tr>"
        f"{rows}</table></section>"
    )


def _evidence(gap: CameraGap) -> str:
    if gap.evidence is None:
        return ""
    return f"Not told: {gap.unknown}." if gap.unknown else f"Median distances: {gap.evidence.text}."


def write_gap_page(path: Path, page: str) -> None:
    """Write the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page)


def _card(factor: Factor) -> str:
    advice = {"covered": "covered", "not covered": factor.remedy, "not told": factor.unknown}[factor.verdict]
    colour = {"covered": "in", "not covered": "out", "not told": "soft"}[factor.verdict]
    share = f"{100 * factor.covered:.0f} %" if factor.verdict != "not told" else "not told"
    return (
        f"<article><h4>{html.escape(factor.name)}<span class={colour}>{share}</span></h4>{_histograms(factor)}"
        f"<p class=soft>{html.escape(advice)}</p></article>"
    )


def _histograms(factor: Factor) -> str:
    """Draw both distributions, the simulation's above the axis and the target's below."""
    width, half = 320, 44
    simulated, measured = (np.array(v, float) for v in (factor.simulated, factor.measured))
    both = np.concatenate([simulated, measured, [factor.low, factor.high, factor.target]])
    low, high = float(both.min()), float(both.max())
    room = 0.04 * (high - low or 1.0)
    edges = np.linspace(low - room, high + room, BINS + 1)
    bars = ""
    for values, colour, up in ((simulated, "--sim", True), (measured, "--real", False)):
        if not len(values):
            continue
        count = np.histogram(values, edges)[0]
        for i, share in enumerate(count / count.max()):
            tall = share * (half - 4)
            y = half - tall if up else half + 1
            bars += (
                f"<rect x={width * i / BINS:.1f} y={y:.1f} width={width / BINS - 1:.1f} height={tall:.1f} "
                f"fill='var({colour})'/>"
            )
    span = edges[-1] - edges[0]
    a, b, mark = (width * (value - edges[0]) / span for value in (factor.low, factor.high, factor.target))
    return (
        f"<svg viewBox='0 0 {width} {2 * half + 14}' role=img><title>{html.escape(factor.name)}: simulation "
        f"{factor.low:.3g} to {factor.high:.3g}, target {factor.target:.3g}</title>{bars}"
        f"<rect x={a:.1f} y={half - 1} width={max(2.0, b - a):.1f} height=3 fill='var(--sim)'/>"
        f"<circle cx={mark:.1f} cy={half + 0.5} r=4.5 fill='var(--real)'/>"
        f"<text x=0 y={2 * half + 12} font-size=11 fill='var(--soft)'>{edges[0]:.3g}</text>"
        f"<text x={width} y={2 * half + 12} font-size=11 fill='var(--soft)' text-anchor=end>{edges[-1]:.3g}</text>"
        "</svg>"
    )


def _clouds(plane: Plane) -> str:
    width, height, rim = 760, 300, 14
    both = np.concatenate(plane)
    low = both.min(0)
    span = np.where(np.ptp(both, axis=0) > 0, np.ptp(both, axis=0), 1.0)
    dots = ""
    for points, colour in zip(plane, ("--sim", "--real")):
        at = rim + (points - low) / span * (np.array([width, height]) - 2 * rim)
        dots += "".join(
            f"<circle cx={x:.1f} cy={height - y:.1f} r=4 fill='var({colour})' fill-opacity=.55 />" for x, y in at
        )
    return f"<svg viewBox='0 0 {width} {height}' role=img><title>simulated and target pictures</title>{dots}</svg>"


def _bar(share: float) -> str:
    width = 160 * min(1.0, max(0.0, share))
    return (
        "<svg viewBox='0 0 160 12' style='width:10rem' role=img><title>share of the greatest distance</title>"
        f"<rect width=160 height=12 rx=3 fill='#8884'/><rect width={width:.1f} height=12 rx=3 fill='var(--sim)'/></svg>"
    )


def _png(image: np.ndarray) -> str:
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return "data:image/png;base64," + base64.b64encode(data.tobytes()).decode()
