"""Batches on the nodes of a Ray cluster.

A node that dies costs the batches that it was computing: Ray computes them again elsewhere. Results come back through
its object store; what many batches need is put there once.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import os
import socket
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from sim.workers.pool import Workers, WorkersError, relayed, timed

CONNECT = 10.0
"""Longest wait for a Ray cluster [s]."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What a client of HTTP/2, and so of gRPC, says first (RFC 9113, 3.4); the server answers with its settings."""
TRIES_AGAIN = 20
"""How often a batch is computed anew because its node died."""
LARGEST = 200_000_000
"""Most bytes of files that are sent to the nodes."""


class RayWorkers:
    """The cores of a cluster."""

    def __init__(self, ray: ModuleType, files: bytes):
        """Use the cluster that `ray` is connected to; `files`, a zip archive, is unpacked on its nodes."""
        self._ray, self.seconds = ray, 0.0
        self.count = max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._files = ray.put(files) if files else None
        self._remote = ray.remote(num_cpus=1, max_retries=TRIES_AGAIN)(compute)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        """Begin a batch on any node; see `Workers.submit`."""
        return relayed(self, self._remote.remote(self._files, function, *arguments).future(), self._translated)

    def share(self, value: Any) -> Any:
        """Put `value` into the object store."""
        return self._ray.put(value)

    def check_nodes(self, check: Callable[[], object]) -> None:
        """Call `check` once on every node that computes.

        Raises:
            WorkersError: if it raises on one; names the node.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        nodes = [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        checks = [
            self._remote.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=True), max_retries=0
            ).remote(self._files, check)
            for node in nodes
        ]
        for node, answer in zip(nodes, checks):
            try:
                self._ray.get(answer)
            except self._ray.exceptions.RayError as error:
                cause = getattr(error, "cause", error)
                said = " ".join(str(cause).split("traceback:")[0].split())[:400]
                raise WorkersError(
                    f"Ray's node {node['NodeManagerAddress']} cannot do the batches: {said} (what is named by a path "
                    "is sent along; all else must be installed there, in the same version)"
                ) from None

    def _translated(self, error: BaseException) -> BaseException:
        if isinstance(error, self._ray.exceptions.RayTaskError):
            return error.cause
        return WorkersError(f"Ray: {' '.join(str(error).split())[:300]}; start again to go on")


@contextmanager
def ray_workers(
    address: str, files: Iterable[Path] = (), check: Callable[[], object] = lambda: None
) -> Iterator[Workers]:
    """Use the cluster at `address`; `local` starts one on this machine. A connection that is made here is closed again.

    Raises:
        WorkersError: as `check_cluster`, if the cluster does not let us in, or if `check` raises on a node.
    """
    packed = check_cluster(address, files)
    import ray

    begun_here = not ray.is_initialized()
    if begun_here:
        try:
            ray.init(address=None if address == "local" else address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise WorkersError(f"Ray at '{address}': {error}; start it with 'ray start', or use 'local'") from error
    try:
        workers = RayWorkers(ray, packed)
        workers.check_nodes(check)
        yield workers
    finally:
        if begun_here:
            ray.shutdown()


def check_cluster(address: str, files: Iterable[Path]) -> bytes:
    """Check what can be checked without a connection; return the zipped `files`.

    Raises:
        WorkersError: if Ray is not installed, no server answers at `address`, or a file cannot be sent.
    """
    if importlib.util.find_spec("ray") is None:
        raise WorkersError("--ray needs Ray: pip install 'sim2real-arms[ray]'")
    _check_address(address)
    return pack_files(files)


def pack_files(files: Iterable[Path]) -> bytes:
    """Zip files and folders, relative to the current folder; nothing if there are none.

    Raises:
        WorkersError: for a path outside the current folder, or more than `LARGEST` bytes.
    """
    buffer, size = io.BytesIO(), 0
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            if path.is_absolute() or ".." in path.parts:
                raise WorkersError(f"'{path}' cannot be sent to the nodes: give it relative to the current folder")
            for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if each.is_file():
                    size += each.stat().st_size
                    archive.write(each)
        named = archive.namelist()
    if size > LARGEST:
        raise WorkersError(f"the nodes would be sent {size / 1e6:.0f} MB of files, at most {LARGEST / 1e6:.0f}")
    return buffer.getvalue() if named else b""


def compute(files: bytes | None, function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """Compute a batch on a node, in a folder that holds `files`; return the result and the processor time [s]."""
    if files:
        _unpack(files)
    return timed(function, *arguments)


_unpacked: dict[str, tempfile.TemporaryDirectory] = {}
"""Folder of each archive that this process has unpacked, by its hash; deleted with the process."""


def _unpack(files: bytes) -> None:
    name = sha256(files).hexdigest()
    if name not in _unpacked:
        _unpacked[name] = tempfile.TemporaryDirectory(prefix="sim2real_")
        with zipfile.ZipFile(io.BytesIO(files)) as archive:
            archive.extractall(_unpacked[name].name)
    os.chdir(_unpacked[name].name)


def _check_address(address: str) -> None:
    """Raise WorkersError where no gRPC server answers: Ray itself tries for minutes, and then ends the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:  # `local`, `auto`
        return
    try:
        with socket.create_connection((host, int(port)), timeout=CONNECT) as server:
            server.sendall(PREFACE)
            answer = server.recv(9)
        if answer[3:4] != b"\x04" and "RAY_USE_TLS" not in os.environ:  # type of the frame: settings
            raise ValueError("what answers there is not Ray")
    except (OSError, ValueError) as error:
        raise WorkersError(f"Ray at '{address}': {error}; start it with 'ray start --head', or use 'local'") from error
