"""Speech: utterances are cut out of a stream, recognised with their alternatives, and understood or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from policies.language.abilities import Abilities
from policies.language.speech import SAMPLE_RATE, Heard, SpeechRecogniser, hint, read_audio
from policies.language.understanding import CommandReader
from policies.language.utterances import Utterances
from robots.host.reading import FileError
from robots.specs import SpecError
from tests.support.spoken import COMMAND, SPOKEN
from tests.support.tiny_bert import write_memorised_heads, write_tiny_bert

ABILITIES = Abilities(("reach", "push"), ("red", "blue"))


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    """The command, with silence before and after."""
    return read_audio(SPOKEN)


@pytest.fixture(scope="module")
def recogniser() -> SpeechRecogniser:
    return SpeechRecogniser.load(ABILITIES)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> CommandReader:
    folder = tmp_path_factory.mktemp("language")
    bert = write_tiny_bert(folder / "bert")
    sentences = {
        "go above the blue cube": {"verb": "reach", "colour": "blue"},
        "push the blue cube": {"verb": "push", "colour": "blue"},
    }
    return CommandReader.load(bert, write_memorised_heads(folder / "heads.npz", bert, sentences))


def test_a_command_is_recognised(recogniser: SpeechRecogniser, samples: np.ndarray) -> None:
    heard = recogniser.recognise(samples)
    assert heard.text.lower().rstrip(".") == COMMAND
    assert sum(share for _, share in heard.hypotheses) == pytest.approx(1.0)
    assert [share for _, share in heard.hypotheses] == sorted((s for _, s in heard.hypotheses), reverse=True)


def test_noise_is_no_command(recogniser: SpeechRecogniser) -> None:
    noise = 0.01 * np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE)
    assert Utterances().feed(noise) == []
    assert recogniser.recognise(noise).text == ""


@pytest.mark.parametrize("wrong", [np.zeros(0), np.zeros((2, 9)), np.full(9, np.nan), np.zeros(31 * SAMPLE_RATE)])
def test_other_samples_are_refused(recogniser: SpeechRecogniser, wrong: np.ndarray) -> None:
    with pytest.raises(SpecError, match="expected"):
        recogniser.recognise(wrong)


@pytest.mark.parametrize("block", [777, 1600, 50_000])
def test_utterances_are_cut_at_silences(samples: np.ndarray, block: int) -> None:
    stream = np.concatenate([samples, np.zeros(SAMPLE_RATE, np.float32), samples])
    utterances = Utterances()
    found = [each for k in range(0, len(stream), block) for each in utterances.feed(stream[k : k + block])]
    found += utterances.end()
    assert len(found) == 2
    assert all(len(each) == pytest.approx(len(samples) - 1.0 * SAMPLE_RATE, abs=0.5 * SAMPLE_RATE) for each in found)


@pytest.mark.slow
def test_what_may_have_been_said_counts_by_its_probability(reader: CommandReader) -> None:
    sure = reader.understand_heard(Heard((("go above the blue cube", 1.0),), -0.1, 0.0), ABILITIES)
    assert (sure.accepted, sure.goal) == (True, "blue")
    pair = (("go above the blue cube", 0.55), ("push the blue cube", 0.45))
    torn = reader.understand_heard(Heard(pair, -0.1, 0.0), ABILITIES)
    assert torn.confidence["verb"] == pytest.approx(0.55 * sure.confidence["verb"], abs=0.05)
    assert torn.certainty == pytest.approx(0.55 * sure.certainty, abs=0.05)
    assert torn.confidence["colour"] == pytest.approx(sure.confidence["colour"], abs=0.05)


@pytest.mark.slow
def test_speech_stops_nothing_and_says_so(reader: CommandReader) -> None:
    found = reader.understand_heard(Heard((("Go on.", 0.6), ("Stop!", 0.4)), -0.1, 0.0), ABILITIES)
    assert "press the stop button" in found.reason
    assert "say it again" in reader.understand_heard(Heard((), -2.0, 0.9), ABILITIES).reason


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    (tmp_path / "no.wav").write_bytes(b"no sound")
    for path in (tmp_path / "no.wav", tmp_path / "missing.wav"):
        with pytest.raises(FileError, match="cannot be read"):
            read_audio(path)
    with pytest.raises(FileError, match=r"lacks model\.bin, config\.json, tokenizer\.json"):
        SpeechRecogniser.load(ABILITIES, tmp_path)


def test_the_hint_names_what_the_policy_can_do() -> None:
    assert hint(ABILITIES) == "red, blue, cube, block, pad, target, hover above, push."
