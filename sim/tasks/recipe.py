"""How a policy learns a task by imitation: the fields that a task file sets, every one an option."""

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


@dataclass(frozen=True)
class PerceptionRecipe:
    """How a camera policy learns to locate the task's and the arm's landmarks, and to turn pixels into metres."""

    renders: int = 20_000
    """Number of independent labelled renders."""
    steps: int = 2_500
    """Gradient steps of the keypoint encoder."""
    batch: int = 128
    """Images per step."""
    learning_rate: float = 3e-3
    """Peak of the one-cycle schedule."""
    channels: int = 32
    """Width of the encoder."""
    object_weight: float = 1.0
    """Weight of the object to reach in the encoder's loss; the arm's landmarks have weight 1."""
    refiner_steps: tuple[int, ...] = ()
    """Gradient steps of the crop refiners of the first landmarks, in their order; each step takes half the time of an
    encoder's. None by default."""
    forgetting_factors: tuple[float, ...] = ()
    """Forgetting factors of the filter of the goal or, in tasks with an object, of object and goal; none for those of
    `policies.models.filters.object_filter`."""
    geometry_steps: int = 2_000
    """Gradient steps of the geometry; each takes a twentieth of the time of an encoder's."""
    geometry_batch: int = 1_024
    """Rows per step."""
    held_out: int = 1_000
    """Labelled renders that are never trained on, for the figures in the run's table."""

    def validate(self) -> None:
        """Raise ValueError for a field out of range."""
        for name in (
            "renders",
            "steps",
            "batch",
            "learning_rate",
            "channels",
            "object_weight",
            "geometry_steps",
            "geometry_batch",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"perception: {name} is {getattr(self, name)}, expected a positive number")
        if any(steps < 1 for steps in self.refiner_steps):
            raise ValueError(f"perception: refiner_steps are {self.refiner_steps}, expected positive numbers, or none")
        if not all(0 <= share <= 1 for share in self.forgetting_factors):
            raise ValueError(
                f"perception: forgetting_factors are {self.forgetting_factors}, expected numbers from 0 to 1, or none"
            )
        if not 0 < self.held_out < self.renders:
            raise ValueError(
                f"perception: held_out is {self.held_out}, expected between 0 and renders ({self.renders})"
            )


APPROACHED = PerceptionRecipe(
    renders=12_000, steps=1_800, batch=64, object_weight=4.0, refiner_steps=(2_760, 720), geometry_steps=2_400
)
"""For an object that the hand only goes near to; tuned on reaching, with refiners of object and hand."""
LOCATED = PerceptionRecipe(
    renders=36_000,
    steps=8_000,
    batch=64,
    channels=48,
    object_weight=4.0,
    geometry_steps=3_200,
    refiner_steps=(5_300, 5_300, 2_700),
)
"""For an object to handle and where it goes; tuned on pushing and placing, with refiners of object, goal and hand."""
