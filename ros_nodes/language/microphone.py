"""Sound from a microphone, or from a file as if it were said now."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from policies.language.speech import SAMPLE_RATE, read_audio
from robots.specs import SpecError

BLOCK = SAMPLE_RATE // 10
"""Samples that are read at once."""


class Microphone:
    """An ALSA device, read by `arecord`; or an audio file at its pace."""

    def __init__(self, source: str):
        """Open `source`: a file, or an ALSA device by its name ("default").

        Raises:
            SpecError: if arecord is missing, or the file cannot be read.
        """
        self.source = source
        self._samples: np.ndarray | None = None
        self._process: subprocess.Popen[bytes] | None = None
        if Path(source).is_file():
            self._samples = read_audio(Path(source))
            return
        program = shutil.which("arecord")
        if program is None:
            raise SpecError(f"'{source}' is no file, and a microphone needs arecord: apt install alsa-utils")
        command = [program, "-q", "-D", source, "-t", "raw", "-f", "S16_LE", "-c", "1", "-r", str(SAMPLE_RATE)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield (N,) float32 samples as they come; of a file, until its end.

        Raises:
            SpecError: if the device ends by itself; with what arecord said.
        """
        if self._samples is not None:
            began = time.monotonic()
            for first in range(0, len(self._samples), BLOCK):
                time.sleep(max(0.0, began + first / SAMPLE_RATE - time.monotonic()))
                yield self._samples[first : first + BLOCK]
            return
        assert self._process is not None
        while data := self._process.stdout.read(2 * BLOCK):  # type: ignore[union-attr]
            yield np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float32) / 32768.0
        said = self._process.stderr.read().decode(errors="replace").strip()  # type: ignore[union-attr]
        raise SpecError(f"microphone '{self.source}' ended: {said or 'arecord said nothing'}; arecord -L lists some")
