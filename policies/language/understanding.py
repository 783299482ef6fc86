"""From a sentence to a checked goal, or to the reason why it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from policies.bundle.things import ON
from policies.language.abilities import Abilities
from policies.language.colours import named_colours
from policies.language.heads_file import SHIPPED, read_heads
from policies.language.slots import ASIDES, DECIDING, NONE, SLOTS, SlotReader, SlotReading
from policies.language.speech import Heard, asks_to_stop
from policies.language.text_encoder import TextEncoder
from robots.specs import SpecError

ASIDE = {
    "other": "asks for something that no policy here does",
    "negated": "says what not to do",
    "question": "is a question",
    "talk": "is no command",
}
VERBS = {"reach": "go above", "pick_place": "pick and place", "push": "push", "stack": "stack"}


@dataclass(frozen=True)
class Understanding:
    """What was understood of a sentence."""

    text: str
    slots: Mapping[str, str]
    """The likeliest value of each of `SLOTS`; empty where nothing was read."""
    confidence: Mapping[str, float]
    """Calibrated probability of each."""
    certainty: float
    """That all are right: the product."""
    things: tuple[str, ...] = ()
    """Declared colours of the things that are asked for: the one that is handled, then the one it goes onto. Empty
    where it is refused."""
    reason: str = ""
    """Why it is refused; empty where it is accepted."""

    @property
    def accepted(self) -> bool:
        """Whether there is a goal."""
        return not self.reason

    @property
    def goal(self) -> str:
        """The policy's goal in the form of `policies.bundle.things`: "red", or "red on blue"; empty where refused."""
        return ON.join(self.things)

    @property
    def understood(self) -> str:
        """The slots in words, to be read back."""
        if not self.slots:
            return "nothing"
        held = self.slots
        if held["verb"] in ASIDES:
            return f"a sentence that {ASIDE[held['verb']]}"
        thing = "thing of another kind" if held["thing"] == "other" else "thing"
        words = [VERBS[held["verb"]], *(["a", thing] if held["colour"] == NONE else ["the", held["colour"], thing])]
        if held["second"] != NONE:
            words += [
                {"on": "onto", NONE: "with"}.get(held["relation"], held["relation"]),
                "the",
                held["second"],
                "thing",
            ]
        elif held["relation"] == "on":
            words += ["onto a thing"]
        if held["place"] != NONE:
            words += [{"goal": "to its goal place", "elsewhere": "to some other place"}[held["place"]]]
        return " ".join(words)

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return {
            "text": self.text,
            "accepted": self.accepted,
            "goal": self.goal,
            "reason": self.reason,
            "understood": self.understood,
            "certainty": round(self.certainty, 4),
            "slots": {
                name: {"value": value, "confidence": round(self.confidence[name], 4)}
                for name, value in self.slots.items()
            },
        }


class CommandReader:
    """Reads commands with a text encoder and the heads that were fitted to it."""

    def __init__(self, encoder: TextEncoder, reader: SlotReader, threshold: float):
        """Accept what is read with a certainty of at least `threshold`."""
        self._encoder, self._reader = encoder, reader
        self.threshold = threshold

    @staticmethod
    def load(text_encoder: Path | None = None, heads: Path | None = None) -> CommandReader:
        """Load encoder and heads.

        Args:
            text_encoder: folder of the encoder; None for that of the wheel, see `TextEncoder.load`.
            heads: file of `sim2real fit-goal`; None for the one that is shipped, which is MiniLM-L6's.

        Raises:
            FileError: if one is missing or damaged.
            SpecError: if the heads were fitted to another encoder.
        """
        encoder = TextEncoder.load(text_encoder)
        found = read_heads(heads or SHIPPED)
        if found.facts.encoder != encoder.hash:
            raise SpecError(
                f"heads '{heads or SHIPPED}' were fitted to the text encoder {found.facts.encoder[:12]}…, this one is "
                f"{encoder.hash[:12]}…; fit some to it: sim2real fit-goal"
            )
        return CommandReader(encoder, found.reader, found.facts.threshold)

    def understand(self, text: str, abilities: Abilities) -> Understanding:
        """Return what a policy is asked for, and whether it can and should do so."""
        try:
            reading = self._reader.read(self._encoder.encode(text))
        except SpecError as error:
            return Understanding(text, {}, {}, 0.0, reason=str(error))
        return judged(text, reading, abilities, self.threshold)

    def understand_heard(self, heard: Heard, abilities: Abilities) -> Understanding:
        """As `understand`, for speech: a slot's probabilities are the means over what may have been said."""
        if not heard.hypotheses:
            return Understanding("", {}, {}, 0.0, reason="was not heard clearly; say it again")
        if asks_to_stop(heard):
            reason = "asks to stop, and speech stops nothing: press the stop button"
            return Understanding(heard.text, {}, {}, 0.0, reason=reason)
        try:
            read = [(self._reader.read(self._encoder.encode(text)), share) for text, share in heard.hypotheses]
        except SpecError as error:
            return Understanding(heard.text, {}, {}, 0.0, reason=str(error))
        shares = {name: np.sum([share * each.shares[name] for each, share in read], axis=0) for name in SLOTS}
        return judged(heard.text, SlotReading(read[0][0].words, shares), abilities, self.threshold)


