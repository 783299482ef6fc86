"""Cuts a stream of sound into utterances by voice-activity detection (Silero VAD, in faster-whisper)."""

from __future__ import annotations

import numpy as np

from policies.language.speech import SAMPLE_RATE

SILENCE = 0.6
"""Ends an utterance [s]."""
SHORTEST, LONGEST = 0.25, 12.0
"""Speech of an utterance [s]; what goes on for longer is a conversation, not a command."""
PAD = 0.25
"""Sound that is kept before and after the speech [s]."""
STEP = 0.3
"""Between two looks at what came in [s]."""


class Utterances:
    """Takes samples as they come, and gives back each utterance when it has ended."""

    def __init__(self) -> None:
        """Begin with silence."""
        self._held = np.zeros(0, np.float32)
        self._looked = 0

    def feed(self, samples: np.ndarray) -> list[np.ndarray]:
        """Return the utterances that ended by now.

        Args:
            samples: (N,) float32 in −1 … 1 at `SAMPLE_RATE`, those that follow the ones before.
        """
        self._held = np.concatenate([self._held, samples.astype(np.float32)])
        if len(self._held) - self._looked < STEP * SAMPLE_RATE:
            return []
        return self._cut(SILENCE)

    def end(self) -> list[np.ndarray]:
        """Return what was being said when the stream ended."""
        return self._cut(0.0)

    def _cut(self, silence: float) -> list[np.ndarray]:
        found, pad = [], round(PAD * SAMPLE_RATE)
        spans = speech_spans(self._held)
        while spans and len(self._held) - spans[0][1] >= silence * SAMPLE_RATE:
            first, last = spans.pop(0)
            if SHORTEST * SAMPLE_RATE <= last - first <= LONGEST * SAMPLE_RATE:
                found.append(self._held[max(first - pad, 0) : last + pad])
            self._held = self._held[last:]
            spans = [(a - last, b - last) for a, b in spans]
        if not spans:
            self._held = self._held[-2 * pad :]
        elif len(self._held) - spans[0][0] > 2 * LONGEST * SAMPLE_RATE:
            self._held = self._held[-round(LONGEST * SAMPLE_RATE) :]
        self._looked = len(self._held)
        return found


def speech_spans(samples: np.ndarray) -> list[tuple[int, int]]:
    """Return first and last sample of each stretch of speech, those less than `SILENCE` apart joined."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    if not len(samples):
        return []
    options = VadOptions(min_silence_duration_ms=round(1000 * SILENCE), speech_pad_ms=0)
    return [(each["start"], each["end"]) for each in get_speech_timestamps(samples, options)]
