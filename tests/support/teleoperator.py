"""An operator at a pseudo-terminal in which `sim2real teleop` runs."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
import time

from tests.support.ros_bench import ROOT


class ScriptedOperator:
    """Types keys, and reads what the terminal shows."""

    def __init__(self, environment: dict[str, str], *arguments: object):
        self._master, slave = pty.openpty()
        command = [sys.executable, "-m", "sim2real", "teleop", *map(str, arguments)]
        self.child = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.text = ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> ScriptedOperator:
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self._thread.join(timeout=5.0)
        os.close(self._master)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def hold(self, key: str, seconds: float) -> None:
        """Hold a key down: it repeats 30 times a second."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.press(key)
            time.sleep(1 / 30)

    def press_and_see(self, keys: str, words: str) -> None:
        """Press keys and wait for what they bring about."""
        since = len(self.text)
        self.press(keys)
        self.sees(words, since)

    def sees(self, words: str, since: int = 0, timeout: float = 40.0) -> None:
        """Wait until the terminal has shown `words`."""
        until = time.monotonic() + timeout
        while words not in self.text[since:]:
            assert time.monotonic() < until, f"no {words!r} within {timeout} s; the terminal: {self.text[-1500:]}"
            time.sleep(0.01)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 4096)
            except OSError:
                return
            if not data:
                return
            self.text += data.decode(errors="replace")
