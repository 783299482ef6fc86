"""Heads: numpy reads what torch fitted, the order of words counts, and a file says what it was fitted with."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.language.abilities import EVERYTHING
from policies.language.colours import BASIC
from policies.language.commands import read_commands
from policies.language.fitting import Example, Heads, fit_command_reader, fit_heads
from policies.language.heads_file import SHIPPED, read_heads, write_heads
from policies.language.scoring import safe_threshold
from policies.language.sentences import make_sentence
from policies.language.slots import SLOTS, SlotReader
from policies.language.text_encoder import TextEncoder
from policies.language.understanding import CommandReader
from robots.host.reading import FileError
from robots.specs import SpecError
from tests.policies.language.test_understanding import reading
from tests.support.tiny_bert import write_tiny_bert

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = ROOT / "benchmarks" / "commands" / "commands.csv"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> TextEncoder:
    return TextEncoder.load(folder)


@pytest.fixture(scope="module")
def own_commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep every fifth command that is not of the test part."""
    head, *rows = COMMANDS.read_text().splitlines()
    path = tmp_path_factory.mktemp("commands") / "own.csv"
    path.write_text("\n".join([head, *[row for row in rows if not row.startswith("test")][::5], ""]))
    return path


@pytest.fixture(scope="module")
def fitted(encoder: TextEncoder, own_commands: Path):
    return fit_command_reader(own_commands, encoder, made=16, members=2, seed=3, report=lambda _: None)


def test_numpy_reads_what_torch_computes(encoder: TextEncoder) -> None:
    torch.manual_seed(0)
    heads = Heads(encoder.width).eval()
    reader = SlotReader(({name: value.numpy() for name, value in heads.state_dict().items()},))
    texts = ["put the red cube on the blue one", "push green"]
    encoded = encoder.encode_all(texts)
    states = torch.zeros(2, len(encoded[0].states), encoder.width)
    for row, each in enumerate(encoded):
        states[row, : len(each.states)] = torch.from_numpy(each.states)
    with torch.no_grad():
        expected = heads(states, torch.tensor([len(each.states) for each in encoded]))
    for row, each in enumerate(encoded):
        for name, share in reader.read(each).shares.items():
            np.testing.assert_allclose(share, expected[name][row].exp().numpy(), atol=1e-5)


@pytest.mark.slow
def test_the_order_of_the_words_counts(encoder: TextEncoder) -> None:
    """Half of the ordered pairs of colours are fitted; the two orders of the others are read correctly as well."""
    pairs = list(permutations(("red", "green", "blue", "yellow", "purple"), 2))
    labels = [{"colour": a, "second": b} for a, b in pairs]
    encoded = encoder.encode_all([f"put the {a} cube on the {b} one" for a, b in pairs])
    held = [k for k, (a, b) in enumerate(pairs) if (BASIC.index(a) + 2 * BASIC.index(b)) % 5 == 4]
    examples = [Example(encoded[k], labels[k]) for k in range(len(pairs)) if k not in held]
    reader = SlotReader((fit_heads(examples * 4, seed=0, epochs=30, batch=16),))
    assert len(held) >= 3
    for k in held:
        slots = reader.read(encoded[k]).slots
        assert (slots["colour"], slots["second"]) == pairs[k]


def test_a_file_says_what_it_was_fitted_with(
    fitted, own_commands: Path, encoder: TextEncoder, folder: Path, tmp_path: Path
) -> None:
    members, facts = fitted
    write_heads(tmp_path / "heads.npz", members, facts)
    found = read_heads(tmp_path / "heads.npz")
    assert found.facts == facts
    assert facts.commands == hashlib.sha256(own_commands.read_bytes()).hexdigest()
    encoded = encoder.encode("push the red cube")
    expected = SlotReader(members, facts.temperature).read(encoded)
    for name, share in found.reader.read(encoded).shares.items():
        np.testing.assert_allclose(share, expected.shares[name], atol=1e-5)
    understood = CommandReader.load(folder, tmp_path / "heads.npz").understand("push the red cube", EVERYTHING)
    assert understood.certainty == pytest.approx(expected.certainty, abs=1e-5)
    too_long = CommandReader.load(folder, tmp_path / "heads.npz").understand("push " * 100, EVERYTHING)
    assert "expected at most" in too_long.reason


def test_another_encoder_is_refused(fitted, tmp_path: Path) -> None:
    write_heads(tmp_path / "heads.npz", *fitted)
    other = write_tiny_bert(tmp_path / "other", seed=1)
    with pytest.raises(SpecError, match=r"were fitted to the text encoder .* fit some to it: sim2real fit-goal"):
        CommandReader.load(other, tmp_path / "heads.npz")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda members, facts: (members, replace(facts, slots={"verb": ["go"]})), "has other slots"),
        (lambda members, facts: ((), facts), "weights that are no numbers, or none"),
        (lambda members, facts: (members, replace(facts, temperature=0.0)), "temperature is 0.0"),
        (lambda members, facts: (({"narrow.weight": np.zeros((4, 3))},), facts), "is damaged"),
        (
            lambda members, facts: (({**members[0], "colour.bias": np.full(len(BASIC), np.nan)},), facts),
            "weights that are no numbers",
        ),
    ],
)
def test_damaged_heads_are_refused(fitted, change, said: str, tmp_path: Path) -> None:
    write_heads(tmp_path / "heads.npz", *change(*fitted))
    with pytest.raises(FileError, match=said):
        read_heads(tmp_path / "heads.npz")


def test_heads_without_their_facts_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "heads.npz", a=np.zeros(3))
    with pytest.raises(FileError, match="does not say what it was fitted with"):
        read_heads(tmp_path / "heads.npz")


def test_the_shipped_heads_are_those_of_minilm_and_of_the_commands() -> None:
    facts = read_heads(SHIPPED).facts
    assert facts.encoder == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert facts.commands == hashlib.sha256(COMMANDS.read_bytes()).hexdigest()
    assert 0.5 <= facts.threshold < 1.0
    rng = np.random.default_rng(facts.seed)
    made = "\n".join(make_sentence(rng)[0] for _ in range(facts.made))
    assert facts.sentences == hashlib.sha256(made.encode()).hexdigest()


def test_the_threshold_leaves_out_what_was_read_wrongly() -> None:
    commands = read_commands(COMMANDS)[:3]
    slots = [dict(each.slots or {}) for each in commands]
    well = [reading(each.text, sure, **held) for each, held, sure in zip(commands, slots, (0.99, 0.98, 0.9))]
    assert well[2].certainty < safe_threshold(commands, well, EVERYTHING) < well[1].certainty  # a tenth is given up
    slots[1]["colour"] = "yellow"
    wrong = [*well[:1], reading("", 0.98, **slots[1]), *well[2:]]
    wrong[1] = type(wrong[1])(("pick",), wrong[1].shares)
    threshold = safe_threshold(commands, wrong, EVERYTHING)
    assert wrong[1].certainty < threshold < well[0].certainty


def test_made_sentences_are_plain_and_labelled() -> None:
    rng = np.random.default_rng(0)
    made = [make_sentence(rng) for _ in range(2_000)]
    again = np.random.default_rng(0)
    assert made[:50] == [make_sentence(again) for _ in range(50)]
    for text, labels in made:
        assert not set("{}") & set(text), text
        for name, value in labels.items():
            assert value in SLOTS[name], (text, name, value)
    for name, values in SLOTS.items():
        assert set(values) == {labels[name] for _, labels in made if name in labels}
