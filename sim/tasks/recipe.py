"""How a policy learns a task by imitation from state: the fields that each task file sets, every one an option."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class StateRecipe:
    """Imitation of the scripted expert in rounds (DAgger): the expert labels all, and acts ever less."""

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the network's layers."""
    envs: int = 32
    """Arms that move at once."""
    rounds: int = 5
    """Rounds of collecting and fitting; in the first one the expert acts alone."""
    round_steps: int = 200
    """Actions of every arm in a round."""
    expert_share: float = 0.3
    """Share of the second round in which the expert acts; halved in every further round."""
    disturbed_share: float = 0.3
    """Share of the expert's own actions that are disturbed, so that recoveries are labelled, too."""
    disturbance: float = 0.5
    """Standard deviation of that disturbance on the normalised action."""
    spell: float = 8.0
    """Mean number of actions after which it is drawn anew whether expert or policy acts."""
    linger: float = 1.0
    """How long an episode goes on once success has lasted for the task's hold time [s]: holding is learned there."""
    gradient_steps: int = 1_000
    """Gradient steps of a round."""
    last_gradient_steps: int = 3_000
    """Gradient steps of the last round, in which the learning rate falls to nothing."""
    batch: int = 512
    """Labelled observations a gradient step."""
    learning_rate: float = 1e-3
    """Of Adam."""
    validation_episodes: int = 32
    """Episodes that choose the best round; none in the rounds before `validate_from`."""
    validate_from: int = 2
    """First round after which the policy is validated, counted from 1."""

    def validate(self) -> None:
        """Raise ValueError for a field out of range."""
        for field in fields(self):
            if field.name in SHARES or field.name == "hidden":
                continue
            if not getattr(self, field.name) > 0:
                raise ValueError(
                    f"recipe: {field.name} is {getattr(self, field.name)}, expected a positive number; "
                    f"the default is {field.default}"
                )
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"recipe: {name} is {getattr(self, name)}, expected a share from 0 to 1")
        if not self.hidden or any(width < 1 for width in self.hidden):
            raise ValueError(
                f"recipe: hidden is {self.hidden}, expected the widths of one layer or more, each positive"
            )

    @property
    def total_steps(self) -> int:
        """Environment steps of the whole run, validation left out."""
        return self.rounds * self.envs * self.round_steps

    def gradient_steps_of(self, round_: int) -> int:
        """Gradient steps of round `round_`, counted from 0."""
        return self.last_gradient_steps if round_ == self.rounds - 1 else self.gradient_steps

    def share_of_expert(self, round_: int) -> float:
        """Share of round `round_` (from 0) in which the expert acts."""
        return 1.0 if round_ == 0 else self.expert_share * 0.5 ** (round_ - 1)


SHARES = ("expert_share", "disturbed_share")
