"""The slots of a command, and the heads that read them from token states.

The verb, the kind of thing, the place and the relation are read from a weighted mean of the token states, the weights
learned a slot; a colour is read from the token that a slot points at, or from none. The order of the words reaches the
heads through a small recurrent layer in both directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, softmax

from policies.language.colours import BASIC
from policies.language.text_encoder import Encoded

NONE = "none"
"""The sentence does not fill the slot."""
ACTIONS = ("reach", "pick_place", "push", "stack")
"""What a policy may do."""
ASIDES = ("other", "negated", "question", "talk")
"""What else a sentence may be: an order for something else, one not to do something, a question, none of these."""
COLOUR_SLOTS = ("colour", "second", "excluded")
WORD_SLOTS = ("verb", "thing", "place", "relation")
SLOTS: dict[str, tuple[str, ...]] = {
    "verb": (*ACTIONS, *ASIDES),
    "thing": ("cube", "other"),
    "place": (NONE, "goal", "elsewhere"),
    "relation": (NONE, "on", "beside", "and"),
    **dict.fromkeys(COLOUR_SLOTS, (NONE, *BASIC)),
}
"""What each slot may hold. `second` is the colour of what the thing goes onto, `excluded` one that is named and not
meant."""
DECIDING = ("verb", "thing", "colour", "relation", "second")
"""Slots whose every value makes another goal; the goal place goes without saying, and `excluded` names no goal."""
LEAST = 1e-9
"""Added to probabilities whose logarithm is taken."""
Labels = Mapping[str, str]
"""What the slots hold, by name."""


@dataclass(frozen=True)
class SlotReading:
    """What was read."""

    words: tuple[str, ...]
    """Of the sentence, lower case."""
    shares: Mapping[str, np.ndarray]
    """Probability of each of a slot's values, in the order of `SLOTS`."""

    @property
    def slots(self) -> dict[str, str]:
        """The likeliest value of each slot."""
        return {name: SLOTS[name][int(share.argmax())] for name, share in self.shares.items()}

    @property
    def confidence(self) -> dict[str, float]:
        """Its probability."""
        return {name: float(share.max()) for name, share in self.shares.items()}

    @property
    def certainty(self) -> float:
        """The probability that the likeliest goal is meant: the product over what decides it."""
        place = self.shares["place"]
        elsewhere = float(place[SLOTS["place"].index("elsewhere")])
        deciding = [self.confidence[name] for name in DECIDING]
        return float(np.prod(deciding)) * (elsewhere if place.argmax() == len(place) - 1 else 1.0 - elsewhere)

    def tempered(self, temperature: float) -> SlotReading:
        """Return the same with the logarithms of all probabilities divided by `temperature`."""
        return SlotReading(
            self.words, {name: softmax(np.log(share + LEAST) / temperature) for name, share in self.shares.items()}
        )


class SlotReader:
    """An ensemble of heads."""

    def __init__(self, members: tuple[Mapping[str, np.ndarray], ...], temperature: float = 1.0):
        """Take the weights of each member, by the names of `policies.language.fitting.Heads`.

        Args:
            members: weights by name.
            temperature: divides the logarithms of the mean probabilities: above 1 makes them less certain.
        """
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}, expected a number above 0")
        self._members, self._temperature = members, temperature

    @property
    def width(self) -> int:
        """Numbers in a token's state."""
        return self._members[0]["narrow.weight"].shape[1]

    def check(self) -> None:
        """Raise ValueError, KeyError or IndexError if the weights do not fit together."""
        for weights in self._members:
            found = _shares(weights, np.zeros((3, self.width), np.float32))
            wrong = [name for name, classes in SLOTS.items() if found[name].shape != (len(classes),)]
            if wrong:
                raise ValueError(f"slots {', '.join(wrong)} with another number of values")

    def read(self, encoded: Encoded) -> SlotReading:
        """Return the mean of the members' probabilities, calibrated."""
        each = [_shares(weights, encoded.states) for weights in self._members]
        mean = {name: np.mean([one[name] for one in each], axis=0) for name in SLOTS}
        return SlotReading(encoded.words, mean).tempered(self._temperature)


def _shares(weights: Mapping[str, np.ndarray], states: np.ndarray) -> dict[str, np.ndarray]:
    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    z = np.maximum(linear(states, "narrow"), 0.0)
    g = np.concatenate([_recurrent(weights, z, ""), _recurrent(weights, z[::-1], "_reverse")[::-1]], axis=1)
    scores, shades = linear(g, "attention"), softmax(linear(z, "colour"), axis=1)
    both = np.concatenate([z, g], axis=1)
    found = {}
    for k, name in enumerate(SLOTS):
        if name in COLOUR_SLOTS:
            absent = weights["absent"][COLOUR_SLOTS.index(name)]
            share = softmax(np.concatenate([[absent], scores[:, k]]))
            found[name] = np.concatenate([share[:1], share[1:] @ shades])
        else:
            found[name] = softmax(linear(softmax(scores[:, k]) @ both, f"word.{name}"))
    return found


def _recurrent(weights: Mapping[str, np.ndarray], z: np.ndarray, direction: str) -> np.ndarray:
    """Return the states (T, H) of a gated recurrent unit in the form of torch.nn.GRU."""
    ahead = z @ weights[f"context.weight_ih_l0{direction}"].T + weights[f"context.bias_ih_l0{direction}"]
    back, bias = weights[f"context.weight_hh_l0{direction}"], weights[f"context.bias_hh_l0{direction}"]
    h, n = np.zeros(back.shape[1]), back.shape[1]
    found = np.zeros((len(z), n))
    for t, row in enumerate(ahead):
        before = back @ h + bias
        reset, keep = expit(row[:n] + before[:n]), expit(row[n : 2 * n] + before[n : 2 * n])
        h = (1 - keep) * np.tanh(row[2 * n :] + reset * before[2 * n :]) + keep * h
        found[t] = h
    return found
