"""A policy server that runs an ONNX graph.

python -m policies.foreign.onnx_server act.onnx
"""

from __future__ import annotations

import os
import sys

import numpy as np
import onnxruntime

from policies.foreign.messages import read_message, write_message


def main() -> int:
    """Answer requests until standard input ends; return the exit status."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints is no reply
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    while (request := read_message(sys.stdin.buffer)) is not None:
        try:
            found = dict(zip(names, session.run(names, request)))
        except Exception as error:  # onnxruntime's own kinds: a wrong name or shape is the asker's to report
            found = {"error": np.array(f"{type(error).__name__}: {error}"[:500])}
        write_message(replies, found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
