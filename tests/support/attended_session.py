"""A session on an arm that is there, as its own process, and an operator who polls and answers as the page does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

ROOT = Path(__file__).resolve().parents[2]
POLL = 0.1
ARM_PLAN = """
name = "lab"
task = "reach"
trials = {places}
seed = 5
timeout = {timeout}
hold_time = 0.2
blinded = true

[workspace]
x_low = 0.49
x_high = 0.51
y_low = 0.09
y_high = 0.11
"""
"""A plan without its policies."""
POLICY = """
[[policies]]
name = "{name}"
bundle = "{bundle}"
"""


class AttendedSession:
    """`python -m ros_nodes.lab_session`, and its operator."""

    def __init__(self, plan: Path, out: Path, environment: dict[str, str], **parameters: object):
        """Start; the page is polled from now on."""
        given = {"protocol": plan, "out": out, "port": 0, **parameters}
        arguments = [word for name, value in given.items() for word in ("-p", f"{name}:={value}")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ros_nodes.lab_session", "--ros-args", *arguments],
            cwd=ROOT,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said: list[str] = []
        self.url = ""
        self.polling = True
        """Whether a page is open."""
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._poll)]
        for thread in self._threads:
            thread.start()
        self.wait(lambda: bool(self.url), "the page's address")

    def request(self, path: str, body: dict | None = None) -> dict:
        """Ask the page's server; return its answer, with `error` where it refuses."""
        address = urlsplit(self.url)
        headers = {"Authorization": f"Bearer {parse_qs(address.query)['token'][0]}"}
        payload = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"http://{address.netloc}{path}", payload, headers), timeout=10
            ) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            return json.loads(error.read())

    @property
    def state(self) -> dict:
        """What a page shows now."""
        return self.request("/state?client=test")

    def phase(self, phase: str, answer: str = "", timeout: float = 40.0) -> dict:
        """Wait for a phase, and for `answer` to be among its answers; return the state."""
        found: dict = {}

        def reached() -> bool:
            try:
                found.update(self.state)
            except OSError:  # `wait` says with which words the session ended
                return False
            return found["phase"] == phase and (not answer or answer in found["answers"])

        self.wait(reached, f"phase {phase} {answer}", timeout, lambda: found)
        return found

    def answer(self, phase: str, answer: str, **fields: str) -> dict:
        """Wait until `answer` is taken in `phase`, and give it; return the state that was answered."""
        state = self.phase(phase, answer)
        said = self.request("/answer", {"key": state["key"], "answer": answer, "note": "as seen", **fields})
        assert said == {"taken": answer}, said
        return state

    def stop(self) -> None:
        """Press STOP."""
        self.request("/answer", {"key": "", "answer": "stop", "note": ""})

    def wait(
        self, condition: Callable[[], bool], what: str, timeout: float = 40.0, about: Callable[[], object] = lambda: ""
    ) -> None:
        """Wait until `condition` holds; fail with what the session said."""
        deadline = time.monotonic() + timeout
        while not condition():
            said = "".join(self.said[-20:])
            assert self.process.poll() is None, f"the session ended while waiting for {what}: {said}"
            assert time.monotonic() < deadline, f"waited {timeout} s in vain for {what}: {about()} {said}"
            time.sleep(0.02)

    def kill(self) -> None:
        """End the session by SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=10)

    def close(self) -> int:
        """End the session as Ctrl-C does, if it runs; return its exit status."""
        self._ended.set()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        status = self.process.wait(timeout=60)
        for thread in self._threads:
            thread.join(timeout=10)
        return status

    def __enter__(self) -> AttendedSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith("operator's page: "):
                self.url = line.split(": ", 1)[1].strip()

    def _poll(self) -> None:
        while not self._ended.wait(POLL):
            if self.polling and self.url:
                try:
                    self.request("/state?client=poll")
                except OSError:
                    continue


def registered_plan(folder: Path, bundle: Path, places: int = 2, timeout: float = 3.0) -> Path:
    """Register a plan of one policy in `folder`; return its file."""
    from evaluation.session.protocol_file import register_file

    plan = folder / "lab.toml"
    policy = POLICY.format(name="only", bundle=os.fspath(bundle))
    plan.write_text(ARM_PLAN.format(places=places, timeout=timeout) + policy)
    register_file(plan)
    return plan
