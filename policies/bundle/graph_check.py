"""Checks a bundle's graph before this process opens it: that it opens, ends, and takes and gives what it should."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policies.bundle import graph_child
from policies.bundle.contents import BundleError

SECONDS = 10
"""Processor time for opening the graph and running it on all records [s]."""
PATIENCE = 120.0
"""Time for the same on a busy machine [s]."""
MEMORY = 4 << 30
"""Address space [bytes]; onnxruntime alone reserves half of a gigabyte."""


@dataclass(frozen=True)
class GraphNames:
    """What a graph takes and gives."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    failed: str
    """Why it could not be run on the records; empty if it could."""


_CHECKED: dict[str, GraphNames] = {}
"""By SHA-256 of graph, records and what is expected of them: a process checks each once."""


def check_graph(
    onnx: bytes, records: bytes, arrays: Sequence[str], memory: Mapping[str, tuple[int, ...]], where: str
) -> GraphNames:
    """Open the graph `onnx` in a child process, and run it on `records` (.npz) if its names fit.

    Args:
        onnx: the graph.
        records: content of the bundle's parity.npz.
        arrays: names of the observation's arrays.
        memory: shapes of what the policy carries from one action to the next, by name.
        where: which bundle, for messages.

    Raises:
        BundleError: if it cannot be opened, does not end, needs too much memory, or crashes the library.
    """
    head = {"arrays": list(arrays), "memory": dict(memory), "seconds": SECONDS, "memory_bytes": MEMORY}
    text = json.dumps(head).encode()
    key = hashlib.sha256(text + hashlib.sha256(onnx).digest() + hashlib.sha256(records).digest()).hexdigest()
    if key not in _CHECKED:
        lengths = graph_child.LENGTHS.pack(len(text), len(onnx), len(records))
        _CHECKED[key] = _ask(lengths + text + onnx + records, where)
    return _CHECKED[key]


def _ask(question: bytes, where: str) -> GraphNames:
    again = "export it again, or copy it again from where it was made"
    try:
        child = subprocess.run(
            [sys.executable, graph_child.__file__], input=question, capture_output=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise BundleError(f"{where}: policy.onnx does not end within {PATIENCE:g} s; {again}") from None
    if child.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise BundleError(f"{where}: policy.onnx does not end within {SECONDS} s of computing; {again}")
    if child.returncode:
        how = signal.Signals(-child.returncode).name if child.returncode < 0 else f"status {child.returncode}"
        raise BundleError(f"{where}: policy.onnx crashes onnxruntime ({how}); {again}")
    answer = json.loads(child.stdout)
    if not answer["outputs"]:
        raise BundleError(f"{where}: policy.onnx cannot be opened ({answer['failed']}); {again}")
    return GraphNames(tuple(answer["inputs"]), tuple(answer["outputs"]), answer["failed"])
