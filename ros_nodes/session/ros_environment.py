"""Environment variables that isolate a session's processes in a ROS domain of their own."""

from __future__ import annotations

import os
import random
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PLACES = (
    Path(__file__).resolve().parents[2] / "launch" / "config",  # a checkout
    Path(sys.prefix) / "share" / "sim2real_arms" / "config",  # an installed wheel
)
PROFILE = next((place / "fastdds.xml" for place in _PLACES if (place / "fastdds.xml").is_file()), _PLACES[0])
"""Shared memory wide enough for camera images; without it most pictures are lost between processes."""
LAST_DOMAIN = 101
"""Greatest ROS domain whose ports stay below Linux's ephemeral ones."""


@contextmanager
def free_domain() -> Iterator[int]:
    """Reserve a ROS domain id that no process on this machine uses, for as long as the block runs.

    A session drives a virtual arm: in the user's own domain the same topics may move a real one.

    Raises:
        RuntimeError: if every domain is taken.
    """
    for domain in random.sample(range(1, LAST_DOMAIN + 1), LAST_DOMAIN):
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            lock.bind(f"\0sim2real-ros-domain-{domain}")  # abstract: vanishes with this process
            probe.bind(("", 7400 + 250 * domain + 10))  # where the domain's first participant listens
        except OSError:
            lock.close()
            continue
        finally:
            probe.close()
        try:
            yield domain
        finally:
            lock.close()
        return
    raise RuntimeError(f"all ROS domains from 1 to {LAST_DOMAIN} are in use; end the processes that use them")


def isolated(domain: int, log_dir: Path) -> dict[str, str]:
    """Return this process's environment, changed for children in `domain` that never leave the machine."""
    environment = dict(os.environ)
    environment["ROS_DOMAIN_ID"] = str(domain)
    environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    environment["ROS_LOG_DIR"] = str(log_dir)
    environment["OMP_NUM_THREADS"] = "1"  # an idle thread pool that spins costs the servo loop its core
    environment["PYTHONUNBUFFERED"] = "1"
    if "FASTDDS_DEFAULT_PROFILES_FILE" not in environment and PROFILE.is_file():
        environment["FASTDDS_DEFAULT_PROFILES_FILE"] = str(PROFILE)
    return environment
