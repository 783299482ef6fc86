"""Do damaged files end in one line? Thousands of them, of every kind that comes from elsewhere.

    python benchmarks/fuzz.py [--quick] [--files N] [--kind NAME] [--json FILE]

Sound files of each kind are damaged (flipped bits, cuts, wrong types, NaN and huge numbers, deep nesting, zip bombs,
pickles, loops of links, pipes in place of files) and read as the product reads them, in a process with limits of time
and memory. A reader refuses with one of the project's own errors; `tracebacks` counts any other exception, and errors
that do not name the file; `hangs` those without an end; `crashes` processes that die. `accepted_wrongly` counts what
was read although its checksum was wrong and its content another, and results with NaN or infinity in them. Bundles
whose hashes were made to fit again are among the files. A file's damage follows from its kind and number alone.
"""

from __future__ import annotations

import os
import pickle
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.fuzzing.fuzz_kinds import KINDS, Kind, digest, endless_graph, finite
from benchmarks.fuzzing.mutations import damage
from benchmarks.parts.record import heading, origin, save
from policies.bundle import graph_check

PATIENCE = 90.0
"""A reader that takes longer hangs [s]."""
MEMORY = 4 << 30
"""Address space of a reader, beyond what its parent has mapped [bytes]."""
OUTCOMES = ("refused", "accepted", "traceback", "hang", "crash", "accepted_wrongly")


@dataclass(frozen=True)
class Arguments:
    """Damage files, read them, count what is not refused in one line."""

    quick: bool = False
    """Five files of each kind, and an endless graph is stopped sooner."""
    files: int = 1_500
    """How many, over all kinds."""
    kind: str = ""
    """One kind alone."""
    first: int = 0
    """Number of the first file of each kind."""
    json: Path | None = None
    """File for the figures."""


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    kind: str
    number: int
    change: str
    """Name of the damage, and the file."""
    result: str
    """One of `OUTCOMES`."""
    said: str = ""


def examine(name: str, number: int, folder: Path, whole: str) -> Outcome:
    """Damage the sound example in `folder` as file `number` of its kind, and read it in a process of its own."""
    kind = KINDS[name]
    rng = np.random.default_rng([number, *name.encode()])
    target = folder / kind.targets[int(rng.integers(len(kind.targets)))]
    before = target.read_bytes()
    if kind.repack is not None and number % 25 == 0:
        (folder / "bundle" / "policy.onnx").write_bytes(endless_graph())
        change = "endless_graph"
    else:
        change = damage(target, rng)
    if kind.repack is not None and target.is_file() and not target.is_symlink():
        kind.repack(folder)
    same = target.is_file() and not target.is_symlink() and target.read_bytes() == before and change != "endless_graph"
    result, said = _read_apart(kind, folder)
    if result == "accepted":
        healthy, found = said.split("\n", 1)
        if healthy != "finite" or (kind.sealed and not same and found != whole):
            result = "accepted_wrongly"
        said = ""
    places = (target.name.split(".")[0], target.parent.name, folder.name, *kind.targets)
    named = name == "configuration" or any(place in said for place in places)  # its values are options, which are named
    if result == "refused" and not named:
        result = "traceback"
    return Outcome(name, number, f"{change} {target.name}", result, said)


def _read_apart(kind: Kind, folder: Path) -> tuple[str, str]:
    """Read in a forked process; return the outcome and what was said."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(here)
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.setsid()
        answer = _answer(kind, folder)
        with os.fdopen(there, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(there)
    content, deadline = b"", time.monotonic() + PATIENCE
    with os.fdopen(here, "rb") as pipe:
        while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            piece = os.read(pipe.fileno(), 1 << 20)
            if not piece:
                break
            content += piece
        else:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hang", f"no answer within {PATIENCE:g} s"
    _, status = os.waitpid(child, 0)
    if status or not content:
        return "crash", f"wait status {status}"
    return pickle.loads(content)


def _answer(kind: Kind, folder: Path) -> tuple[str, str]:
    try:
        found = kind.read(folder)
    except (ValueError, RuntimeError, OSError) as error:  # as the commands and nodes take for bad input
        own = not type(error).__module__.startswith(("builtins", "numpy", "json", "zipfile"))
        if own and type(error).__module__.split(".")[0] in _ROOMS:
            return "refused", " ".join(str(error).split())
        return "traceback", "".join(traceback.format_exception(error)[-3:])
    except BaseException as error:
        return "traceback", "".join(traceback.format_exception(error)[-3:])
    return "accepted", f"{'finite' if finite(found) else 'not finite'}\n{digest(found)}"


_ROOMS = ("robots", "sim", "policies", "adaptation", "evaluation", "ros_nodes", "sim2real", "benchmarks")


def fuzz_kind(name: str, numbers: range) -> list[Outcome]:
    """Examine files `numbers` of one kind."""
    with tempfile.TemporaryDirectory() as place:
        sound = Path(place) / "sound"
        sound.mkdir()
        KINDS[name].make(sound)
        shutil.copytree(sound, Path(place) / "copy")
        result, said = _read_apart(KINDS[name], Path(place) / "copy")
        if result != "accepted":
            raise SystemExit(f"fuzz.py: the sound {name} is not accepted: {said}")
        whole = said.partition("\n")[2]
        found = []
        for number in numbers:
            folder = Path(place) / f"damaged_{number}"
            shutil.copytree(sound, folder)
            found.append(examine(name, number, folder, whole))
            shutil.rmtree(folder, ignore_errors=True)
        return found


def main() -> int:
    """Examine, show, count; return 0 if nothing but refusals and sound results was found."""
    arguments = tyro.cli(Arguments, description=__doc__)
    if arguments.kind and arguments.kind not in KINDS:
        sys.exit(f"fuzz.py: unknown kind '{arguments.kind}'; known are {', '.join(KINDS)}")
    names = [arguments.kind] if arguments.kind else list(KINDS)
    each = 5 if arguments.quick else -(-arguments.files // len(names))
    if arguments.quick:
        graph_check.SECONDS = 2
    described = origin(seeds=[arguments.first])
    console = Console()
    console.print(heading(described))
    table = Table("kind", *OUTCOMES)
    counts: Counter[str] = Counter()
    bad: list[Outcome] = []
    for name in names:
        found = fuzz_kind(name, range(arguments.first, arguments.first + each))
        mine = Counter(outcome.result for outcome in found)
        table.add_row(name, *(str(mine[each]) for each in OUTCOMES))
        counts += mine
        for outcome in found:
            if outcome.result not in OUTCOMES[:2]:
                bad.append(outcome)
                print(f"{name} {outcome.number}, {outcome.change}: {outcome.result}: {outcome.said[:600]}", flush=True)
    console.print(table)
    figures = {
        "files": len(names) * each,
        "tracebacks": counts["traceback"],
        "hangs": counts["hang"],
        "crashes": counts["crash"],
        "accepted_wrongly": counts["accepted_wrongly"],
        "refused": counts["refused"],
    }
    save(arguments.json, described, figures)
    print("  ".join(f"{key} {value}" for key, value in figures.items()))
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
