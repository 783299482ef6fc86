"""Report of an identification from torques as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from adaptation.identification.report import HEIGHT, STYLE, WIDTH
from adaptation.identification.torque.identification import TorqueIdentification
from adaptation.identification.torque.told import Z90, Estimate

DRAWN = 600
"""Points of a curve."""


def torque_page(found: TorqueIdentification) -> str:
    """Return the self-contained page."""
    name, unknown = escape(found.robot.name), sum(not each.told for each in found.told.parameters)
    lines = [f"<li>{escape(line.strip())}</li>" for i in found.inspections for line in i.lines()]
    n = len(found.robot.joint_names)
    parts = [
        f"<h1>{name}: identification from torques</h1>",
        "<p>Torques are those of the end of each recording, which the fit had not. Every link is a possible body: "
        "positive mass and moments that satisfy the triangle inequality. The identified URDF predicts the fit's "
        f"torques to {found.difference:.1g} N·m. {found.seconds:.1f} s.</p>",
        f"<h2>The recordings</h2><ul>{''.join(lines)}</ul>",
        "<h2>Joint by joint</h2>",
        _joints(found),
        "<h2>Measured and predicted</h2><p>Black: measured. Green: identified. Dashed: the given URDF.</p>",
        *(_curves(found, j) for j in range(n)),
        "<h2>Base parameters</h2><p>Combinations of parameters that torques depend on.</p>",
        _table(found.told.base),
        "<h2>Links and friction</h2>",
        f"<p>{unknown} of {len(found.told.parameters)} are not told by this recording: their posterior is as wide as "
        "the prior. The URDF's values of these are one choice of many that predict the same torques.</p>",
        _table(found.told.parameters),
    ]
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>{name} identified</title><style>{STYLE}</style><body>{''.join(parts)}</body></html>"
    )


def _joints(found: TorqueIdentification) -> str:
    before, after = found.rmse
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{s:.3f}</td><td>{b:.3f}</td><td>{a:.3f}</td></tr>"
        for name, s, b, a in zip(found.robot.joint_names, found.held_out.tau.std(axis=0), before, after)
    )
    head = "<tr><th>joint</th><th>torque [N·m]</th><th>error before</th><th>error after</th></tr>"
    return f"<table>{head}{rows}</table>"


def _curves(found: TorqueIdentification, j: int) -> str:
    rows = slice(None, None, max(1, len(found.held_out.t) // DRAWN))
    curves = {"measured": found.held_out.tau, "before": found.before, "after": found.after}
    values = {name: curve[rows, j] for name, curve in curves.items()}
    low, high = min(v.min() for v in values.values()), max(v.max() for v in values.values())
    x = np.linspace(0, WIDTH, len(values["measured"]))
    lines = ""
    for name, curve in values.items():
        y = HEIGHT - 8 - (curve - low) / max(high - low, 1e-6) * (HEIGHT - 16)
        lines += f"<path class='{name}' d='M{' '.join(f'{a:.1f},{b:.1f}' for a, b in zip(x, y))}'/>"
    label = escape(f"{found.robot.joint_names[j]}, {low:.2f} to {high:.2f} N·m")
    return (
        f"<figure><svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{label}'>{lines}</svg>"
        f"<figcaption>{label}</figcaption></figure>"
    )


def _table(estimates: Sequence[Estimate]) -> str:
    rows = "".join(
        f"<tr><td>{escape(each.name)}</td><td>{each.value:.4g}</td><td>"
        + (f"± {Z90 * each.std:.2g}" if each.told else "not told by this recording")
        + "</td></tr>"
        for each in estimates
    )
    return f"<table><tr><th>parameter</th><th>value</th><th>90 %</th></tr>{rows}</table>"
