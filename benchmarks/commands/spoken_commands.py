"""Commands spoken by synthetic voices, with noise: espeak-ng's, which no person sounds like."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from policies.language.commands import WrittenCommand
from policies.language.speech import read_audio

VOICES = ("en-us", "en-gb", "en-gb-scotland", "en-us+f3", "en-gb-x-rp+m3", "en-us+f4")
"""Of espeak-ng, by turns."""
SPEEDS = (130, 150, 170)
"""Words a minute."""
SIGNAL_TO_NOISE = (10.0, 30.0)
"""Of white and low-pass noise, drawn for each command [dB]."""
SPOKEN = 100
"""Commands."""


@dataclass(frozen=True)
class SpokenCommand:
    """A command, and its sound."""

    written: WrittenCommand
    samples: np.ndarray
    """As `policies.language.speech.read_audio` returns them."""


def speak(commands: Sequence[WrittenCommand], rng: np.random.Generator) -> list[SpokenCommand]:
    """Return `SPOKEN` of the commands, drawn without replacement, as they sound.

    Raises:
        ValueError: if espeak-ng is missing, or there are fewer commands.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise ValueError("spoken commands need espeak-ng: apt install espeak-ng")
    if len(commands) < SPOKEN:
        raise ValueError(f"{len(commands)} commands, expected at least {SPOKEN}")
    chosen = [commands[k] for k in sorted(rng.permutation(len(commands))[:SPOKEN])]
    return [
        SpokenCommand(each, _noisy(_synthesise(program, each.text, VOICES[k % len(VOICES)], rng), rng))
        for k, each in enumerate(chosen)
    ]


def _synthesise(program: str, text: str, voice: str, rng: np.random.Generator) -> np.ndarray:
    speed = str(SPEEDS[int(rng.integers(len(SPEEDS)))])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "command.wav"
        subprocess.run([program, "-v", voice, "-s", speed, "-w", str(path), text], check=True)
        return read_audio(path)


def _noisy(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    white = rng.standard_normal(len(samples))
    hum = np.convolve(rng.standard_normal(len(samples)), np.ones(32) / 32**0.5, mode="same")
    noise = white if rng.random() < 0.5 else hum
    ratio = 10 ** (-rng.uniform(*SIGNAL_TO_NOISE) / 20)
    return (samples + ratio * np.sqrt(np.mean(samples**2)) * noise).astype(np.float32)
