"""Kill camera trainings at random moments, go on with them, and compare the bundles with those of undisturbed ones."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
TASKS = ("reach", "pick_place")
"""From the cameras `front_side`, with everything random."""
SHORT = {
    "perception.renders": (300,),
    "perception.held-out": (60,),
    "perception.steps": (60,),
    "perception.batch": (32,),
    "perception.channels": (8,),
    "perception.refiner-steps": (30, 20),
    "perception.geometry-steps": (300,),
    "recipe.envs": (4,),
    "recipe.rounds": (2,),
    "recipe.round-steps": (25,),
    "recipe.gradient-steps": (100,),
    "recipe.last-gradient-steps": (200,),
    "recipe.validation-episodes": (2,),
    "recipe.validate-from": (1,),
    "evaluation-episodes": (4,),
    "workers": (1,),
    "threads": (2,),
}
"""What is shortened; all stages of a training are left."""
COMMAND = """
import sys

from policies.training import checkpoints
from sim2real.command_line import main

if __name__ == "__main__":
    checkpoints.KEPT_EVERY = 0.2
    sys.exit(main(["train", *sys.argv[1:]]))
"""
"""`sim2real train`, whose loops are kept more often, as they are shorter."""


def begin(script: Path, out: Path, task: str) -> subprocess.Popen:
    """Start a training, or go on with the one in `out`, in a session of its own."""
    if out.exists():
        words = ["--resume", str(out)]
    else:
        options = [word for name, values in SHORT.items() for word in (f"--{name}", *map(str, values))]
        words = ["--out", str(out), "--name", "killed", "--task", task, "--cameras", "front_side", *options]
    log = open(out.with_suffix(".log"), "ab")  # noqa: SIM115  # the child's
    return subprocess.Popen(
        [sys.executable, str(script), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def carry_on(script: Path, out: Path, task: str, most: float = float("inf")) -> tuple[float, bool]:
    """Carry a training on, to its end or until it has taken `most` seconds of processor time; then kill it.

    Its workers count, and are killed with it. Wall time would say less about where it is, on a machine that is shared.

    Returns:
        The processor time [s], and whether it was killed.
    """
    child, spent = begin(script, out, task), 0.0
    while child.poll() is None:
        spent = max(spent, session_seconds(child.pid))
        if spent > most:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            return spent, True
        time.sleep(0.02)
    if child.returncode != 0:
        raise SystemExit(f"{out.name} failed: {out.with_suffix('.log').read_text()[-2_000:]}")
    return spent, False


def session_seconds(leader: int) -> float:
    """Return the processor time [s] of all living processes in the session of `leader`."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[3]) == leader:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def reached(out: Path) -> str:
    """Return how far a killed training has come, by its newest file."""
    files = (
        [path for path in out.rglob("*") if path.suffix in (".pt", ".npz", ".onnx", ".json")] if out.exists() else []
    )
    return max(files, key=lambda path: path.stat().st_mtime).name if files else "nothing"


def hashes(out: Path) -> dict:
    """Return the SHA-256 of graph, weights and parity records of a training's bundle."""
    return json.loads((out / "bundle/manifest.json").read_text())["files"]


def survived_kills(kills: int, seed: int) -> dict[str, object]:
    """Kill trainings `kills` times in all; return how many kills changed nothing, and the moments of all.

    A training is killed again and again until it ends, at moments drawn from the processor time of an undisturbed one.
    """
    rng, tried, survived, moments = np.random.default_rng(seed), 0, 0, []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        script = folder / "train.py"
        script.write_text(COMMAND)
        expected, seconds = {}, {}
        for task in TASKS:
            seconds[task], _ = carry_on(script, folder / f"whole_{task}", task)
            expected[task] = hashes(folder / f"whole_{task}")
            print(f"{task}: {seconds[task]:.0f} s of processor time undisturbed", flush=True)
        chain = 0
        while tried < kills:
            task = TASKS[chain % len(TASKS)]
            out, here = folder / f"killed_{chain}", 0
            while tried + here < kills:
                after, is_killed = carry_on(script, out, task, rng.uniform(0.0, seconds[task]))
                if not is_killed:
                    break
                here += 1
                moments.append([task, round(after, 1), reached(out)])
                print(f"{task} killed after {after:.1f} s, newest file: {moments[-1][2]}", flush=True)
            if not (out / "metrics.json").is_file():
                carry_on(script, out, task)
            equal = hashes(out) == expected[task]
            print(f"{task}, killed {here} times: bundle {'equal' if equal else 'DIFFERENT'}", flush=True)
            tried, survived, chain = tried + here, survived + here * equal, chain + 1
            shutil.rmtree(out)
    return {"resume_kills_tried": tried, "resume_kills_survived": survived, "resume_kills": moments}
