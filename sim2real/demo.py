"""The product's main job end to end: train, drive the virtual arm over ROS 2, adapt, measure, report.

train nominal ∥ train randomised ─▶ short run that collects frames ─▶ adapt ─▶ blinded trials of all three
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evaluation.report.data import DataTable
from evaluation.session.protocol import Protocol
from evaluation.session.task_protocol import task_protocol
from policies.bundle import PolicyBundle
from ros_nodes.session.child_processes import Child, ChildDied, Children, Interruption
from ros_nodes.session.trial_runner import RecordingOptions
from ros_nodes.session.virtual_report import ReportNotes, write_virtual_report
from ros_nodes.session.virtual_session import run_session
from sim2real.demo_options import DemoOptions
from sim2real.progress import Stages, read_plain_line

REFUSED = 3
"""Exit status of 'sim2real adapt' when no candidate wins."""
STAGE_SHARES = {"renders": (0.0, 0.3), "perception": (0.3, 0.9), "evaluate": (0.9, 0.98), "bundle": (0.98, 1.0)}
"""Where each stage of a training begins and ends on its one bar."""
DESCRIPTIONS = {
    "nominal": "Trained in simulation without randomisation.",
    "randomised": "Trained under full randomisation of looks, camera and dynamics.",
    "adapted": "The randomised policy after adaptation to unlabelled frames.",
}


def run_demo(config: DemoOptions) -> int:
    """Run the demo; return the exit status.

    Raises:
        ValueError: if the folder exists.
        ChildDied, SessionError: if a process ends or stays silent.
    """
    begun = time.monotonic()
    out = config.out or _free_folder(Path("runs") / "demo")
    if out.exists():
        raise ValueError(f"'{out}' exists already; choose another --out, or remove it")
    out.mkdir(parents=True)
    print(f"results go to {out}")
    minutes = {"training": _train(config, out)}
    bundles = {name: out / name / "bundle" for name in ("nominal", "randomised")}

    started = time.monotonic()
    print("collecting unlabelled frames on the virtual arm")
    randomised = {"randomised": bundles["randomised"]}
    # Another seed than the trials': what is adapted to is not what is measured on
    collecting = _protocol(randomised, config.collect, config.seed + 1, "collect")
    collected = run_session(
        collecting, randomised, out / "collect", hidden=config.hidden, recording=RecordingOptions(images=True)
    )
    assert collected.images is not None
    minutes["collecting"] = _minutes(started)

    started = time.monotonic()
    bundles["adapted"] = out / "adapted"
    adaptation = _adapt(config, out, bundles["randomised"], collected.images, bundles["adapted"])
    minutes["adaptation"] = _minutes(started)

    started = time.monotonic()
    print("trials of all policies, at the same places, in blinded order")
    protocol = _protocol(bundles, config.trials, config.seed, "demo")
    result = run_session(protocol, bundles, out / "trials", hidden=config.hidden, recording=RecordingOptions(videos=1))
    result = replace(result, images=collected.images)
    minutes["trials"] = _minutes(started)
    notes = ReportNotes(
        title="From simulation to a driven arm",
        descriptions={**DESCRIPTIONS, "adapted": f"{DESCRIPTIONS['adapted']} Method: {adaptation['chosen']}."},
        tables=(_adaptation_table(adaptation), _training_table(out), _time_table(minutes)),
        shortcomings=_shortcomings(adaptation),
        commands=("make demo", f"sim2real demo --seed {config.seed}"),
        wall_time=time.monotonic() - begun,
    )
    write_virtual_report(out, protocol, result, bundles, config.hidden, notes)
    print(f"report: {out / 'report.html'}")
    return 0


def _free_folder(wanted: Path) -> Path:
    number = 2
    folder = wanted
    while folder.exists():
        folder = wanted.with_name(f"{wanted.name}-{number}")
        number += 1
    return folder


def _protocol(bundles: Mapping[str, Path], trials: int, seed: int, name: str) -> Protocol:
    return task_protocol({policy: PolicyBundle.load(path) for policy, path in bundles.items()}, trials, seed, name)


def _minutes(started: float) -> float:
    return (time.monotonic() - started) / 60


def _train(config: DemoOptions, out: Path) -> float:
    """Train both policies side by side; return the minutes it took."""
    started = time.monotonic()

    def command(name: str, preset: str, views: int, steps: int, cores: int) -> list[str]:
        options = {
            "--out": out / name,
            "--name": name,
            "--cameras": "front",
            "--randomise": preset,
            "--seed": config.seed,
            "--workers": cores,
            "--threads": cores,
            "--perception.renders": views,
            "--perception.steps": steps,
        }
        return ["train", *(str(word) for option in options.items() for word in option)]

    jobs = {
        "nominal": command("nominal", "nominal", config.nominal_views, config.nominal_steps, 1),
        "randomised": command("randomised", "full", config.views, config.steps, 2),
    }
    _run(jobs, out / "logs", "train ")
    return _minutes(started)


def _adapt(config: DemoOptions, out: Path, bundle: Path, images: Path, adapted: Path) -> dict:
    """Adapt; where no candidate wins, keep the bundle under the name `adapted`. Returns the report."""
    options = {"--bundle": bundle, "--target": images, "--out": adapted, "--name": "adapted", "--seed": config.seed}
    command = ["adapt", *(str(word) for option in options.items() for word in option)]
    status = _run({"adapt": command}, out / "logs", "", allowed=(0, REFUSED))
    report = json.loads(adapted.with_name(f"{adapted.name}.report.json").read_text())
    if status["adapt"] == REFUSED:
        source = PolicyBundle.load(bundle)
        replace(source, name="adapted", provenance={**source.provenance, "adaptation": report}).save(adapted)
    print(f"adapted by {report['chosen']}")
    return report


def _run(jobs: dict[str, list[str]], logs: Path, label: str, allowed: Sequence[int] = (0,)) -> dict[str, int]:
    """Run sub-commands of sim2real side by side, with a bar for each; return their exit statuses.

    Raises:
        ChildDied: if one ends with a status that is not `allowed`.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with (
        Interruption() as interruption,
        Children(logs, environment) as children,
        Stages([f"{label}{name}" for name in jobs]) as stages,
    ):
        running = {
            name: children.start(name, [sys.executable, "-m", "sim2real", *command]) for name, command in jobs.items()
        }
        statuses: dict[str, int] = {}
        while len(statuses) < len(running):
            interruption.check()
            time.sleep(0.2)
            for name, child in running.items():
                stages(f"{label}{name}", *_progress(child))
                status = child.process.poll()
                if status is None:
                    continue
                if status not in allowed:
                    raise ChildDied(f"'sim2real {jobs[name][0]}' ended with status {status}: {_end(child)}")
                statuses[name] = status
                stages(f"{label}{name}", 1.0, "done")
    return statuses


