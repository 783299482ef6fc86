"""Learning from demonstrations, and LeRobot data sets: success, speed of export, whether lerobot itself reads them.

    python benchmarks/demonstrations.py [--only curves] [--tasks pick_place push] [--quick] [--json FILE]

`curves`: success in a shifted world by the number of demonstrations, of these alone, of simulation alone, and of both,
from cameras. `both_at_10`, `sim_alone` and `demos_alone_at_10` are means over seeds of the task that fares worst; what
is asked for is both at 0.9 where simulation alone has 0.5 to 0.7. A camera policy is trained for each task and seed,
unless --sources names a folder with TASK/bundle; policies, demonstrations and results are kept in runs/demonstrations.

`export`: `export_realtime` is simulated seconds a second of 200 episodes with the pictures of two cameras, simulation
included; what is asked for is 5 on two cores. With `--lerobot-python`, a Python of 3.12 or later in which lerobot is
installed, the peer loads a data set and iterates over it, and writes one that is read here: numbers must agree to 1e-6,
pictures within what the codec loses.

`chunks`: `chunk_exceeded` counts what the arm is commanded, 1000 times a second, beyond a limit, while a hostile policy
of action chunks commands the gate: late, overlapping, contradictory, not finite, at the wrong rate. 0 is asked for;
needs ROS.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# Python puts this file's folder first, where statistics.py hides the standard library's module.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tyro
from rich.console import Console

from benchmarks.demonstrating.dataset_export import SEED, export_speed, lerobot_agrees
from benchmarks.demonstrating.hostile_chunks import chunk_limits_exceeded
from benchmarks.demonstrating.success_curves import CurvePoint, success_curves
from benchmarks.limits import cell
from benchmarks.parts.record import heading, origin, save
from robots.registry import load_robot

BOTH, WEAKENED = 0.9, (0.5, 0.7)
"""Success of both at 10 demonstrations that is asked for, and that of simulation alone for which it is."""
REALTIME = 5.0
"""Simulated seconds a second that are asked for."""
EXACT, CODEC = 1e-6, 8.0
"""Largest deviation of a number, and mean one of pictures in grey levels of 255: halving the colours' resolution alone
takes 2 from renders of 84 × 84."""


@dataclass(frozen=True)
class Config:
    """What to measure."""

    only: tuple[Literal["curves", "export", "chunks"], ...] = ("curves", "export", "chunks")
    """Parts to run."""
    quick: bool = False
    """10 episodes instead of 200; curves of one seed, 0 and 10 demonstrations and 20 trials."""
    tasks: tuple[str, ...] = ("pick_place", "push")
    """Of the curves: names in `TASKS`."""
    counts: tuple[int, ...] = (1, 5, 10, 25, 50)
    """Of the curves: numbers of demonstrations."""
    seeds: int = 5
    """Of the curves: trainings."""
    trials: int = 100
    """Of the curves: evaluated episodes of each point."""
    sources: Path | None = None
    """Folder with TASK/bundle, the simulated policies of the curves; by default they are trained."""
    out: Path = Path("runs") / "demonstrations"
    """Folder of the curves' policies, demonstrations and results."""
    task: str = "pick_place"
    """Name in `TASKS`."""
    cameras: str = "front_side"
    """Name in `RIGS`."""
    lerobot_python: Path | None = None
    """Python in which lerobot is installed."""
    chunk_commands: int = 1_000_000
    """Commands of the hostile chunk policy; 20,000 with --quick."""
    robot: str = "franka_panda"
    """The arm that these are for."""
    json: Path | None = None
    """File for the figures."""


def main(config: Config) -> int:
    """Measure, print, and say by the status whether what is asked for holds."""
    console, described = Console(width=120), origin([SEED], ["pyarrow", "av"])
    console.print(heading(described))
    short: list[str] = []
    figures: dict[str, object] = {}
    for part in config.only:
        figures |= PARTS[part](config, console, short)
    for line in short:
        console.print(f"[red]falls short: {line}")
    save(config.json, described, figures)
    return 1 if short else 0


