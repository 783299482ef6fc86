"""The twin's page: what is known, what is not told, what is next, how it was judged, what it changes for a policy."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from evaluation.report import charts as svg
from evaluation.report.markup import panel, percent, row, span, table
from evaluation.report.stylesheet import CSS
from policies.scoring.intervals import SuccessRate, wilson
from sim2real.twin.folder import JUDGE, TwinFolder

PLACES = {"old_ranges": "in the old ranges", "new_ranges": "in the new ranges", "virtual_arm": "on the virtual arm"}
"""Where policies were tried, by the state's key."""
LABELS = {"old": "trained in the old ranges", "new": "trained in the new ranges"}
NOT_TOLD = "not told by these recordings"
PREDICTED = 12
"""Parameters in the table of what the next motion is predicted to narrow."""


def twin_page(twin: TwinFolder, robot: str, steps: Sequence[str]) -> str:
    """Return the self-contained page; `steps` is what the operator does next, commands beginning with `sim2real`."""
    state = twin.state
    sections = [("next", "Next", _next(twin, steps))]
    if state.fits:
        sections += [
            ("judged", "Judged on the motion left out", _judged(state.fits, state.plans)),
            ("known", "What is known", _parameters(state.fits)),
        ]
    if found := state.policies.get(str(len(state.fits))):
        sections.append(("policies", "What it changes for a policy", _policies(found)))
    sections.append(("recordings", "Recordings", _recordings(twin)))
    links = "".join(f'<li><a href="#{anchor}">{escape(heading)}</a></li>' for anchor, heading, _ in sections)
    body = "".join(
        f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{escape(heading)}</h2>{content}</section>'
        for anchor, heading, content in sections
    )
    title = f"Twin of {robot}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body>"
        '<a class="skip" href="#main">Skip to the results</a><div class="page">'
        f'<header><p class="kicker">sim2real twin</p><h1>{escape(title)}</h1>'
        f'<p class="headline">{escape(_headline(state.fits))}</p>'
        f'<nav aria-label="Contents"><ul>{links}</ul></nav></header><main id="main">{body}</main>'
        "<footer>Ranges are 90 % intervals. This page loads nothing from the network.</footer></div></body></html>\n"
    )


