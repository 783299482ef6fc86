"""Splits a sentence as BERT's uncased models were trained: words, then the longest pieces of the vocabulary.

Written here because the `tokenizers` package installs a client for downloads, and a dozen others, on the robot.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from robots.host.reading import FileError

CONTINUED = "##"
"""Begins a piece that does not begin a word."""
START, END, UNKNOWN = "[CLS]", "[SEP]", "[UNK]"
LONGEST_WORD = 100
"""Longer words are unknown [characters]."""
SETTINGS: dict[str, dict[str, object]] = {
    "normalizer": {"type": "BertNormalizer", "lowercase": True, "strip_accents": None, "clean_text": True},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "model": {"type": "WordPiece", "continuing_subword_prefix": CONTINUED, "unk_token": UNKNOWN},
}
"""What a tokenizer.json must say to be split alike."""


@dataclass(frozen=True)
class WordPiece:
    """One piece of a sentence."""

    number: int
    """In the vocabulary."""
    word: int
    """Which word it is of, from 0; -1 for the marks of start and end."""


class WordPieces:
    """A vocabulary of pieces."""

    def __init__(self, vocabulary: Mapping[str, int]):
        """Take the pieces' numbers. Raises FileError if a mark is missing."""
        missing = [mark for mark in (START, END, UNKNOWN) if mark not in vocabulary]
        if missing:
            raise FileError(f"vocabulary of {len(vocabulary)} pieces without {', '.join(missing)}; take a BERT model's")
        self._numbers = dict(vocabulary)

    @staticmethod
    def of(document: Mapping, where: str) -> WordPieces:
        """Read the content of a tokenizer.json; errors begin with `where`.

        Raises:
            FileError: if it splits sentences in another way, or is none.
        """
        for part, expected in SETTINGS.items():
            found = document.get(part)
            for name, value in expected.items():
                said = found.get(name) if isinstance(found, dict) else None
                if said != value:
                    raise FileError(
                        f"{where}: {part}.{name} is {said!r}, expected {value!r}; take an uncased BERT model"
                    )
        vocabulary = document["model"].get("vocab")
        if not isinstance(vocabulary, dict) or not all(isinstance(number, int) for number in vocabulary.values()):
            raise FileError(f"{where}: model.vocab is no table of pieces and their numbers")
        return WordPieces(vocabulary)

    @property
    def largest(self) -> int:
        """The largest number of a piece."""
        return max(self._numbers.values())

    def split(self, text: str) -> tuple[tuple[str, ...], tuple[WordPiece, ...]]:
        """Return the words of `text`, lower case, and their pieces between the marks of start and end."""
        words = tuple(split_words(text))
        pieces = [WordPiece(number, k) for k, word in enumerate(words) for number in self._pieces(word)]
        return words, (WordPiece(self._numbers[START], -1), *pieces, WordPiece(self._numbers[END], -1))

    def _pieces(self, word: str) -> list[int]:
        if len(word) > LONGEST_WORD:
            return [self._numbers[UNKNOWN]]
        found, begin = [], 0
        while begin < len(word):
            for end in range(len(word), begin, -1):
                piece = (CONTINUED if begin else "") + word[begin:end]
                if piece in self._numbers:
                    found.append(self._numbers[piece])
                    begin = end
                    break
            else:
                return [self._numbers[UNKNOWN]]
        return found


def split_words(text: str) -> list[str]:
    """Split at spaces and around punctuation and Chinese characters, lower case, without accents."""
    plain = unicodedata.normalize("NFD", text.lower())
    spaced = []
    for letter in plain:
        kind = unicodedata.category(letter)
        if kind == "Mn" or letter in "\0\ufffd" or (kind.startswith("C") and letter not in "\t\n\r"):
            continue
        apart = _is_punctuation(letter, kind) or _is_chinese(letter)
        spaced.append(f" {letter} " if apart else letter)
    return "".join(spaced).split()


def _is_punctuation(letter: str, kind: str) -> bool:
    return kind.startswith("P") or (
        letter.isascii() and letter.isprintable() and not letter.isalnum() and letter != " "
    )


def _is_chinese(letter: str) -> bool:
    return 0x4E00 <= ord(letter) <= 0x9FFF or 0x3400 <= ord(letter) <= 0x4DBF or 0xF900 <= ord(letter) <= 0xFAFF
