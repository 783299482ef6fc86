"""The text encoder: torch's own layers give the same states; damaged and foreign models are refused."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from policies.language.text_encoder import MOST_PIECES, PACKAGE, TextEncoder, read_tensors
from policies.language.word_pieces import START, WordPieces
from robots.host.reading import FileError
from robots.specs import SpecError
from tests.support.tiny_bert import HEADS, INNER, LAYERS, WIDTH, bert_tensors, write_tensors, write_tiny_bert

ROOT = Path(__file__).resolve().parents[3]
TEXT = "Put the red cube on the blue one, please!"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("bert"))


def reference(folder: Path, numbers: list[int]) -> np.ndarray:
    """Compute the states with torch.nn.TransformerEncoderLayer, which is BERT's layer."""
    weights = read_tensors((folder / "model.safetensors").read_bytes(), "reference")
    tensors = {name: torch.tensor(value) for name, value in weights.items()}
    x = tensors["embeddings.word_embeddings.weight"][numbers]
    x = x + tensors["embeddings.position_embeddings.weight"][: len(numbers)]
    x = x + tensors["embeddings.token_type_embeddings.weight"][0]
    norm = [tensors[f"embeddings.LayerNorm.{name}"] for name in ("weight", "bias")]
    x = nn.functional.layer_norm(x, (WIDTH,), *norm, eps=1e-12)
    kept = [x]
    for k in range(LAYERS):
        at = f"encoder.layer.{k}."
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, 0.0, "gelu", 1e-12, batch_first=True).eval()
        names = [f"{at}attention.self.{name}" for name in ("query", "key", "value")]
        state = {
            "self_attn.in_proj_weight": torch.cat([tensors[f"{name}.weight"] for name in names]),
            "self_attn.in_proj_bias": torch.cat([tensors[f"{name}.bias"] for name in names]),
        }
        for ours, theirs in (
            ("self_attn.out_proj", "attention.output.dense"),
            ("norm1", "attention.output.LayerNorm"),
            ("linear1", "intermediate.dense"),
            ("linear2", "output.dense"),
            ("norm2", "output.LayerNorm"),
        ):
            state |= {f"{ours}.{part}": tensors[f"{at}{theirs}.{part}"] for part in ("weight", "bias")}
        layer.load_state_dict(state)
        with torch.no_grad():
            x = layer(x[None])[0]
        kept.append(x)
    states = [each / each.pow(2).mean(1, keepdim=True).sqrt() for each in kept]
    return torch.cat(states, dim=1).numpy()


def test_the_states_are_those_of_torchs_layers(folder: Path) -> None:
    encoder = TextEncoder.load(folder)
    _, pieces = encoder._pieces.split(TEXT)
    found = encoder.encode(TEXT)
    assert found.states.shape == (len(pieces), encoder.width)
    np.testing.assert_allclose(found.states, reference(folder, [piece.number for piece in pieces]), atol=2e-5)


def test_many_sentences_are_encoded_as_each_by_itself(folder: Path) -> None:
    encoder = TextEncoder.load(folder)
    texts = [TEXT, "push blue", "push red", "", TEXT.upper()]
    for text, together in zip(texts, encoder.encode_all(texts)):
        alone = encoder.encode(text)
        np.testing.assert_allclose(together.states, alone.states, atol=1e-5)
        assert together.words == alone.words
    assert not np.allclose(encoder.encode("red on blue").states, encoder.encode("blue on red").states)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Put IT on", ["put", "it", "on"]),
        ("cubes", ["cube", "##s"]),
        ("don't", ["don", "'", "t"]),
        ("naïve", ["naive"]),
        ("on\tit\u200d\n", ["on", "it"]),
        ("漢字 on", ["[UNK]", "[UNK]", "on"]),
        ("it" * 60, ["[UNK]"]),
        ("$it", ["[UNK]", "it"]),
    ],
)
def test_words_are_split_as_bert_was_trained(text: str, pieces: list[str]) -> None:
    vocabulary = ["[UNK]", START, "[SEP]", "put", "it", "on", "cube", "##s", "don", "'", "t", "naive", "##it"]
    found = WordPieces({piece: k for k, piece in enumerate(vocabulary)}).split(text)[1]
    assert [vocabulary[piece.number] for piece in found] == [START, *pieces, "[SEP]"]


def test_too_long_a_sentence_is_refused(folder: Path) -> None:
    encoder = TextEncoder.load(folder)
    encoder.encode("on " * (MOST_PIECES - 2))
    for text in ("on " * (MOST_PIECES - 1), "on" + " " * 2_000):
        with pytest.raises(SpecError, match="expected at most 64 pieces"):
            encoder.encode(text)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("config.json", {"hidden_act": "relu"}, "a model of kind"),
        ("config.json", {"model_type": "roberta"}, "a model of kind"),
        ("config.json", {"num_attention_heads": 5}, "5 heads"),
        ("config.json", {"num_hidden_layers": 3}, "weights do not fit config.json"),
        ("config.json", {"num_hidden_layers": -1}, "num_hidden_layers is -1"),
        ("config.json", {"hidden_size": 64}, "weights do not fit config.json"),
        ("tokenizer.json", {"normalizer": None}, "normalizer.type is None"),
        ("tokenizer.json", {"model": {"type": "BPE"}}, "model.type is 'BPE'"),
    ],
)
def test_another_kind_of_model_is_refused(file: str, change: dict, said: str, tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path, words=["on"])
    document = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**document, **change}))
    with pytest.raises(FileError, match=said):
        TextEncoder.load(folder)


def test_more_pieces_than_embeddings_are_refused(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path, words=["on", "it"])
    write_tensors(folder / "model.safetensors", bert_tensors(4))
    with pytest.raises(FileError, match=r"4 pieces, tokenizer\.json has numbers to 4"):
        TextEncoder.load(folder)


def entry(offsets: list[int], shape: list[int], dtype: str = "F32") -> bytes:
    head = json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()
    return struct.pack("<Q", len(head)) + head + b"\0" * 8


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        entry([0, 16], [4]),
        entry([0, 8], [3]),
        entry([4, 0], [0]),
        entry([0, 8], [-1, -2]),
    ],
)
def test_damaged_tensors_are_refused(content: bytes) -> None:
    with pytest.raises(FileError, match="is no safetensors file, or a damaged one"):
        read_tensors(content, "file")


def test_half_precision_is_read_and_whole_numbers_are_left_out() -> None:
    assert read_tensors(entry([0, 8], [2, 2], "F16"), "file")["a"].dtype == np.float32
    assert read_tensors(entry([0, 8], [1], "I64"), "file") == {}


def test_without_an_encoder_the_error_says_how_to_get_one() -> None:
    code = (
        f"import sys; sys.modules['{PACKAGE}'] = None\nfrom policies.language.text_encoder import TextEncoder\n"
        "try: TextEncoder.load()\nexcept ValueError as error: print(error)"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "give the folder of one with --text-encoder, or pip install" in printed.stdout
