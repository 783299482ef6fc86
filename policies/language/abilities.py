"""What a policy can be asked for in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from policies.bundle import PolicyBundle
from policies.language.colours import BASIC, NAMED
from policies.language.slots import ACTIONS
from robots.specs import SpecError


@dataclass(frozen=True)
class Abilities:
    """What a policy does, and with which things."""

    verbs: tuple[str, ...]
    """Of `ACTIONS`."""
    colours: tuple[str, ...]
    """Names of the things' colours."""

    def __post_init__(self) -> None:
        """Raise `SpecError` for an unknown verb, and for colours that words cannot tell apart."""
        wrong = [verb for verb in self.verbs if verb not in ACTIONS]
        if wrong or not self.verbs:
            raise SpecError(f"verbs {self.verbs}: expected some of {', '.join(ACTIONS)}")
        meant: dict[str, str] = {}
        for name in self.colours:
            basic = NAMED.get(name)
            if basic is None:
                raise SpecError(f"colour '{name}' cannot be asked for in words; known are {', '.join(sorted(NAMED))}")
            if basic in meant:
                raise SpecError(f"colours '{meant[basic]}' and '{name}' are both {basic} in words; rename one")
            meant[basic] = name

    @property
    def names(self) -> Mapping[str, str]:
        """The declared name of each basic colour."""
        return {NAMED[name]: name for name in self.colours}

    @staticmethod
    def of_task(task: str, colours: tuple[str, ...]) -> Abilities:
        """Return those of a policy for `task`, whose name begins with its verb, that knows things of these `colours`.

        Raises:
            SpecError: if it knows none, or its task has no verb.
        """
        verbs = tuple(verb for verb in ACTIONS if task == verb or (task.startswith(verb) and task[len(verb)] in "@_"))
        if not verbs:
            raise SpecError(f"task '{task}' cannot be asked for in words; known are {', '.join(ACTIONS)}")
        if not colours:
            raise SpecError(
                f"a policy for '{task}' that declares no colours: it has one thing, and there is nothing to choose; "
                "train one with several"
            )
        return Abilities(verbs, colours)


EVERYTHING = Abilities(ACTIONS, BASIC)
"""All that can be understood, whichever policy may do it."""


def abilities_of_bundle(bundle: PolicyBundle) -> Abilities:
    """Return what `bundle`'s policy does, and with which of its things.

    Raises:
        SpecError: if it is about one thing alone, or words cannot tell what it does.
    """
    return Abilities.of_task(bundle.task, tuple(bundle.things.colours) if bundle.things is not None else ())
