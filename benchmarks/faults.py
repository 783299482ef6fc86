"""Does the arm rest in time, and is everything refused or kept that should be, whatever breaks?

    python benchmarks/faults.py [--quick] [--repeats N] [--only WORDS] [--json FILE]

Processes are killed, frozen, cut off and given wrong data while an arm moves (a stand-in that follows its controller,
with joint states at 100 Hz and a camera at 30 Hz): measured is the time from the fault to the arm's last motion,
against 150 ms plus the time that the arm's limits need to stop it from the speed that it had; a fault that should not
stop the arm must leave it moving. Others are shown to nodes at rest, to launch files (run by ROS's launch where it is
installed, else by a stand-in), to attended sessions, and to the readers and writers of files. The network cut and the
full disk need root (network namespaces, a small tmpfs): what cannot be shown counts as not tried and is named.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from traceback import extract_tb

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.fault_injection import fault_list, file_faults, launch_faults, launch_run, node_faults
from benchmarks.fault_injection.check import Check, NotTriedError, Place, Seen
from benchmarks.fault_injection.moving_arm import DETECTION, STOPPING
from benchmarks.parts.record import heading, origin, save
from ros_nodes.session.ros_environment import free_domain, isolated
from tests.support.ros_bench import ROOT

CHECKS: tuple[Check, ...] = (*fault_list.CHECKS, *node_faults.CHECKS, *launch_faults.CHECKS, *file_faults.CHECKS)
COLUMNS = ("fault", "kind", "expected", "seen", "seconds", "as expected")


@dataclass(frozen=True)
class Arguments:
    """Show faults, measure what follows."""

    quick: bool = False
    """One try of each fault that needs no root."""
    repeats: int = 3
    """Tries of each."""
    only: str = ""
    """Faults whose name or kind holds this."""
    json: Path | None = None
    """Write the figures to this file."""


def try_once(check: Check, place: Place) -> Seen:
    """Show a fault once; what breaks the bench itself is a failure, too."""
    place.folder.mkdir()
    began = time.monotonic()
    try:
        return check.show(place)
    except NotTriedError:
        raise
    except (Exception, SystemExit) as error:  # of the bench, the nodes or the files: whatever it is, it is not expected
        at = ", ".join(f"{Path(each.filename).name}:{each.lineno}" for each in extract_tb(error.__traceback__)[-3:])
        words = " ".join(f"{type(error).__name__} at {at}: {error}".split())
        return Seen(False, words[:400], time.monotonic() - began)


def tried(check: Check, repeats: int, environment: dict[str, str], scratch: Path, network: bool) -> list[Seen]:
    """Show a fault `repeats` times.

    Raises:
        NotTriedError: if it cannot be shown here.
    """
    if check.root and os.geteuid() != 0:
        raise NotTriedError("needs root")
    if check.apart and not network:
        return _in_its_own_process(check, repeats)
    at = CHECKS.index(check)
    return [try_once(check, Place(environment, scratch / f"{at}_{i}")) for i in range(repeats)]


def main(arguments: Arguments) -> None:
    """Show them all and print."""
    repeats = 1 if arguments.quick else arguments.repeats
    console = Console(width=190)
    described = origin()
    console.print(heading(described))
    console.print(f"bound 150 ms and the stopping time from the speed at hand, {1e3 * STOPPING:.0f} ms at full speed")
    console.print(f"launch files are run by {launch_run.name()}")
    chosen = [c for c in CHECKS if arguments.only in c.name or arguments.only == c.kind]
    network = bool(chosen) and all(check.apart for check in chosen)
    seen: dict[str, list[Seen]] = {}
    left_out: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch, free_domain() as domain:
        environment = isolated(domain, Path(scratch))
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        if network:  # shared memory knows no network namespaces
            environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "SUBNET"
            environment["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"
            environment.pop("FASTDDS_DEFAULT_PROFILES_FILE", None)
            os.environ.pop("FASTDDS_DEFAULT_PROFILES_FILE", None)
        os.environ.update({k: v for k, v in environment.items() if k.startswith(("ROS_", "FASTDDS_"))})
        for check in chosen:
            try:
                if check.root and arguments.quick:
                    raise NotTriedError("needs root, left out in --quick")
                seen[check.name] = tried(check, repeats, environment, Path(scratch), network)
            except NotTriedError as reason:
                left_out[check.name] = str(reason)
                console.print(f"{check.name}: not tried: {reason}", markup=False)
                continue
            for each in seen[check.name]:
                mark = "ok" if each.good else "NO"
                console.print(f"{mark} {check.name}: {each.seconds:.3f} s: {each.words}", markup=False)
    rows = [row(check, seen[check.name]) for check in chosen if check.name in seen]
    table = Table(*COLUMNS, title="faults")
    for cells in rows:
        table.add_row(*map(escape, cells))
    console.print(table)
    for name, why in left_out.items():
        console.print(f"not tried: {name}: {why}")
    every = [each for results in seen.values() for each in results]
    figures = {
        "faults_tried": len(every),
        "faults_failed": sum(not each.good for each in every),
        "worst_stop_s": max((each.stop for each in every if each.stop is not None), default=0.0),
        "worst_recording_loss_s": max((each.loss for each in every), default=0.0),
        "bound_s": DETECTION + STOPPING,
        "launch": launch_run.name(),
        "not_tried": left_out,
    }
    console.print(json.dumps(figures))
    tries = {name: [asdict(each) for each in results] for name, results in seen.items()}
    save(arguments.json, described, {**figures, "columns": COLUMNS, "rows": rows, "tries": tries})
    if figures["faults_failed"]:
        raise SystemExit(1)


def row(check: Check, results: list[Seen]) -> list[str]:
    """Return a fault's row of the table: the worst of its tries."""
    worst = min(results, key=lambda each: (each.good, -each.seconds))
    good = sum(each.good for each in results)
    return [
        check.name,
        check.kind,
        check.expected,
        worst.words[:160],
        f"{worst.seconds:.3f}",
        f"{good} of {len(results)}",
    ]


def _in_its_own_process(check: Check, repeats: int) -> list[Seen]:
    """Show a fault where DDS has been told to use the network."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        words = [sys.executable, __file__, "--only", check.name, "--repeats", str(repeats), "--json", str(report)]
        subprocess.run(words, check=False, capture_output=True)
        if not report.is_file():
            raise NotTriedError("needs network namespaces")
        return [Seen(**each) for each in json.loads(report.read_text())["tries"][check.name]]


if __name__ == "__main__":
    main(tyro.cli(Arguments))
