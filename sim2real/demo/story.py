"""The product's main job end to end: train, drive the virtual arm over ROS 2, adapt to what changed, measure, report.

train nominal ∥ train randomised ─▶ blinded trials of both ─▶ the cameras are knocked, the light changes
    ─▶ unlabelled frames ─▶ adapt ─▶ blinded trials of the randomised and the adapted one, at the same places
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluation.session.protocol import Protocol
from evaluation.session.task_protocol import task_protocol
from policies.bundle import PolicyBundle
from robots.host.reading import read_arrays, read_json
from robots.host.writing import write_arrays
from robots.registry import load_robot
from ros_nodes.session.child_processes import Child, ChildDied, Children, Interruption
from ros_nodes.session.trial_runner import RecordingOptions
from ros_nodes.session.virtual_report import write_virtual_report
from ros_nodes.session.virtual_session import IMAGES, SessionResult, run_session
from sim.tasks.recipe import PerceptionRecipe
from sim.virtual_arm.changed_reality import change_light, knock_camera
from sim.virtual_arm.hidden_arms import hidden_reality
from sim2real.demo.folder import demo_folder, kept_time
from sim2real.demo.options import DemoOptions
from sim2real.demo.report import KNOCKED, joined, report_notes
from sim2real.demo.training import (
    ADAPTATION,
    COLLECTING,
    KNOCKED_TRIALS,
    RIG,
    TRAINING,
    TRIALS,
    expected_seconds,
    scaled_recipes,
    training_commands,
    write_rig,
)
from sim2real.progress import Stages, read_plain_line

REFUSED = 3
"""Exit status of 'sim2real adapt' when no candidate wins."""
METHODS = "self-calibration,batch-norm,batch-norm+self-calibration"
"""The candidates of the adaptation: those that take seconds, not minutes."""
STAGE_SHARES = {
    "renders": (0.0, 0.15),
    "perception": (0.15, 0.9),
    "evaluate": (0.9, 0.98),
    "bundle": (0.98, 1.0),
    "candidates": (0.0, 1.0),
}
"""Where each stage of a training, or of an adaptation, begins and ends on its one bar."""


def run_demo(config: DemoOptions) -> int:
    """Run the demo, or go on with one that was broken off; return the exit status.

    Raises:
        ValueError: if the folder holds something else, or an option is out of range.
        ChildDied, SessionError: if a process ends or stays silent.
    """
    config.validate()
    recipes = scaled_recipes(config)
    out = demo_folder(config)
    out.mkdir(parents=True, exist_ok=True)
    with kept_time(out, config) as before:
        _tell(config, recipes, out, time.monotonic() - before)
    return 0


def _tell(config: DemoOptions, recipes: Mapping[str, PerceptionRecipe], out: Path, begun: float) -> None:
    """Carry out every stage that is not done yet, and write the report; `begun` is on the monotonic clock [s]."""
    reality = hidden_reality(load_robot(config.robot), config.hidden)
    rng = np.random.default_rng(config.seed)
    changed = change_light(knock_camera(reality, config.knock_shift, config.knock_turn, rng), rng)
    print(f"results go to {out}")
    knocked = out / "knocked.json"
    changed.save(knocked)
    write_rig(config, out / RIG)
    bundles = {name: out / name / "bundle" for name in recipes} | {"adapted": out / "adapted"}
    minutes: dict[str, float] = {}
    expected = expected_seconds(config, recipes)
    with Stages((TRAINING, TRIALS, COLLECTING, ADAPTATION, KNOCKED_TRIALS), expected) as stages:

        def session(stage: str, policies: Sequence[str], folder: str, hidden: Path | None) -> SessionResult:
            """Try `policies` at the places that follow from the demo's seed, and at other ones to collect frames."""
            collecting = stage == COLLECTING
            trials, seed = (config.collect, config.seed + 1) if collecting else (config.trials, config.seed)
            paths = {name: bundles[name] for name in policies}
            if collecting and not (out / folder / IMAGES).exists():
                shutil.rmtree(out / folder, ignore_errors=True)  # frames are kept when all trials are done
            with _timed(minutes, stage):
                return run_session(
                    _protocol(paths, trials, seed, folder),
                    paths,
                    out / folder,
                    hidden=hidden,
                    recording=RecordingOptions(images=collecting, videos=0 if collecting else 1),
                    progress=lambda done, planned, said: stages(stage, done / planned, said),
                )

        with _timed(minutes, "train"):
            jobs = training_commands(config, recipes, out)
            left = {name: job for name, job in jobs.items() if not bundles[name].exists()}
            bars = dict(zip(recipes, TRAINING))
            for name in set(jobs) - set(left):
                stages(bars[name], 1.0, "done")
            _run(left, out / "logs", bars, stages)
        before = session(TRIALS, ("nominal", "randomised"), "trials", config.hidden)
        collected = session(COLLECTING, ("randomised",), "collect", knocked)
        target = _keep(collected.images, config.frames)
        with _timed(minutes, ADAPTATION):
            adaptation = _adapt(config, out, bundles, target, stages)
        after = session(KNOCKED_TRIALS, ("randomised", "adapted"), "knocked_trials", knocked)

    result = joined(before, after, target, out)
    notes = report_notes(config, result.trials, (reality, changed), adaptation, out, minutes, time.monotonic() - begun)
    tried = {
        "nominal": bundles["nominal"],
        "randomised": bundles["randomised"],
        KNOCKED: bundles["randomised"],
        "adapted": bundles["adapted"],
    }
    plan = _protocol({name: bundles[name] for name in recipes}, config.trials, config.seed, "trials")
    write_virtual_report(out, plan, result, tried, config.hidden, notes)
    print(f"report: {out / 'report.html'}")


