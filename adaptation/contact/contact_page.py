"""Report of an identification from contact as one HTML page."""

from __future__ import annotations

from html import escape

from adaptation.contact.object_fit import ObjectEstimate, ObjectIdentification
from adaptation.identification.report import STYLE

LABELS = {"object_mass": "mass", "push_force": "level force of a push", "object_friction": "sliding friction"}


def contact_page(found: ObjectIdentification) -> str:
    """Return the self-contained page."""
    name = escape(found.robot)
    told = "".join(_row(each) for each in found.estimates)
    phases = "".join(
        f"<tr><td>{escape(log)}</td><td>{lifts}</td><td>{pushes}</td><td>{free:.1f}</td><td>{held:.1f}</td>"
        f"<td>{pushed:.1f}</td></tr>"
        for log, lifts, pushes, free, held, pushed in found.phases
    )
    joints = "".join(
        f"<tr><td>{escape(joint)}</td><td>{sigma:.3f}</td></tr>"
        for joint, sigma in zip(found.joint_names, found.sigma.tolist())
    )
    lines = "".join(f"<li>{escape(line.strip())}</li>" for i in found.inspections for line in i.lines())
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>{name}: an object by contact</title><style>{STYLE}</style><body>"
        f"<h1>{name}: mass and friction of an object</h1>"
        "<p>By the arm's torques while it held and pushed the object, against those while it touched nothing. Friction "
        "is the level force of the pushes over what then weighs on the table.</p>"
        f"<table><tr><th>quantity</th><th>value</th><th>90 %</th></tr>{told}</table>"
        "<h2>The recordings</h2><table><tr><th>recording</th><th>lifts</th><th>pushes</th><th>free [s]</th>"
        f"<th>held [s]</th><th>pushed [s]</th></tr>{phases}</table><ul>{lines}</ul>"
        f"<h2>Residuals</h2><table><tr><th>joint</th><th>torque [N·m]</th></tr>{joints}</table></body></html>"
    )


def _row(each: ObjectEstimate) -> str:
    label, unit = LABELS[each.name], f" {escape(each.unit)}" if each.unit else ""
    if not each.told:
        return f"<tr><td>{label}</td><td>not told by these recordings</td><td>{escape(each.why)}</td></tr>"
    return f"<tr><td>{label}</td><td>{each.value:.3g}{unit}</td><td>{each.low:.3g} to {each.high:.3g}</td></tr>"
