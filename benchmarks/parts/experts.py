"""How often the scripted experts succeed, for every task, arm and preset, with Wilson intervals.

    python benchmarks/parts/experts.py [--quick] [--tasks push stack] [--arms franka_panda] [--presets full]
                                       [--json FILE]

Each episode runs to its time limit, also after success, so that one run gives three figures:

- `success`: what the environment counts, near the goal for the task's hold time;
- `linger`: success, and still near the goal when the time is up;
- `strict`: the same with half the slack: within 2.5 cm instead of 3 cm, 5 mm beside the hole's axis for `insert`.

Arms without a gripper do the tasks that need none. Peers publish no experts for randomised arms, so there is no
peer's figure here; what must hold: at least 98 % of 200 episodes under `nominal`, 90 % under `mild`.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.parts.record import heading, origin, save
from policies.scoring.intervals import wilson
from robots.registry import load_robot
from sim.env import ArmEnv
from sim.tasks import TASKS, load_task

SEED = 50_000
"""Of the first episode; far from the seeds that training uses."""
MET = {"nominal": 0.98, "mild": 0.90}
"""Share of successes that is asked for on the Panda."""

Preset = Literal["nominal", "mild", "full"]


@dataclass(frozen=True)
class Config:
    """What to measure."""

    quick: bool = False
    """20 episodes instead of 200."""
    tasks: tuple[str, ...] = tuple(TASKS)
    """Names in `TASKS`."""
    arms: tuple[str, ...] = ("franka_panda", "kuka_iiwa", "xarm6", "xarm6_gripper")
    """Names in `ROBOTS`, or JSON descriptions of arms."""
    presets: tuple[Preset, ...] = ("nominal", "mild", "full")
    """How much varies."""
    actuator: str = "position"
    """Name in `ACTUATORS`."""
    episodes: int = 200
    """Episodes each; `--quick` overrules it."""
    failures: bool = False
    """Print the seeds that failed."""
    json: Path | None = None
    """File for the figures."""


@dataclass(frozen=True)
class Outcome:
    """One episode."""

    success: bool
    linger: bool
    strict: bool
    seconds: float
    """Simulated time to success [s]; the time limit where there was none."""


def episode(env: ArmEnv, seed: int, hold: int) -> Outcome:
    """Let the expert act until the time is up; `hold` are the steps near the goal that make a success."""
    env.reset(seed=seed)
    near = steps = 0
    reached: int | None = None
    while True:
        _, _, terminated, truncated, info = env.step(env.expert())
        steps += 1
        near = near + 1 if info["near"] else 0
        if near >= hold and reached is None:
            reached = steps
        if terminated or truncated:
            break
    task, world = env.task, env.world
    achieved, desired = task.achieved_goal(world), task.desired_goal(world)
    success = reached is not None and not terminated  # what ends early here has failed
    linger = success and bool(info["near"])
    close = bool(task.is_strict_success(achieved, desired))
    return Outcome(success, linger, linger and close, (reached or steps) * env.action_spec.dt)


def measure(task_name: str, arm: str, preset: str, config: Config) -> tuple[dict, list[int]]:
    """Run all episodes of one row; return its figures and the seeds that failed."""
    task = load_task(task_name)
    hold = max(1, round(task.hold_time * task.action.rate_hz))
    # an instance's own value: success never ends an episode, so that what happens afterwards is seen
    task.hold_time = 10 * task.time_limit  # type: ignore[misc]
    env = ArmEnv(task, arm, preset, actuator=config.actuator)
    count = 20 if config.quick else config.episodes
    began = time.perf_counter()
    outcomes = [episode(env, SEED + i, hold) for i in range(count)]
    seconds = time.perf_counter() - began
    env.close()
    row: dict = {"task": task_name, "arm": arm, "preset": preset, "actuator": config.actuator, "episodes": count}
    for judge in ("success", "linger", "strict"):
        row[judge] = asdict(wilson(sum(getattr(outcome, judge) for outcome in outcomes), count))
    row["time_to_success_s"] = float(np.median([outcome.seconds for outcome in outcomes]))
    row["wall_s"] = round(seconds, 1)
    return row, [SEED + i for i, outcome in enumerate(outcomes) if not outcome.strict]


def percent(rate: dict) -> str:
    """`0.98 [0.95, 0.99]`."""
    return f"{rate['estimate']:.3f} [{rate['low']:.2f}, {rate['high']:.2f}]"


def main(config: Config) -> int:
    """Measure, print, and say by the status whether what is asked for holds."""
    console = Console(width=120)
    described = origin([SEED])
    console.print(heading(described))
    rows, short = [], []
    table = Table(title="Scripted experts, share of episodes with 95 % Wilson intervals")
    for column in ("task", "arm", "preset", "success", "linger", "strict", "median s"):
        table.add_column(column)
    for arm in config.arms:
        robot = load_robot(arm)
        for task in config.tasks:
            if load_task(task).needs_gripper and robot.gripper is None:
                continue
            for preset in config.presets:
                row, failed = measure(task, arm, preset, config)
                rows.append(row)
                cells = [percent(row[judge]) for judge in ("success", "linger", "strict")]
                table.add_row(task, robot.name, preset, *cells, f"{row['time_to_success_s']:.1f}")
                print(f"{task:14}{robot.name:14}{preset:9}{'  '.join(cells)}  {row['wall_s']} s", flush=True)
                if config.failures and failed:
                    print(f"  not strict: {failed}", flush=True)
                if robot.name == "franka_panda" and row["success"]["estimate"] < MET.get(preset, 0.0):
                    short.append(f"{task} under {preset}: {row['success']['estimate']:.3f} < {MET[preset]}")
    console.print(table)
    for line in short:
        console.print(f"[red]falls short: {line}")
    save(config.json, described, {"experts": rows})
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Config, description=__doc__)))
