"""Network namespaces whose packets arrive later: emulated machines with a network between them; Linux, as root.

Every namespace has one interface; a process of its own, this file run as a program, holds the other end of all of them
and passes each packet on after the delay. It has its share of the processor: a delay of zero costs time, too.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import shutil
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TUN = "/dev/net/tun"
MTU = 60_000
"""Largest packet [bytes]: few packets, as the processor is scarce."""
QUEUE = 5_000
"""Packets that wait for the switch before some are dropped."""
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI, _CLONE_NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000


def missing() -> str:
    """Return what this machine lacks for it, empty if nothing."""
    if os.geteuid() != 0:
        return "the user is not root"
    if not Path(TUN).exists() or shutil.which("ip") is None:
        return f"{TUN} or the command ip is missing"
    allowed = subprocess.run(["unshare", "--net", "true"], capture_output=True)
    return "" if allowed.returncode == 0 else "network namespaces are not allowed here"


def address(node: int) -> str:
    """Return the address of a node, counted from 0."""
    return f"10.77.0.{node + 1}"


class DelayedNetwork:
    """Namespaces, and the process between them."""

    def __init__(self, names: list[str], switch: subprocess.Popen):
        """Hold the namespaces `names`, which `switch` connects."""
        self.names, self._switch = names, switch

    def delay(self, seconds: float) -> None:
        """Let every packet arrive so much later from now on, in each direction."""
        assert self._switch.stdin is not None
        self._switch.stdin.write(f"{seconds}\n".encode())
        self._switch.stdin.flush()

    def within(self, node: int, command: list[str]) -> list[str]:
        """Return the command that runs `command` on a node."""
        return ["ip", "netns", "exec", self.names[node], *command]


@contextmanager
def delayed_network(nodes: int) -> Iterator[DelayedNetwork]:
    """Make so many namespaces, without any delay at first.

    Raises:
        ValueError: if this machine cannot.
    """
    if lacking := missing():
        raise ValueError(lacking)
    names = [f"sim2real{os.getpid()}n{node}" for node in range(nodes)]
    made, switch = [], None
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
            made.append(name)
        switch = subprocess.Popen([sys.executable, __file__, *names], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert switch.stdout is not None
        if switch.stdout.readline() != b"ready\n":
            raise SystemExit("the namespaces could not be connected")
        yield DelayedNetwork(names, switch)
    finally:
        if switch is not None:
            switch.kill()
            switch.wait()
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def _connect(node: int, name: str) -> int:
    """Make the interface of a namespace; return the file descriptor of its other end."""
    libc, home = ctypes.CDLL(None, use_errno=True), os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/var/run/netns/{name}", os.O_RDONLY)
    if libc.setns(there, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"cannot enter namespace {name}")
    tun = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH", b"t0", _IFF_TUN | _IFF_NO_PI))
    for words in (
        f"addr add {address(node)}/24 dev t0",
        f"link set t0 mtu {MTU} txqueuelen {QUEUE} up",
        "link set lo up",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    libc.setns(home, _CLONE_NEWNET)
    os.close(home)
    os.close(there)
    return tun


def _switch(names: list[str]) -> None:
    """Pass packets on until the end of standard input, whose lines are delays [s]."""
    ends = {_connect(node, name): node for node, name in enumerate(names)}
    to = {int(address(node).rsplit(".", 1)[1]): end for end, node in ends.items()}
    print("ready", flush=True)
    delay = 0.0
    waiting: deque[tuple[float, int, bytes]] = deque()
    while True:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select([0, *ends], [], [], timeout)
        for end in ready:
            if end == 0:
                line = sys.stdin.readline()
                if not line:
                    return
                delay = float(line)
                continue
            for _ in range(64):
                try:
                    packet = os.read(end, 65_536)
                except BlockingIOError:
                    break
                if packet[0] >> 4 == 4 and packet[19] in to:
                    waiting.append((time.monotonic() + delay, to[packet[19]], packet))
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, end, packet = waiting.popleft()
            try:
                os.write(end, packet)
            except (BlockingIOError, OSError):  # its queue is full: the packet is lost, as in a network
                continue


if __name__ == "__main__":
    _switch(sys.argv[1:])