def _protocol(bundles: Mapping[str, Path], trials: int, seed: int, name: str) -> Protocol:
    return task_protocol({policy: PolicyBundle.load(path) for policy, path in bundles.items()}, trials, seed, name)


@contextmanager
def _timed(minutes: dict[str, float], part: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    minutes[part] = (time.monotonic() - started) / 60


def _keep(images: Path | None, frames: int) -> Path:
    """Keep `frames` of a recording, spread evenly over it; return their file, beside it."""
    assert images is not None
    arrays = read_arrays(images, "frames")
    rows = np.unique(np.linspace(0, len(arrays["trial"]) - 1, frames).round().astype(int))
    kept = images.with_name("target.npz")
    write_arrays(kept, {name: array[rows] for name, array in arrays.items()})
    return kept


def _adapt(config: DemoOptions, out: Path, bundles: Mapping[str, Path], target: Path, stages: Stages) -> dict:
    """Adapt; where no candidate wins, keep the bundle under the name `adapted`. Returns the report."""
    adapted = bundles["adapted"]
    found = adapted.with_name(f"{adapted.name}.report.json")
    if adapted.exists() and found.exists():
        return read_json(found, "report")
    options: dict[str, object] = {
        "--bundle": bundles["randomised"],
        "--target": target,
        "--out": adapted,
        "--name": "adapted",
        "--seed": config.seed,
        "--method": METHODS,
    }
    command = ["adapt", *(str(word) for option in options.items() for word in option)]
    status = _run({"adapt": command}, out / "logs", {"adapt": ADAPTATION}, stages, allowed=(0, REFUSED))
    report = read_json(found, "report")
    if status["adapt"] == REFUSED:
        source = PolicyBundle.load(bundles["randomised"])
        replace(source, name="adapted", provenance={**source.provenance, "adaptation": report}).save(adapted)
    return report


def _run(
    jobs: Mapping[str, Sequence[str]],
    logs: Path,
    bars: Mapping[str, str],
    stages: Stages,
    allowed: Sequence[int] = (0,),
) -> dict[str, int]:
    """Run sub-commands of sim2real side by side, each with its bar; return their exit statuses.

    Raises:
        ChildDied: if one ends with a status that is not `allowed`.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with Interruption() as interruption, Children(logs, environment) as children:
        running = {
            name: children.start(name, [sys.executable, "-m", "sim2real", *command]) for name, command in jobs.items()
        }
        statuses: dict[str, int] = {}
        while len(statuses) < len(running):
            interruption.check()
            time.sleep(0.2)
            for name, child in running.items():
                if name in statuses:
                    continue
                stages(bars[name], *_progress(child))
                status = child.process.poll()
                if status is None:
                    continue
                if status not in allowed:
                    raise ChildDied(f"'sim2real {jobs[name][0]}' ended with status {status}: {_end(child)}")
                statuses[name] = status
                stages(bars[name], 1.0, "done")
    return statuses


def _progress(child: Child) -> tuple[float, str]:
    """Read from its log how far a sub-command is."""
    for line in reversed(child.log.read_text(errors="replace").splitlines()):
        found = read_plain_line(line)
        if found is not None and found[0] in STAGE_SHARES:
            stage, share, text = found
            low, high = STAGE_SHARES[stage]
            return low + share * (high - low), f"{stage} {text}".strip()
    return 0.0, "starting"


def _end(child: Child) -> str:
    lines = [line for line in child.log.read_text(errors="replace").splitlines() if line.strip()]
    return f"{lines[-1] if lines else 'it said nothing'}; see {child.log}"
