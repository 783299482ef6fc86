"""Faults of files, and of processes that write them: damaged, locked, killed, no space."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks.fault_injection.check import Check, Place, Seen
from benchmarks.fault_injection.scene import run
from benchmarks.fuzzing.fuzz_kinds import endless_graph
from evaluation.session.protocol_file import register_file
from robots.host.locks import FolderLock
from robots.host.reading import FileError, read_json
from robots.host.writing import WriteError, write_json
from tests.robots.host.test_processes import after_kill
from tests.ros_nodes.recording.test_bag import STRING, Bag, numbers, words
from tests.support.ros_bench import ROOT
from tests.support.tiny_bundle import tiny_bundle

MESSAGES, CHUNK = 1000, 10
WRITE = (
    "import sys\n"
    "from robots.host.writing import write_json\n"
    "for n in range(1_000_000):\n"
    "    write_json(sys.argv[1], {'n': [n] * 20_000})\n"
)
KILLS = 5
"""Of a writer, at moments drawn anew."""


def command(place: Place, *arguments: object, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Run `sim2real`."""
    return subprocess.run(
        [sys.executable, "-m", "sim2real", *map(str, arguments)],
        cwd=ROOT,
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def refusal(done: subprocess.CompletedProcess[str], expected: str, began: float) -> Seen:
    """Judge a command that must refuse in one line."""
    good = done.returncode == 1 and expected in done.stderr and len(done.stderr.splitlines()) == 1
    return Seen(good, f"status {done.returncode}: {done.stderr.strip()[-200:]}", time.monotonic() - began)


def nan_weights() -> bytes:
    """Return the small policy's graph with a weight of NaN."""
    graph = onnx.load_from_string(tiny_bundle().onnx)
    (gain,) = (each for each in graph.graph.initializer if each.name == "gain")
    gain.CopyFrom(numpy_helper.from_array(np.float32("nan"), "gain"))
    return graph.SerializeToString()


def bad_graph(make: Callable[[], bytes], expected: str, place: Place) -> Seen:
    """Check a bundle, sound by its hashes, of another graph than the recorded one."""
    path = replace(tiny_bundle(), onnx=make()).save(place.folder / "bundle")
    began = time.monotonic()
    return refusal(command(place, "bundle", "check", path), expected, began)


def flipped_bit(place: Place) -> Seen:
    """One bit of a finished recording."""
    bag = Bag(place.folder / "bag")
    channel = bag.add_topic("/t", STRING)
    for i in range(MESSAGES):
        bag.write(channel, 10**9 + i, words(f"message {i}"))
        if i % CHUNK == CHUNK - 1:
            bag.flush()
    bag.close()
    path = bag.folder / "bag_0.mcap"
    content = bytearray(path.read_bytes())
    content[content.index(b"message 150")] ^= 1
    path.write_bytes(content)
    began = time.monotonic()
    done = command(place, "record", "--repair", bag.folder)
    took = time.monotonic() - began
    (made,) = (place.folder / "bag_repaired").glob("*.mcap")
    kept, untouched = numbers(made), path.read_bytes() == content
    good = done.returncode == 0 and untouched and kept == [i for i in range(MESSAGES) if not 150 <= i < 150 + CHUNK]
    seen = f"{len(kept)} of {MESSAGES} messages beside it, the original {'stays' if untouched else 'has changed'}"
    return Seen(good, seen, took)


def plan(folder: Path, trials: int) -> Path:
    """Register a session of the small policy."""
    tiny_bundle(camera=None).save(folder / "tiny")
    path = folder / "plan.toml"
    path.write_text(f'name = "p"\ntask = "reach"\ntrials = {trials}\n[[policies]]\nname = "a"\nbundle = "tiny"\n')
    register_file(path)
    return path


def second_process(place: Place) -> Seen:
    """A session's folder is in use."""
    registered, out = plan(place.folder, 4), place.folder / "out"
    with FolderLock(out):
        began = time.monotonic()
        done = command(place, "session", "run", registered, "--out", out)
    return refusal(done, f"is in use by process {os.getpid()}", began)


def session_killed(place: Place) -> Seen:
    """`session run` with two workers."""
    arguments = ["session", "run", str(plan(place.folder, 5000)), "--robot", "sim", "--workers", "2"]
    began = time.monotonic()
    left = after_kill([sys.executable, "-m", "sim2real", *arguments], 3, place.folder)
    return Seen(not left, f"{len(left)} processes left {' '.join(left.values())[:120]}", time.monotonic() - began)


def full_disk(place: Place) -> Seen:
    """Files are written anew on a file system without room for them."""
    disk = place.folder / "disk"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk))
    try:
        write_json(disk / "file.json", {"before": True})
        with suppress(OSError), (disk / "others").open("wb", buffering=0) as others:
            while others.write(bytes(4096)):
                pass
        began = time.monotonic()
        said = []
        for write in (
            lambda: write_json(disk / "file.json", list(range(200_000))),
            lambda: tiny_bundle().save(disk / "bundle"),
        ):
            try:
                write()
            except WriteError as error:
                said.append(str(error))
        took = time.monotonic() - began
        whole = read_json(disk / "file.json", "file") == {"before": True} and sorted(os.listdir(disk)) == [
            "file.json",
            "others",
        ]
    finally:
        run("umount", "-l", str(disk), check=False)
    good = whole and len(said) == 2 and all("the disk is full" in each for each in said)
    return Seen(good, f"{'the old file stays' if whole else 'something was left'}; {'; '.join(said)}", took)


def writer_killed(place: Place) -> Seen:
    """A process that writes the same file again and again is killed at random moments."""
    path, rng, torn = place.folder / "file.json", random.Random(0), 0
    began = time.monotonic()
    for _ in range(KILLS):
        child = subprocess.Popen([sys.executable, "-c", WRITE, str(path)], cwd=ROOT, env=place.environment)
        while not path.is_file():
            time.sleep(0.01)
        time.sleep(rng.uniform(0.2, 0.6))
        child.send_signal(signal.SIGKILL)
        child.wait()
        try:
            torn += len(set(read_json(path, "file")["n"])) != 1
        except FileError:
            torn += 1
    return Seen(torn == 0, f"{torn} of {KILLS} files torn", time.monotonic() - began)


ONE_LINE = "one line, status 1"
CHECKS = (
    Check("policy of NaN weights", "file", ONE_LINE, partial(bad_graph, nan_weights, "replayed as [nan nan nan]")),
    Check("policy's graph without an end", "file", ONE_LINE, partial(bad_graph, endless_graph, "does not end within")),
    Check("flipped bit in a recording", "file", "repaired beside; that chunk alone is lost", flipped_bit),
    Check("second process on a session's folder", "file", ONE_LINE, second_process),
    Check("session run SIGKILL", "file", "no worker is left", session_killed),
    Check("writer SIGKILL", "file", "the file is the old or the new one", writer_killed),
    Check("disk full under a writer", "file", "says so; what was there stays", full_disk, root=True),
)
