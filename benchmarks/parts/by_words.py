"""Success over ROS 2 in MuJoCo of a policy whose goal, one of several things, is set by commands in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.crossing import cross
from policies.bundle import PolicyBundle
from policies.language.abilities import abilities_of_bundle
from policies.language.commands import WrittenCommand
from policies.language.understanding import CommandReader


def commands_by_thing(
    bundle: PolicyBundle, reader: CommandReader, commands: Sequence[WrittenCommand]
) -> dict[str, WrittenCommand]:
    """Return the first of `commands` that asks `bundle` for each of its things, rightly understood."""
    abilities, found = abilities_of_bundle(bundle), dict[str, WrittenCommand]()
    for command in commands:
        read = reader.understand(command.text, abilities)
        meant = abilities.names.get(command.slots["colour"]) if command.slots is not None else None
        if read.accepted and read.goal == meant:
            found.setdefault(read.goal, command)
    return found


def succeed_by_words(
    path: Path, reader: CommandReader, commands: Sequence[WrittenCommand], trials: int, seed: int, out: Path
) -> tuple[int, int]:
    """Set each thing as the goal by a command outside the fitted ones; return successes and trials."""
    chosen = commands_by_thing(PolicyBundle.load(path), reader, commands)
    share, successes = trials // len(chosen), 0
    for k, (thing, command) in enumerate(sorted(chosen.items())):
        reached, reasons = cross(path, share, seed + k, out / thing, thing=thing)
        successes += reached
        print(f"  '{command.text}': {reached} of {share} {dict(reasons) or ''}", flush=True)
    return successes, share * len(chosen)
