"""What a batch costs is fitted, and packets between namespaces arrive later."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from benchmarks.scaling.batch_costs import fitted
from benchmarks.scaling.broken_trainings import session_seconds
from benchmarks.scaling.delayed_network import address, delayed_network, missing

SERVE = (
    "import socket; s = socket.create_server((%r, 7000)); print('up', flush=True); c, _ = s.accept(); c.send(c.recv(9))"
)
ASK = """
import socket, time
begun = time.monotonic()
with socket.create_connection((%r, 7000)) as server:
    server.send(b"hello")
    assert server.recv(9) == b"hello"
print(time.monotonic() - begun)
"""


def test_the_fit_finds_what_a_batch_a_megabyte_and_an_item_cost() -> None:
    def row(kind: str, size: int, items: int) -> dict:
        spent = 0.002 + 0.003 * size / 1e6 + 0.0001 * items
        return {"kind": kind, "bytes": size, "items": items, "driver": 0.6 * spent, "head": 0.4 * spent, "worker": 1.5}

    rows = [row("plain", 0, 0), row("plain", 1_000_000, 0), row("plain", 8_000_000, 0), row("renders", 10_000_000, 250)]
    fit = fitted(rows)
    assert fit["fixed_ms"] == pytest.approx(2.0)
    assert fit["ms_per_mb"] == pytest.approx(3.0)
    assert fit["ms_per_item"] == pytest.approx(0.1)
    assert fit["worker_ms_per_item"] == pytest.approx(6.0)
    assert fit["busy_workers"] == pytest.approx(1_500 / 57)


@pytest.mark.slow
def test_packets_arrive_after_the_delay_in_both_directions() -> None:
    if lacking := missing():  # then the benchmark must say so, and measure nothing
        with pytest.raises(ValueError, match=re.escape(lacking)), delayed_network(2):
            pass
        return
    with delayed_network(2) as network:
        network.delay(0.05)
        serve = network.within(1, [sys.executable, "-c", SERVE % address(1)])
        with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == "up\n"
            ask = network.within(0, [sys.executable, "-c", ASK % address(1)])
            done = subprocess.run(ask, capture_output=True, text=True, check=True)
        assert float(done.stdout) > 0.2  # there and back, twice: the handshake and the answer
        names = network.names
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert not any(name in listed for name in names)


def test_processor_time_of_a_session_counts_its_children() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    most = 0.0
    while child.poll() is None:
        most = max(most, session_seconds(child.pid))
    assert most >= 0.25
    assert session_seconds(child.pid) == 0.0