def judged(text: str, reading: SlotReading, abilities: Abilities, threshold: float) -> Understanding:
    """Accept or refuse what was read."""
    reason = _unsure(reading, threshold) or _impossible(reading.slots, abilities) or _contradictory(reading)
    slots, names = reading.slots, abilities.names
    things = () if reason else tuple(names[slots[slot]] for slot in ("colour", "second") if slots[slot] != NONE)
    return Understanding(text, slots, reading.confidence, reading.certainty, things, reason)


def _unsure(reading: SlotReading, threshold: float) -> str:
    if not reading.words:
        return "is empty"
    if reading.certainty >= threshold:
        return ""
    slot = min(DECIDING, key=lambda name: reading.confidence[name])
    order = reading.shares[slot].argsort()[::-1]
    first, second = (SLOTS[slot][int(k)] for k in order[:2])
    return (
        f"is not clear (certainty {reading.certainty:.2f}, expected at least {threshold:.2f}), least of all its "
        f"{slot}: {first} ({reading.shares[slot][order[0]]:.2f}) or {second}; say it in other words"
    )


def _impossible(slots: Mapping[str, str], abilities: Abilities) -> str:
    verb, names = slots["verb"], abilities.names
    if verb in ASIDES:
        return ASIDE[verb]
    if verb not in abilities.verbs:
        return f"asks to {VERBS[verb]}, and the policy can {', '.join(VERBS[each] for each in abilities.verbs)}"
    if slots["thing"] == "other":
        return "asks for another kind of thing, and the policy knows its things by their colours alone"
    if slots["place"] == "elsewhere":
        return "names a place other than the goal place, and the policy knows no other"
    if slots["relation"] == "and":
        return "names several things; name one"
    if slots["relation"] == "beside":
        return "asks for a place beside another thing, and the policy knows no such"
    for slot in ("colour", "second"):
        if slots[slot] not in (NONE, *names):
            return f"asks for a {slots[slot]} thing; the policy knows {', '.join(abilities.colours)}"
    if slots["colour"] == NONE:
        return f"does not say which thing; name its colour: {', '.join(abilities.colours)}"
    return ""


def _contradictory(reading: SlotReading) -> str:
    slots = reading.slots
    stacks = slots["verb"] == "stack"
    if stacks and slots["second"] == NONE:
        return "does not say by its colour onto which thing"
    if slots["second"] == slots["colour"]:
        return f"asks for the {slots['colour']} thing twice"
    if stacks != (slots["second"] != NONE) or stacks != (slots["relation"] == "on"):
        return f"relates two things, which does not go with the verb: {VERBS[slots['verb']]}"
    if slots["place"] == "goal" and slots["verb"] not in ("pick_place", "push"):
        return f"names a goal place, which does not go with the verb: {VERBS[slots['verb']]}"
    left = named_colours(reading.words) - {slots["colour"], slots["second"], slots["excluded"]}
    if left:
        return f"also names {', '.join(sorted(left))}, and it is not clear what for"
    return ""