def policy_rows(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return policy, place and success with its interval, of every trial series."""
    return [(name, place, _rate_text(rate)) for name, place, rate in _rates(found)]


def _rates(found: dict[str, Any]) -> list[tuple[str, str, SuccessRate]]:
    return [
        (name, place, wilson(counts["successes"], counts["trials"]))
        for key, place in PLACES.items()
        for name, counts in found.get(key, {}).items()
    ]


def _rate_text(rate: SuccessRate) -> str:
    return f"{rate.successes} of {rate.trials} ({percent(rate.estimate)}, {span(rate.low, rate.high)})"


def _headline(fits: Sequence[dict]) -> str:
    if not fits:
        return "Nothing is known yet: no motion was recorded and fitted."
    fit = fits[-1]
    known = sum(fit["known"].values())
    return (
        f"Of {len(fit['known'])} parameters the recordings tell {known}; their ranges are {percent(fit['shrunk'])} "
        f"narrower (median). A motion that no fit had is predicted to {1e3 * fit['rmse_after']:.1f} mrad "
        f"({1e3 * fit['rmse_before']:.1f} before), {percent(fit['coverage_90'])} of it inside the 90 % band."
        + (" Quick fits, which may have missed the best." if fit["quick"] else "")
    )


def _next(twin: TwinFolder, steps: Sequence[str]) -> str:
    parts = []
    for step in steps:
        if step.startswith("sim2real "):
            parts.append(f"<pre><code>{escape(step)}</code></pre>")
        else:
            parts.append(f"<p>{escape(step[0].upper() + step[1:])}.</p>")
    state = twin.state
    name = str(len(state.fits) + 1)
    plan = state.plans.get(name)
    if plan and name not in state.recordings and "narrowed" in plan:
        rows = [row(escape(each), [f"× {factor:.2f}"]) for each, factor in list(plan["narrowed"].items())[:PREDICTED]]
        parts.append(table(("parameter", "width"), rows, f"Motion {name}, {plan['chosen']}: prediction."))
        if told := plan["newly_told"]:
            parts.append(f"<p>Predicted to be told for the first time: {escape(', '.join(told))}.</p>")
    return "".join(parts)


def _judged(fits: Sequence[dict], plans: dict[str, dict]) -> str:
    rounds = [
        row(
            f'<a href="fits/{k + 1}.html">{k + 1}</a>',
            [
                f"{1e3 * fit['rmse_before']:.1f}",
                f"{1e3 * fit['rmse_after']:.1f}",
                percent(fit["coverage_90"]),
                f"{sum(fit['known'].values())} of {len(fit['known'])}",
                percent(fit["shrunk"]),
                _prediction(fits[k - 1], fit, plans.get(str(k + 1), {})) if k else "–",
            ],
        )
        for k, fit in enumerate(fits)
    ]
    columns = (
        "fit to motions up to",
        "before [mrad]",
        "after [mrad]",
        "in the 90 % band",
        "told",
        "narrower",
        "width by the last motion, predicted and found",
    )
    last = fits[-1]
    joints = [
        row(escape(joint), [f"{1e3 * error:.1f}", percent(last["coverage_by_joint"][joint])])
        for joint, error in last["rmse_by_joint"].items()
    ]
    return table(columns, rounds, "Each fit, replayed open loop over the motion that judges.") + table(
        ("joint", "error [mrad]", "in the 90 % band"), joints, "The newest fit, joint by joint."
    )


def _prediction(before: dict, after: dict, plan: dict) -> str:
    """Return the median factors on the widths that a motion was predicted to narrow: predicted, and found."""
    narrowed = {name: factor for name, factor in plan.get("narrowed", {}).items() if name in after["std"]}
    if not narrowed:
        return "–"
    found = [after["std"][name] / before["std"][name] for name in narrowed]
    return f"× {np.median(list(narrowed.values())):.2f}, × {np.median(found):.2f}"


def _parameters(fits: Sequence[dict]) -> str:
    last = fits[-1]
    rows = []
    for name, known in sorted(last["known"].items(), key=lambda pair: (not pair[1], last["width"][pair[0]])):
        low, high = last["prior_90"][name]
        now = last["interval_90"][name]
        history = " → ".join(percent(1 - fit["width"][name]) if fit["known"][name] else "–" for fit in fits)
        found = f"{now[0]:.4g} to {now[1]:.4g} {last['units'][name]}".strip() if known else NOT_TOLD
        rows.append(row(escape(name), [f"{low:.4g} to {high:.4g}", found, history]))
    left = ""
    if last["left_out"]:
        left = f"<p>Left out, at their prior: {escape(', '.join(last['left_out']))}.</p>"
    caption = "How much narrower each range has become, fit by fit; – where it keeps its prior."
    return left + table(("parameter", "before", "now", "narrower by"), rows, caption)


def _policies(found: dict[str, Any]) -> str:
    rates = _rates(found)
    chart = svg.forest([(f"{name}, {place}", rate) for name, place, rate in rates])
    rows = [row(escape(LABELS.get(name, name)), [place, _rate_text(rate)]) for name, place, rate in rates]
    text = ""
    if change := found.get("change"):
        clear = change["low"] > 0 or change["high"] < 0
        text = (
            f"<p>Training in the new ranges changes success there by {100 * change['points']:+.0f} points (95 % "
            f"interval {100 * change['low']:+.0f} to {100 * change['high']:+.0f}), from the same places"
            f"{'' if clear else ': these trials do not show a difference'}.</p>"
        )
    caption = "Strict success in trials, with 95 % Wilson intervals."
    return text + panel("Success", chart, caption) + table(("policy", "where", "success"), rows, caption)


def _recordings(twin: TwinFolder) -> str:
    state, parts = twin.state, []
    for name, plan in state.plans.items():
        lines = state.recordings.get(name) or [f"refused: {text}" for text in state.refused.get(name, ())]
        said = "".join(f"<li>{escape(line.strip())}</li>" for line in lines or ["not recorded yet"])
        use = "judges; no fit has it" if name == JUDGE else "fitted"
        about = f"{plan['seconds']:.0f} s, {plan['chosen']}; nearest: {plan['nearest']}"
        parts.append(f"<h3>Motion {escape(name)}: {use}</h3><p>{escape(about)}</p><ul>{said}</ul>")
    return "".join(parts) or "<p>None.</p>"