def curves(config: Config, console: Console, short: list[str]) -> dict[str, object]:
    """Measure success by the number of demonstrations."""
    counts, trials, seeds = ((10,), 20, 1) if config.quick else (config.counts, config.trials, config.seeds)
    rows: list[dict[str, object]] = []
    means: dict[tuple[str, str, int], list[float]] = {}
    for task in config.tasks:
        for seed in range(seeds):
            source = config.sources and config.sources / task / "bundle"
            for point in success_curves(task, seed, counts, trials, config.out, source, console.print):
                rows.append(row(task, seed, point))
                means.setdefault((task, point.line, point.demonstrations), []).append(point.evaluation.success)
    figures: dict[str, object] = {"curves": rows}
    for key, line, count in (("both_at_10", "both", 10), ("sim_alone", "simulation", 0)):
        found = [sum(each) / len(each) for (_, *which), each in means.items() if which == [line, count]]
        figures |= {key: min(found)} if found else {}
    alone = [sum(each) / len(each) for (_, *which), each in means.items() if which == ["demonstrations", 10]]
    figures |= {"demos_alone_at_10": min(alone)} if alone else {}
    for task in config.tasks:
        both, simulated = means.get((task, "both", 10)), means[task, "simulation", 0]
        weak = sum(simulated) / len(simulated)
        if not WEAKENED[0] <= weak <= WEAKENED[1]:
            short.append(f"{task}: simulation alone has {weak:.2f}, expected {WEAKENED[0]} to {WEAKENED[1]}")
        if both is not None and sum(both) / len(both) < BOTH:
            short.append(f"{task}: both at 10 demonstrations {sum(both) / len(both):.2f}, {BOTH} is asked for")
    return figures


def row(task: str, seed: int, point: CurvePoint) -> dict[str, object]:
    """Return the figures of a point."""
    found = point.evaluation
    rate = {"success": found.success, "low": found.low, "high": found.high, "trials": found.episodes}
    where = {"task": task, "seed": seed, "line": point.line, "demonstrations": point.demonstrations}
    return {**where, **rate, "chosen": point.chosen}


def export(config: Config, console: Console, short: list[str]) -> dict[str, object]:
    """Measure the speed of export, and compare with lerobot where it is there."""
    episodes = 10 if config.quick else 200
    figures: dict[str, object] = {"export_episodes": episodes}
    with tempfile.TemporaryDirectory() as scratch:
        speed = export_speed(config.task, config.cameras, episodes, Path(scratch) / "speed")
        figures |= speed
        console.print(
            f"{episodes} episodes of {config.task}, {speed['export_seconds']:.0f} s: {speed['export_realtime']:.1f} "
            f"times real time, {speed['export_realtime_cpu']:.1f} a second of processor time, "
            f"{speed['export_bytes'] / 1e6:.1f} MB"
        )
        if speed["export_realtime"] < REALTIME:
            short.append(f"{speed['export_realtime']:.1f} times real time, {REALTIME:g} are asked for")
        if config.lerobot_python is not None:
            found = lerobot_agrees(config.lerobot_python, config.task, config.cameras, 3, Path(scratch))
            figures["lerobot"] = found
            console.print(f"lerobot {found['lerobot']}: {found}")
            limits = {"largest_deviation": EXACT, "statistics_deviation": EXACT, "picture_deviation": CODEC}
            limits |= {"read_deviation": EXACT, "read_picture_deviation": CODEC}
            for name, most in limits.items():
                if not float(str(found[name])) <= most:
                    short.append(f"{name} is {found[name]}, {most} is allowed")
            if found["read_problems"]:
                short.append(f"what lerobot wrote is refused: {found['read_problems']}")
    return figures


def chunks(config: Config, console: Console, short: list[str]) -> dict[str, object]:
    """Count what a hostile chunk policy gets past the gate."""
    commands = min(config.chunk_commands, 20_000) if config.quick else config.chunk_commands
    found = chunk_limits_exceeded(config.robot, commands, SEED, cell(load_robot(config.robot))[0])
    console.print(
        f"{found['chunk_commands']:,.0f} commands of a hostile chunk policy: {found['chunk_exceeded']:.0f} of "
        f"{found['chunk_judged']:,.0f} at the arm exceed a limit, at most {found['chunk_worst_share']:.4f} of one"
    )
    if found["chunk_exceeded"]:
        short.append(f"{found['chunk_exceeded']:.0f} commands at the arm exceed a limit")
    return dict(found)


PARTS = {"curves": curves, "export": export, "chunks": chunks}


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Config, description=__doc__)))
