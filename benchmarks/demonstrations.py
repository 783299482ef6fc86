"""Demonstrations as LeRobot data sets: how fast they are exported, and whether lerobot itself reads them back.

    python benchmarks/demonstrations.py [--quick] [--lerobot-python PATH] [--json FILE]

`export_realtime` is simulated seconds a second of 200 episodes with the pictures of two cameras, simulation included;
what is asked for is 5 on two cores. With `--lerobot-python`, a Python of 3.12 or later in which lerobot is installed,
the peer loads a data set and iterates over it, and writes one that is read here: numbers must agree to 1e-6, pictures
within what the codec loses.

`chunk_exceeded` counts what the arm is commanded, 1000 times a second, beyond a limit, while a hostile policy of action
chunks commands the gate: late, overlapping, contradictory, not finite, at the wrong rate. 0 is asked for; needs ROS.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

# Python puts this file's folder first, where statistics.py hides the standard library's module.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tyro
from rich.console import Console

from benchmarks.demonstrating.dataset_export import SEED, export_speed, lerobot_agrees
from benchmarks.demonstrating.hostile_chunks import chunk_limits_exceeded
from benchmarks.limits import cell
from benchmarks.parts.record import heading, origin, save
from robots.registry import load_robot

REALTIME = 5.0
"""Simulated seconds a second that are asked for."""
EXACT, CODEC = 1e-6, 8.0
"""Largest deviation of a number, and mean one of pictures in grey levels of 255: halving the colours' resolution alone
takes 2 from renders of 84 × 84."""


@dataclass(frozen=True)
class Config:
    """What to measure."""

    quick: bool = False
    """10 episodes instead of 200."""
    task: str = "pick_place"
    """Name in `TASKS`."""
    cameras: str = "front_side"
    """Name in `RIGS`."""
    lerobot_python: Path | None = None
    """Python in which lerobot is installed."""
    chunk_commands: int = 1_000_000
    """Commands of the hostile chunk policy; 20,000 with --quick, 0 for none."""
    robot: str = "franka_panda"
    """The arm that these are for."""
    json: Path | None = None
    """File for the figures."""


def main(config: Config) -> int:
    """Measure, print, and say by the status whether what is asked for holds."""
    console, described = Console(width=120), origin([SEED], ["pyarrow", "av"])
    console.print(heading(described))
    short: list[str] = []
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
    if commands := min(config.chunk_commands, 20_000) if config.quick else config.chunk_commands:
        found = chunk_limits_exceeded(config.robot, commands, SEED, cell(load_robot(config.robot))[0])
        figures |= found
        console.print(
            f"{found['chunk_commands']:,.0f} commands of a hostile chunk policy: {found['chunk_exceeded']:.0f} of "
            f"{found['chunk_judged']:,.0f} at the arm exceed a limit, at most {found['chunk_worst_share']:.4f} of one"
        )
        if found["chunk_exceeded"]:
            short.append(f"{found['chunk_exceeded']:.0f} commands at the arm exceed a limit")
    for line in short:
        console.print(f"[red]falls short: {line}")
    save(config.json, described, figures)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Config, description=__doc__)))
