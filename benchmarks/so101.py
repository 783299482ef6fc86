"""An SO-101's driver against a servo bus emulator: wrong positions that pass for measured ones, and stopping times.

    python benchmarks/so101.py [--quick] [--packets N] [--seconds S] [--json FILE]

Servos on a pseudo-terminal speak the real protocol byte by byte (`tests/support/servo_emulator.py`). Replies are
troubled while the arm swings at up to 1200 counts/s, N of each kind; a position that the driver takes and that is more
than 4 counts (0.35°) from the servo's own counts in `believed_wrongly`, apart where a damaged reply's checksum was made
to fit. After every stop the faults end for a while: only a reset may release it. Then single events, from an unplugged
cable to a brown-out; and the period of the driver's node at 50 Hz, where it sends goals and where they reach the
servos: a pseudo-terminal is slow on a busy machine, as a loop that only writes to one shows.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro
from rich.console import Console
from rich.table import Table

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

EVENT_FIGURES = ("key", "after_s", "stays", "ends_by_reset")


@dataclass(frozen=True)
class Arguments:
    """Trouble the driver of an SO-101's servos."""

    quick: bool = False
    """300 replies of each kind, 5 s of the node."""
    packets: int = 10_000
    """Replies to trouble, of each kind."""
    seconds: float = 60.0
    """How long the node's period is measured; 0 leaves it out."""
    seed: int = 0
    """Of the faults."""
    json: Path | None = None
    """Write the figures to this file."""


def main(arguments: Arguments) -> None:
    """Run faults, events and node; print and save."""
    packets, seconds = (300, min(5.0, arguments.seconds)) if arguments.quick else (arguments.packets, arguments.seconds)
    console, described = Console(), origin([arguments.seed])
    console.print(heading(described))
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
    figures = {
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
    details = {
        "faults": {kind: asdict(run) for kind, run in runs.items()},
        "events": {name: dict(zip(EVENT_FIGURES, found)) for name, found in events.items()},
    }
    save(arguments.json, described, {**figures, **details})


if __name__ == "__main__":
    main(tyro.cli(Arguments))
