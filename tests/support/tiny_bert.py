"""A text encoder with random weights and a few words, in the files of a published one."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from policies.language.fitting import Example, fit_heads
from policies.language.heads_file import HeadsFacts, write_heads
from policies.language.sentences import make_sentence
from policies.language.slots import SLOTS, Labels
from policies.language.text_encoder import TextEncoder
from policies.language.word_pieces import END, SETTINGS, START, UNKNOWN, split_words

WIDTH, HEADS, LAYERS, INNER, PLACES = 32, 4, 2, 48, 64


def known_words() -> list[str]:
    """List the words of made sentences, and the letters to spell others with."""
    rng = np.random.default_rng(0)
    words = {word for _ in range(1_000) for word in split_words(make_sentence(rng)[0])}
    letters = "abcdefghijklmnopqrstuvwxyz"
    return sorted(words | set(letters) | {f"##{letter}" for letter in letters} | set(".,!?'-:"))


def write_tensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Write a safetensors file."""
    header, begin = {}, 0
    for name, array in tensors.items():
        end = begin + array.astype("<f4").nbytes
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [begin, end]}
        begin = end
    head = json.dumps(header).encode()
    body = b"".join(array.astype("<f4").tobytes() for array in tensors.values())
    path.write_bytes(struct.pack("<Q", len(head)) + head + body)


def bert_tensors(pieces: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw weights by the names of a BERT model for `pieces` pieces of words."""
    rng = np.random.default_rng(seed)

    def linear(name: str, rows: int, columns: int) -> dict[str, np.ndarray]:
        return {
            f"{name}.weight": rng.normal(0.0, columns**-0.5, (rows, columns)),
            f"{name}.bias": rng.normal(0.0, 0.1, rows),
        }

    def norm(name: str) -> dict[str, np.ndarray]:
        return {f"{name}.weight": rng.normal(1.0, 0.1, WIDTH), f"{name}.bias": rng.normal(0.0, 0.1, WIDTH)}

    found = {
        f"embeddings.{name}_embeddings.weight": rng.normal(0.0, 1.0, (rows, WIDTH))
        for name, rows in (("word", pieces), ("position", PLACES), ("token_type", 2))
    } | norm("embeddings.LayerNorm")
    for k in range(LAYERS):
        at = f"encoder.layer.{k}."
        for name in ("query", "key", "value"):
            found |= linear(f"{at}attention.self.{name}", WIDTH, WIDTH)
        found |= linear(f"{at}attention.output.dense", WIDTH, WIDTH) | norm(f"{at}attention.output.LayerNorm")
        found |= linear(f"{at}intermediate.dense", INNER, WIDTH)
        found |= linear(f"{at}output.dense", WIDTH, INNER) | norm(f"{at}output.LayerNorm")
    return found


def write_tiny_bert(folder: Path, seed: int = 0, words: Sequence[str] | None = None) -> Path:
    """Write a model for `words` into `folder`, by default those of the patterns; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [UNKNOWN, START, END, *(known_words() if words is None else words)]
    config = {
        "model_type": "bert",
        "hidden_size": WIDTH,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
    }
    tokenizer = {part: dict(values) for part, values in SETTINGS.items()}
    tokenizer["model"]["vocab"] = {piece: k for k, piece in enumerate(vocabulary)}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    write_tensors(folder / "model.safetensors", bert_tensors(len(vocabulary), seed))
    return folder


def write_memorised_heads(path: Path, folder: Path, sentences: Mapping[str, Labels]) -> Path:
    """Write heads to `path` that know these sentences by heart, for the model in `folder`; return it."""
    encoder = TextEncoder.load(folder)
    none = {name: values[0] for name, values in SLOTS.items()}
    examples = [
        Example(encoded, {**none, **labels})
        for encoded, labels in zip(encoder.encode_all(list(sentences)), sentences.values())
    ]
    facts = HeadsFacts(encoder.hash, "", 0, "", 0, dict(SLOTS), 1.0, 0.5, {})
    write_heads(path, (fit_heads(examples * 20, seed=0, epochs=40, batch=16),), facts)
    return path