def _progress(child: Child) -> tuple[float, str]:
    """Read from its log how far a sub-command is."""
    for line in reversed(child.log.read_text(errors="replace").splitlines()):
        found = read_plain_line(line)
        if found is not None:
            stage, share, text = found
            low, high = STAGE_SHARES.get(stage, (0.0, 1.0))
            return low + share * (high - low), f"{stage} {text}".strip()
    return 0.0, "starting"


def _end(child: Child) -> str:
    lines = [line for line in child.log.read_text(errors="replace").splitlines() if line.strip()]
    return f"{lines[-1] if lines else 'it said nothing'}; see {child.log}"


def _adaptation_table(report: dict) -> DataTable:
    rows = []
    for method, figures in report["candidates"].items():
        found = ", ".join(
            f"camera {name} moved {100 * moved['shift_m']:.1f} cm, {moved['turn_deg']:.1f}°"
            for name, moved in figures.get("cameras", {}).items()
            if "shift_m" in moved
        )
        chosen = "chosen" if method == report["chosen"] else ""
        rows.append((method, f"{1000 * figures['scatter']:.1f} mm", found, chosen))
    return DataTable(
        "Adaptation",
        f"Candidates on {report['frames']} unlabelled frames of {report['trials']} trials: how far the goal that the "
        "policy sees wanders while the real one stands still, on trials held out. Smaller is better.",
        ("method", "scatter", "found", ""),
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
        ("policy", "success there", "cube in the image", "goal, median error", "goal, 90th percentile"),
        tuple(rows),
    )


def _time_table(minutes: dict[str, float]) -> DataTable:
    rows = tuple((name, f"{value:.1f}") for name, value in minutes.items())
    return DataTable("Time", "Wall time of each part.", ("part", "minutes"), rows)


def _shortcomings(adaptation: dict) -> tuple[str, ...]:
    notes = ["The virtual arm is a simulation in another engine: what survives here is not yet what survives in a lab."]
    if adaptation["chosen"] == "source-only":
        notes.append("No adaptation beat source-only on held-out frames: 'adapted' is the randomised policy itself.")
    return tuple(notes)
