"""The demo's report: both sessions of trials as one, the story as it went, and what changed in between."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluation.report.data import DataTable
from evaluation.session.results import policy_results
from evaluation.session.trials import Trial
from robots.host.reading import read_arrays
from robots.host.writing import write_arrays
from ros_nodes.session.virtual_report import ReportNotes
from ros_nodes.session.virtual_session import SessionResult
from sim.virtual_arm.changed_reality import light_text
from sim.virtual_arm.hidden_reality import HiddenReality
from sim2real.demo.options import DemoOptions

KNOCKED = "randomised_knocked"
"""Name in the report of the randomised policy after the cameras were knocked."""
RENAMED = {"randomised": KNOCKED}
"""Policies of the second session that the first one had too."""
DESCRIPTIONS = {
    "nominal": "Trained in simulation without randomisation.",
    "randomised": "Trained under full randomisation of looks, camera and dynamics.",
    KNOCKED: "The randomised policy after the cameras were knocked and the light changed.",
    "adapted": "The randomised policy after adaptation to unlabelled frames taken there; tried there, too.",
}


def joined(before: SessionResult, after: SessionResult, target: Path, out: Path) -> SessionResult:
    """Return both sessions as one, in which the randomised policy is called `KNOCKED` after the knock.

    Args:
        before, after: the sessions; both have the same places.
        target: frames that were adapted to.
        out: the demo's folder; gets the latencies of both.
    """

    def video(key: str) -> str:
        policy, index = key.rsplit("_", 1)
        return f"{RENAMED.get(policy, policy)}_{index}"

    latencies = [read_arrays(each.latencies, "latencies") for each in (before, after) if each.latencies is not None]
    file = out / "latency.npz"
    if latencies:
        write_arrays(file, {key: np.concatenate([each[key] for each in latencies]) for key in latencies[0]})
    return replace(
        before,
        trials=(
            *before.trials,
            *(replace(trial, policy=RENAMED.get(trial.policy, trial.policy)) for trial in after.trials),
        ),
        seconds_per_trial=(before.seconds_per_trial + after.seconds_per_trial) / 2,
        images=target,
        videos={**before.videos, **{video(key): path for key, path in after.videos.items()}},
        latencies=file if latencies else None,
    )


def report_notes(
    config: DemoOptions,
    trials: Sequence[Trial],
    realities: tuple[HiddenReality, HiddenReality],
    adaptation: dict,
    out: Path,
    minutes: Mapping[str, float],
    wall_time: float,
) -> ReportNotes:
    """Return what the report holds beside the trials.

    Args:
        config: of the demo.
        trials: of both sessions, as `joined` returns them.
        realities: before and after the cameras were knocked.
        adaptation: the report of 'sim2real adapt'.
        out: the demo's folder.
        minutes: that each part took.
        wall_time: of everything [s].
    """
    return ReportNotes(
        title="From simulation to a driven arm",
        headline=_headline(config, trials, adaptation),
        descriptions={**DESCRIPTIONS, "adapted": f"{DESCRIPTIONS['adapted']} Method: {adaptation['chosen']}."},
        tables=(
            _change_table(*realities),
            _adaptation_table(adaptation),
            _training_table(out),
            _time_table(minutes),
        ),
        shortcomings=_shortcomings(adaptation),
        commands=(f"sim2real demo --task {config.task} --seed {config.seed}",),
        wall_time=wall_time,
    )


def _headline(config: DemoOptions, trials: Sequence[Trial], adaptation: dict) -> str:
    """Tell the story in three sentences, as it went."""
    rates = {result.policy: f"{result.rate.successes} of {result.rate.trials}" for result in policy_results(trials)}
    nominal, randomised, knocked, adapted = (rates.get(name, "none that count") for name in DESCRIPTIONS)
    outcome = (
        f"No candidate for an adaptation won; the unchanged policy, tried again, succeeded in {adapted}."
        if adaptation["chosen"] == "source-only"
        else f"After adaptation to {adaptation['frames']} unlabelled frames ({adaptation['chosen']}): {adapted}."
    )
    knock = f"knocked by {100 * config.knock_shift:g} cm and {config.knock_turn:g}°"
    return (
        f"On the virtual arm the policy trained without randomisation succeeded in {nominal} trials, the randomised "
        f"one in {randomised}; after its cameras were {knock} and the light changed, in {knocked}. {outcome}"
    )


def _change_table(reality: HiddenReality, changed: HiddenReality) -> DataTable:
    def pose(hidden: HiddenReality) -> str:
        shift = ", ".join(f"{100 * value:+.1f}" for value in hidden.camera.position_offset)
        turn = ", ".join(f"{value:+.1f}" for value in hidden.camera.rotation_offset_deg)
        return f"({shift}) cm, ({turn})°"

    return DataTable(
        "What changed",
        "In the virtual lab, between the two sessions of trials; the policies' inputs are images and joints only.",
        ("what", "before", "after"),
        (
            ("first camera, off its nominal pose", pose(reality), pose(changed)),
            ("strength of the lights", light_text(reality.scene), light_text(changed.scene)),
        ),
    )


def _adaptation_table(report: dict) -> DataTable:
    rows = []
    for method, figures in report["candidates"].items():
        found = ", ".join(
            f"camera {name} moved {100 * moved['shift_m']:.1f} cm, {moved['turn_deg']:.1f}°"
            for name, moved in figures.get("cameras", {}).items()
            if "shift_m" in moved
        )
        chosen = "chosen" if method == report["chosen"] else ""
        errors = (f"{1000 * figures[name]:.1f} mm" for name in ("scatter", "misplaced"))
        rows.append((method, *errors, found, chosen))
    return DataTable(
        "Adaptation",
        f"Candidates on {report['frames']} unlabelled frames of {report['trials']} trials: how far the "
        "estimated goal wanders while the real one stands still, and how far the arm is from where the policy's "
        "cameras should show it, on trials held out. Smaller is better.",
        ("method", "scatter", "arm misplaced", "found", ""),
        tuple(rows),
    )


def _training_table(out: Path) -> DataTable:
    rows = []
    for name in ("nominal", "randomised"):
        metrics = json.loads((out / name / "metrics.json").read_text())
        perception, evaluation = metrics["perception"], metrics["evaluation"]
        rows.append(
            (
                name,
                f"{100 * evaluation['success']:.0f} %",
                f"{perception['keypoint_px'][0]:.2f} px",
                f"{perception['goal_cm']:.1f} cm",
                f"{perception['goal_cm_p90']:.1f} cm",
            )
        )
    return DataTable(
        "Training",
        "On views and episodes held out of each policy's own training distribution.",
        ("policy", "success there", "object in the image", "goal, median error", "goal, 90th percentile"),
        tuple(rows),
    )


def _time_table(minutes: Mapping[str, float]) -> DataTable:
    rows = tuple((name, f"{value:.1f}") for name, value in minutes.items())
    return DataTable("Time", "Wall time of each part.", ("part", "minutes"), rows)


def _shortcomings(adaptation: dict) -> tuple[str, ...]:
    notes = ["The virtual arm is a simulation in another engine: what survives here is not yet what survives in a lab."]
    if adaptation["chosen"] == "source-only":
        notes.append("No adaptation beat source-only on held-out frames: 'adapted' is the randomised policy itself.")
    return tuple(notes)
