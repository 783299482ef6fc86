"""Connect to a Ray cluster."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

CONNECT = 10.0
"""Longest wait for a Ray cluster [s]."""


class ClusterError(RuntimeError):
    """The cluster cannot be used."""


@contextmanager
def connected(address: str) -> Iterator[ModuleType]:
    """Return Ray's module, connected to the cluster at `address`; `local` starts one on this machine.

    A connection that is made here is closed afterwards.

    Raises:
        ClusterError: if Ray is not installed or the cluster does not answer.
    """
    try:
        import ray
    except ImportError as error:
        raise ClusterError("--ray needs Ray: pip install 'sim2real-arms[ray]'") from error
    _check_address(address)
    begun_here = not ray.is_initialized()
    if begun_here:
        try:
            ray.init(address=None if address == "local" else address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ClusterError(f"Ray at '{address}': {error}; start it with 'ray start', or use 'local'") from error
    try:
        yield ray
    finally:
        if begun_here:
            ray.shutdown()


def _check_address(address: str) -> None:
    """Raise ClusterError where no server listens: Ray itself tries for minutes, and then ends the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:  # `local`, `auto`
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT).close()
    except (OSError, ValueError) as error:
        raise ClusterError(f"Ray at '{address}': {error}; start it with 'ray start --head', or use 'local'") from error
