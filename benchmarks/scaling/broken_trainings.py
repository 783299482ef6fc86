"""Kill camera trainings at random moments or fill their disk, go on with them, and compare with undisturbed ones."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Attempt:
    """One process that carried a training on."""

    seconds: float
    """Processor time that it took, its workers included."""
    is_broken: bool
    """Whether it was broken off."""
    status: int
    """Its exit status."""
    said: str
    """What it printed."""


def kill(leader: int) -> None:
    """Kill a training and its workers."""
    os.killpg(leader, signal.SIGKILL)


def fill_disk(leader: int) -> None:
    """Let a training write nothing more to any file, as on a disk that is full."""
    resource.prlimit(leader, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def carry_on(
    script: Path, out: Path, task: str, most: float = float("inf"), breaks: Callable[[int], None] = kill
) -> Attempt:
    """Begin a training, or go on with the one in `out`; break it off once it has taken `most` [s] of processor time.

    Wall time would say less about where it is, on a machine that is shared.
    """
    if out.exists():
        words = ["--resume", str(out)]
    else:
        options = [word for name, values in SHORT.items() for word in (f"--{name}", *map(str, values))]
        words = ["--out", str(out), "--name", "broken", "--task", task, "--cameras", "front_side", *options]
    child = subprocess.Popen(
        [sys.executable, str(script), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(child.stdout), daemon=True)
    reader.start()
    spent, is_broken = 0.0, False
    while child.poll() is None:
        spent = max(spent, session_seconds(child.pid))
        if spent > most and not is_broken:
            breaks(child.pid)
            is_broken = True
        time.sleep(0.02)
    reader.join()
    return Attempt(spent, is_broken, child.returncode, "".join(said))


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


def is_told(attempt: Attempt) -> bool:
    """Return whether a training whose disk was filled said so, in one line."""
    lines = [line for line in attempt.said.splitlines() if "the disk is full" in line]
    return attempt.status == 1 and len(lines) == 1 and "Traceback" not in attempt.said


def survived(kind: str, count: int, seed: int) -> dict[str, object]:
    """Break trainings off `count` times in all; return how many times changed nothing, and the moments of all.

    A training is broken off again and again until it ends, at moments drawn from the processor time of an undisturbed
    one. A disk that is full must also be named in one line.

    Args:
        kind: `kills` or `full_disks`.
        count: how often.
        seed: of the moments.
    """
    breaks = {"kills": kill, "full_disks": fill_disk}[kind]
    rng, tried, good, moments = np.random.default_rng(seed), 0, 0, []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        script = folder / "train.py"
        script.write_text(COMMAND)
        expected, seconds = {}, {}
        for task in TASKS:
            seconds[task] = finish(script, folder / f"whole_{task}", task)
            expected[task] = hashes(folder / f"whole_{task}")
            print(f"{task}: {seconds[task]:.0f} s of processor time undisturbed", flush=True)
        chain = 0
        while tried < count:
            task = TASKS[chain % len(TASKS)]
            out, told = folder / f"broken_{chain}", []
            while tried + len(told) < count:
                attempt = carry_on(script, out, task, rng.uniform(0.0, seconds[task]), breaks)
                if not attempt.is_broken or attempt.status == 0:  # it ended first, or had nothing left to write
                    break
                told.append(breaks is kill or is_told(attempt))
                moments.append([task, round(attempt.seconds, 1), reached(out)])
                print(f"{task} broken off after {attempt.seconds:.1f} s, newest file: {moments[-1][2]}", flush=True)
                if not told[-1]:
                    print(f"exit status {attempt.status}, it said: {attempt.said[-2_000:]}")
            if not (out / "metrics.json").is_file():
                finish(script, out, task)
            equal = hashes(out) == expected[task]
            print(f"{task}, broken off {len(told)} times: bundle {'equal' if equal else 'DIFFERENT'}", flush=True)
            tried, good, chain = tried + len(told), good + equal * sum(told), chain + 1
            shutil.rmtree(out)
    return {f"{kind}_tried": tried, f"{kind}_survived": good, kind: moments}


def finish(script: Path, out: Path, task: str) -> float:
    """Carry a training on to its end; return the processor time [s]."""
    attempt = carry_on(script, out, task)
    if attempt.status != 0:
        raise SystemExit(f"{out.name} failed: {attempt.said[-2_000:]}")
    return attempt.seconds
