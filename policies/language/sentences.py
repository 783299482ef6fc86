"""Sentences with their slots, made from patterns: what the heads are fitted to, beside sentences that people wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from policies.language import patterns
from policies.language.colours import BASIC, SHADES
from policies.language.slots import NONE, Labels

KINDS = {
    "command": 0.56,
    "negated": 0.09,
    "question": 0.09,
    "talk": 0.08,
    "other": 0.08,
    "several": 0.05,
    "beside": 0.05,
}
"""Shares of what is made."""
TYPING, FILLED, PLAIN, ASIDE = 0.2, 0.1, 0.06, 0.12
"""Shares of sentences with typing errors, with fillers, without articles, and with an aside before or behind."""


def make_sentence(rng: np.random.Generator) -> tuple[str, Labels]:
    """Return a sentence and its slots; those that the sentence does not tell are left out."""
    kind = str(rng.choice(list(KINDS), p=np.array(list(KINDS.values())) / sum(KINDS.values())))
    text, labels = _MAKERS.get(kind, _aside)(rng, kind)
    return _finish(text, rng), labels


def _command(rng: np.random.Generator, kind: str) -> tuple[str, Labels]:
    verb = _pick(rng, tuple(patterns.ORDERS))
    colour, second, excluded = (str(each) for each in rng.choice(BASIC, 3, replace=False, p=_SHARES))
    foreign, elsewhere = rng.random() < 0.07, rng.random() < 0.12
    bare = rng.random() < 0.05  # without a colour
    first, other = _thing(rng, "" if bare else colour, foreign), _thing(rng, second)
    goal = _pick(rng, patterns.ELSEWHERE if elsewhere else patterns.GOALS)
    style = rng.random()
    used = NONE
    if style < 0.12 and not bare and not foreign:
        text = _pick(rng, patterns.SHORT[verb])
    elif style < 0.2:
        text = _pick(rng, patterns.WISHES[verb])
    elif style < 0.4:
        text = _pick(rng, patterns.STATED[verb])
    elif style < 0.46:
        text = _pick(rng, patterns.PASSIVE[verb]).replace("{be}", _pick(rng, patterns.BE["command"]))
    else:
        order, noun = patterns.ORDERS[verb][rng.integers(len(patterns.ORDERS[verb]))]
        text = _pick(rng, patterns.REASONS if style < 0.5 else patterns.ASKED).format(order=order, noun=noun, **_KEPT)
        if style > 0.9:
            text = _pick(rng, patterns.EXCLUDED).format(order=text, **{**_KEPT, "X": _thing(rng, excluded)})
            used = excluded
        elif style > 0.78 and not bare:
            first = _pick(rng, patterns.CORRECTED).format(A=_thing(rng, colour), X=_thing(rng, excluded))
            used = excluded
    has_goal, has_second = "{G}" in text or "{g}" in text, "{B}" in text or "{b}" in text
    shown = text.format(
        A=first, B=other, G=goal, on=_pick(rng, patterns.ON), onto=_pick(rng, patterns.ONTO),
        a=_pick(rng, SHADES[colour]), b=_pick(rng, SHADES[second]), g=goal.removeprefix("the "),
    )  # fmt: skip
    return shown, {
        "verb": verb,
        "thing": "other" if foreign else "cube",
        "colour": NONE if bare else colour,
        "place": ("elsewhere" if elsewhere else "goal") if has_goal else NONE,
        "relation": "on" if has_second else NONE,
        "second": second if has_second else NONE,
        "excluded": used,
    }


def _several(rng: np.random.Generator, kind: str) -> tuple[str, Labels]:
    """Make an order about two things at once."""
    verb = _pick(rng, ("reach", "pick_place", "push"))
    colour, second = (str(each) for each in rng.choice(BASIC, 2, replace=False, p=_SHARES))
    order, noun = patterns.ORDERS[verb][rng.integers(len(patterns.ORDERS[verb]))]
    both = _pick(rng, patterns.SEVERAL).format(A=_thing(rng, colour), B=_thing(rng, second))
    text = _pick(rng, patterns.ASKED).format(order=order, noun=noun, **_KEPT)
    shown = text.format(
        A=both, G=_pick(rng, patterns.GOALS), on=_pick(rng, patterns.ON), onto=_pick(rng, patterns.ONTO)
    )
    return shown, {"verb": verb, "relation": "and", "second": second, "colour": colour}


def _beside(rng: np.random.Generator, kind: str) -> tuple[str, Labels]:
    """Make an order with a relation that none of these policies makes."""
    verb = _pick(rng, ("pick_place", "push"))
    colour, second = (str(each) for each in rng.choice(BASIC, 2, replace=False, p=_SHARES))
    word = _pick(
        rng, ("put", "place", "set", "lay", "move", "bring") if verb == "pick_place" else ("push", "slide", "shove")
    )
    text = _pick(rng, patterns.ASKED[:16]).format(
        order=f"{word} {{A}} {_pick(rng, patterns.BESIDE)} {{B}}",
        noun=f"having {{A}} {_pick(rng, patterns.BESIDE)} {{B}}",
    )
    return text.format(A=_thing(rng, colour), B=_thing(rng, second)), {
        "colour": colour, "relation": "beside", "second": second, "place": NONE, "excluded": NONE,
    }  # fmt: skip


def _other(rng: np.random.Generator, kind: str) -> tuple[str, Labels]:
    """Make an order for something that none of these policies does."""
    word = _pick(rng, patterns.OTHER)
    order = (
        f"{word} {{A}}{_pick(rng, patterns.OTHER_ENDS)}" if rng.random() < 0.85 else _pick(rng, patterns.OTHER_ORDERS)
    )
    if word in ("paint", "draw") and rng.random() < 0.6:
        order = f"{word} {{A}} {{b}}"
    text = _pick(rng, [each for each in patterns.ASKED if "{noun}" not in each]).format(order=order)
    return _fill(text, rng), {"verb": "other"}


def _aside(rng: np.random.Generator, kind: str) -> tuple[str, Labels]:
    """Make what is no command: negated, a question, or talk."""
    verb = _pick(rng, tuple(patterns.ORDERS))
    order, noun = patterns.ORDERS[verb][rng.integers(len(patterns.ORDERS[verb]))]
    text = _pick(rng, {"negated": patterns.NEGATED, "question": patterns.QUESTIONS, "talk": patterns.TALK}[kind])
    if rng.random() < 0.2:
        begun = f"{_pick(rng, patterns.ASKING_BE)} " if kind == "question" else ""
        text = _pick(rng, patterns.PASSIVE[verb]).replace("{be}", _pick(rng, patterns.BE[kind]))
        text = f"{begun}{text}?" if begun else text
    return _fill(text.format(order=order, noun=noun, **_KEPT), rng), {"verb": kind}


_MAKERS: Mapping[str, Callable[[np.random.Generator, str], tuple[str, Labels]]] = {
    "command": _command,
    "several": _several,
    "beside": _beside,
    "other": _other,
}
_KEPT = {mark: f"{{{mark}}}" for mark in ("A", "B", "G", "a", "b", "g", "on", "onto", "X", "did")}
"""Marks that a later step fills."""
_SHARES = np.array([3.0 if colour in ("red", "green", "blue", "yellow", "purple") else 1.0 for colour in BASIC])
_SHARES /= _SHARES.sum()


def _fill(text: str, rng: np.random.Generator) -> str:
    a, b = (str(each) for each in rng.choice(BASIC, 2, replace=False))
    return text.format(
        A=_thing(rng, a), B=_thing(rng, b), G=_pick(rng, patterns.GOALS), on=_pick(rng, patterns.ON),
        onto=_pick(rng, patterns.ONTO), a=_pick(rng, SHADES[a]), b=_pick(rng, SHADES[b]), g="pad",
        X=_thing(rng, b), did=_pick(rng, patterns.PAST),
    )  # fmt: skip


def _thing(rng: np.random.Generator, colour: str, foreign: bool = False) -> str:
    """Name a thing by its colour; without one if `colour` is empty."""
    noun = _pick(rng, patterns.FOREIGN if foreign else patterns.NOUNS)
    article = _pick(rng, ("the", "the", "the", "the", "the", "that", "this", "our", "my", "a", ""))
    if not colour:
        return f"{article} {noun}".strip() if noun != "one" else "it"
    shades = SHADES[colour]
    shade = shades[0] if rng.random() < 0.6 else _pick(rng, shades)
    form = rng.random()
    if form < 0.88:
        return f"{article} {shade} {noun}".strip()
    if form < 0.94 and not foreign:
        return f"{shade}" if form < 0.92 else f"the {shade}"
    return f"{article} {noun} that is {shade}".strip() if noun != "one" else f"the {shade} one"


def _finish(text: str, rng: np.random.Generator) -> str:
    """Add what people add: asides, fillers, typing errors, capitals, a final mark."""
    if rng.random() < ASIDE:
        text = f"{_pick(rng, patterns.BEFORE)}{text}" if rng.random() < 0.6 else f"{text}{_pick(rng, patterns.AFTER)}"
    words = text.split(" ")
    if rng.random() < TYPING:
        for k in rng.integers(len(words), size=int(rng.integers(1, 4))):
            words[k] = mistyped(words[k], rng)
    if rng.random() < FILLED:
        for k in rng.integers(len(words) + 1, size=int(rng.integers(1, 4))):
            words.insert(int(k), f"{_pick(rng, patterns.FILLERS)}{',' if rng.random() < 0.7 else ''}")
    if rng.random() < PLAIN:
        words = [word for word in words if word not in ("the", "a")] or words
    text = " ".join(words)
    if rng.random() < 0.6:
        text = text[:1].upper() + text[1:]
    if text[-1:] not in "?.!" and rng.random() < 0.6:
        text += _pick(rng, (".", ".", ".", "!"))
    return text if rng.random() < 0.85 else text.rstrip("?.!")


def mistyped(word: str, rng: np.random.Generator) -> str:
    """Return a word with two letters exchanged, one missing, doubled or wrong; short ones stay as they are."""
    if len(word) < 3:
        return word
    k = int(rng.integers(len(word) - 1))
    return (
        word[:k] + word[k + 1] + word[k] + word[k + 2 :],
        word[:k] + word[k + 1 :],
        word[: k + 1] + word[k:],
        word[:k] + _pick(rng, "abcdefghijklmnopqrstuvwxyz") + word[k + 1 :],
    )[int(rng.integers(4))]


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]
