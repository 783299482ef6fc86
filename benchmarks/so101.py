"""An SO-101: its driver against a servo bus emulator, and its camera policies on the virtual arm over ROS 2.

    python benchmarks/so101.py [--quick] [--packets N] [--seconds S] [--seeds N] [--trials N] [--bundles DIR]
        [--json FILE]

Servos on a pseudo-terminal speak the real protocol byte by byte (`tests/support/servo_emulator.py`). Replies are
troubled while the arm swings at up to 1200 counts/s, N of each kind; a position that the driver takes and that is more
than 4 counts (0.35°) from the servo's own counts in `believed_wrongly`, apart where a damaged reply's checksum was made
to fit. After every stop the faults end for a while: only a reset may release it. Then single events, from an unplugged
cable to a brown-out; and the period of the driver's node at 50 Hz, where it sends goals and where they reach the
servos: a pseudo-terminal is slow on a busy machine, as a loop that only writes to one shows.

Policies are trained in PyBullet alone to reach and to place a cube, and judged as `benchmarks/crossing.py` judges. The
arm's description is the vendor's: `sim2real fetch so101`, or its folder in SIM2REAL_DESCRIPTIONS. `--packets 0` and
`--seeds 0` leave a part out.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks import crossing
from benchmarks.parts.record import heading, origin, save
from benchmarks.parts.servo_driver import (
    EVENTS,
    FAULTS,
    FORGED,
    measure_periods,
    run_event,
    run_fault,
)
from ros_nodes.session.ros_environment import free_domain

CELL = Path(__file__).resolve().parents[1] / "docs" / "examples" / "so101_cell.json"
"""What is known of the cell: cubes of 2.5 to 4 cm, a mark 5 mm high, and an arm that stands on its table."""
EVENT_FIGURES = ("key", "after_s", "stays", "ends_by_reset")


@dataclass(frozen=True)
class Arguments:
    """What is measured."""

    quick: bool = False
    """300 replies of each kind, 5 s of the node; ten trials."""
    packets: int = 10_000
    """Replies to trouble, of each kind."""
    seconds: float = 60.0
    """How long the node's period is measured; 0 leaves it out."""
    seed: int = 0
    """Of the faults."""
    seeds: int = 5
    """Policies of each task."""
    trials: int = 100
    """Trials of each policy."""
    cameras: str = "front_wrist"
    """Camera rig."""
    bundles: Path | None = None
    """Folder of trained policies, TASK_SEED/bundle, which are not trained again; new ones are kept there."""
    json: Path | None = None
    """Write the figures to this file."""


def main(arguments: Arguments) -> None:
    """Measure driver and policies; print and save."""
    described = origin(range(max(1, arguments.seeds)))
    print(heading(described))
    figures = measure_driver(arguments) if arguments.packets else {}
    if arguments.seeds:
        figures |= measure_policies(arguments)
    save(arguments.json, described, figures)


def measure_driver(arguments: Arguments) -> dict[str, object]:
    """Trouble the driver; print and return the figures."""
    packets, seconds = (300, min(5.0, arguments.seconds)) if arguments.quick else (arguments.packets, arguments.seconds)
    console = Console()
    table = Table("reply", "packets", "believed wrongly", "cycles counted", "stops", "released alone", "stop after")
    runs = {}
    for kind in FAULTS:
        run = runs[kind] = run_fault(kind, packets, arguments.seed)
        share = f"{run.counted / run.cycles:.0%}"
        row = (kind, run.packets, run.believed_wrongly, share, run.stops, run.released_alone, f"{run.stop_s:.2f} s")
        console.print(*row, sep="  |  ")
        table.add_row(*map(str, row))
    console.print(table)
    events = {name: run_event(name) for name in EVENTS}
    table = Table("event", "stop", "after", "stays", "ends by a reset")
    for name, (key, took, stayed, ended) in events.items():
        table.add_row(name, key, f"{took:.2f} s", str(stayed), str(ended))
    console.print(table)
    figures: dict[str, object] = {
        "packets": sum(run.packets for kind, run in runs.items() if kind != FORGED),
        "believed_wrongly": sum(run.believed_wrongly for kind, run in runs.items() if kind != FORGED),
        "believed_wrongly_forged": runs[FORGED].believed_wrongly,
        "released_alone": sum(run.released_alone for run in runs.values())
        + sum(not (stayed and ended) for _, _, stayed, ended in events.values()),
        "stop_s": max(*(run.stop_s for run in runs.values()), *(took for _, took, _, _ in events.values())),
    }
    if seconds > 0:
        with tempfile.TemporaryDirectory() as folder, free_domain() as domain:
            periods = measure_periods(seconds, domain, Path(folder))
        figures |= {
            "period_p99_ms": periods.sent,
            "period_at_servos_p99_ms": periods.arrived,
            "terminal_p99_ms": periods.terminal,
        }
    for key, value in figures.items():
        console.print(f"{key}: {value:.3f}" if isinstance(value, float) else f"{key}: {value}")
    return {
        **figures,
        "faults": {kind: asdict(run) for kind, run in runs.items()},
        "events": {name: dict(zip(EVENT_FIGURES, found)) for name, found in events.items()},
    }


def measure_policies(arguments: Arguments) -> dict[str, object]:
    """Train camera policies of the arm, and try them on its virtual one; print and return the figures."""
    begun, trials = time.monotonic(), 10 if arguments.quick else arguments.trials
    found: dict[str, object] = {}
    for task, known in (("reach", "full"), ("pick_place", str(CELL))):
        found |= crossing.measure(
            crossing.Arguments(
                only=(task,),
                seeds=arguments.seeds,
                trials=trials,
                idle_minutes=0.0,
                cameras=arguments.cameras,
                robot="so101",
                randomise=known,
                bundles=arguments.bundles,
            )
        )
    return {
        "reach_median": found["reach_ros"],
        "pick_place_median": found["pick_place_ros"],
        "pick_place_low": found["pick_place_ros_low"],
        "minutes": (time.monotonic() - begun) / 60,
        "policies": found,
    }


if __name__ == "__main__":
    main(tyro.cli(Arguments))
