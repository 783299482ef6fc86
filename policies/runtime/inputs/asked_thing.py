"""What a policy acts on among several things: asked for at any time, taken by the control loop between two steps.

Robot side: numpy only.
"""

from __future__ import annotations

from policies.bundle import PolicyBundle
from policies.bundle.things import ON
from robots.observation import ObservationBuilder
from robots.specs import SpecError


class AskedThing:
    """The thing that one policy is asked for; nothing for a policy that is about one."""

    def __init__(self, bundle: PolicyBundle, builder: ObservationBuilder):
        """Tell `builder` what is asked for; until something is, it has the first colours, to warm up with."""
        self._things, self._policy, self._builder = bundle.things, bundle.name, builder
        self.name = ""
        """What it acts on; empty until it is asked."""
        self._next = ""
        if bundle.things is not None:
            builder.ask(bundle.things.first())

    def ask(self, thing: str) -> None:
        """Ask for `thing` from the next step on.

        Raises:
            SpecError: if the policy cannot be asked for that; it goes on as before.
        """
        if self._things is None:
            raise SpecError(
                f"policy '{self._policy}' is about one thing, and cannot be asked for {thing[:60]!r}; one for several "
                "is trained with --things"
            )
        self._next = ON.join(self._things.named(thing))

    def take(self) -> bool:
        """Act on what was asked for last; return whether that is another thing than before."""
        thing = self._next
        if self._things is None or thing == self.name:
            return False
        self._builder.ask(self._things.asked(thing))
        self.name = thing
        return True

    @property
    def missing(self) -> str:
        """Why the policy cannot start; empty if it can."""
        if self._things is None or self.name:
            return ""
        return f"no thing is asked for; name one on the topic goal_thing: {self._things}"
