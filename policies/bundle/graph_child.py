"""Opens and runs a policy's graph in a process of its own, with limits: run by `graph_check`, as a file.

Reads the graph and its records from standard input, and writes what the graph takes and gives to standard output. A
graph may loop without end, ask for any amount of memory, or crash the library; here that ends this process alone.
"""

from __future__ import annotations

import io
import json
import resource
import struct
import sys

import numpy as np

LENGTHS = struct.Struct("<QQQ")
"""Of the head (JSON), the graph and the records (.npz), which follow."""


def limit(seconds: int, memory: int) -> None:
    """Limit this process's processor time [s] and address space [bytes]; it leaves no core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def run(graph: bytes, records: dict[str, np.ndarray], head: dict, names: dict) -> None:
    """Open the graph; note its names; run it on the records if it takes and gives what `head` says."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names["inputs"] = [node.name for node in session.get_inputs()]
    names["outputs"] = [node.name for node in session.get_outputs()]
    memory: dict[str, list[int]] = head["memory"]
    outputs = ["action", *(f"next_{name}" for name in memory)]
    if sorted(names["inputs"]) == sorted([*head["arrays"], *memory]) and set(outputs) <= set(names["outputs"]):
        count = len(next(iter(records.values()), ()))
        begins = records.get("begin", np.ones(count, bool))
        carried: dict[str, np.ndarray] = {}
        for i in range(count):
            if begins[i]:
                carried = {name: np.zeros((1, *shape), np.float32) for name, shape in memory.items()}
            feed = {name: records[f"observation.{name}"][i][None] for name in head["arrays"]}
            _, *following = session.run(outputs, {**feed, **carried})
            carried = dict(zip(memory, following))


def main() -> int:
    """Read, run, answer; a graph that cannot be opened or run is an answer too."""
    lengths = LENGTHS.unpack(sys.stdin.buffer.read(LENGTHS.size))
    head_text, graph, records = (sys.stdin.buffer.read(length) for length in lengths)
    head = json.loads(head_text)
    limit(head["seconds"], head["memory_bytes"])
    answer: dict = {"inputs": [], "outputs": [], "failed": ""}
    try:
        with np.load(io.BytesIO(records), allow_pickle=False) as arrays:
            run(graph, dict(arrays), head, answer)
    except Exception as error:  # whatever the library makes of it
        answer["failed"] = " ".join(str(error).split())[:300] or type(error).__name__
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
