"""A policy's server process, asked from a thread of its own: the control loop never waits for it.

Robot side: numpy only.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from policies.foreign.description import ForeignPolicy
from policies.foreign.messages import read_message, write_message
from robots.host.processes import tied
from robots.host.reading import FileError
from robots.specs import SpecError


class ServerError(SpecError):
    """The server is gone, or answers what cannot be used."""


def server_command(policy: ForeignPolicy, folder: Path) -> Sequence[str]:
    """Return the command of the server of a policy whose description is in `folder`."""
    if policy.onnx:
        return (sys.executable, "-m", "policies.foreign.onnx_server", str(folder / policy.onnx))
    return policy.server


class PolicyServer:
    """One question at a time; `close` ends the process."""

    def __init__(self, command: Sequence[str]):
        """Start it.

        Raises:
            ServerError: if it cannot be started.
        """
        self._child = subprocess.Popen(
            tied(command, 9), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._asked: tuple[float, Mapping[str, np.ndarray]] | None = None
        self._answer: tuple[float, dict[str, np.ndarray]] | None = None
        self._failure = ""
        self._wake = threading.Condition()
        self._busy, self._ended = False, False
        self._thread = threading.Thread(target=self._serve, name="policy server", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a question is not answered yet."""
        return self._busy

    def ask(self, stamp: float, inputs: Mapping[str, np.ndarray]) -> None:
        """Ask about the observation taken at `stamp`, unless a question is open."""
        with self._wake:
            if not self._busy:
                self._busy, self._asked = True, (stamp, inputs)
                self._wake.notify()

    def answer(self) -> tuple[float, dict[str, np.ndarray]] | None:
        """Return an answer, with its observation's stamp, once; None while there is no new one.

        Raises:
            ServerError: if the server is gone, or said what is wrong.
        """
        with self._wake:
            if self._failure:
                raise ServerError(self._failure)
            found, self._answer = self._answer, None
            return found

    def close(self) -> None:
        """End the process."""
        with self._wake:
            self._ended = True
            self._wake.notify()
        self._child.kill()
        self._child.wait()
        self._thread.join()

    def _serve(self) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._asked is not None or self._ended)
                if self._ended or self._asked is None:
                    return
                (stamp, inputs), self._asked = self._asked, None
            failure, answer = "", None
            try:
                write_message(self._child.stdin, inputs)  # type: ignore[arg-type]
                answer = read_message(self._child.stdout)  # type: ignore[arg-type]
                if answer is not None and "error" in answer:
                    failure = f"policy server: {answer['error']}"
            except OSError:
                pass  # it does not read any more: it has ended, or is about to
            except FileError as error:
                failure = f"policy server: {error}"
            if answer is None and not failure:
                failure = f"policy server: ended with status {self._status()}; see what it printed"
            with self._wake:
                self._failure = failure
                self._answer = (stamp, answer) if answer is not None and not failure else None
                self._busy = False

    def _status(self) -> int | str:
        try:
            return self._child.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return "unknown: it closed its pipes and goes on"
