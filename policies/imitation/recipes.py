"""How a state policy is learned for each task and arm: one visible table, every field an option."""

from __future__ import annotations

from dataclasses import dataclass, fields

ARMS = ("franka_panda", "kuka_iiwa", "xarm6")


@dataclass(frozen=True)
class StateRecipe:
    """Imitation of the scripted expert in rounds: it steers at first, later mostly the policy, and always it labels."""

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the network's layers."""
    envs: int = 32
    """Arms that move at once."""
    rounds: int = 5
    """Rounds of collecting and fitting; in the first one the expert steers alone."""
    round_steps: int = 200
    """Actions of every arm in a round."""
    expert_share: float = 0.3
    """Share of the second round that the expert steers; halved in every further round."""
    disturbed_share: float = 0.3
    """Share of the expert's own steering that is disturbed, so that it shows how it recovers."""
    disturbance: float = 0.5
    """Standard deviation of that disturbance on the normalised action."""
    spell: float = 8.0
    """Mean number of actions after which it is drawn anew who steers an arm."""
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
                    f"leave it out for the tuned {field.default}"
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
        """Share of round `round_` (from 0) that the expert steers."""
        return 1.0 if round_ == 0 else self.expert_share * 0.5 ** (round_ - 1)


SHARES = ("expert_share", "disturbed_share")

# eight arms: to open a world takes 0.1 s, as long as sixty actions of an arm
REACH = StateRecipe(
    envs=8,
    rounds=2,
    round_steps=80,
    gradient_steps=200,
    last_gradient_steps=500,
    batch=256,
    validation_episodes=8,
)
PUSH = StateRecipe(rounds=12, round_steps=300, linger=0.5, gradient_steps=2_000, last_gradient_steps=8_000, batch=256)
PICK_PLACE = StateRecipe(
    rounds=6, round_steps=300, linger=0.5, gradient_steps=1_500, last_gradient_steps=6_000, batch=256
)
STACK = StateRecipe(rounds=8, round_steps=400, gradient_steps=1_500, last_gradient_steps=6_000)
INSERT = StateRecipe(rounds=8, round_steps=300, last_gradient_steps=6_000)
REACH_CLUTTER = StateRecipe(rounds=8, round_steps=250, gradient_steps=1_500, last_gradient_steps=6_000)

RECIPES: dict[tuple[str, str, str], StateRecipe] = {
    **{("reach", arm, "state"): REACH for arm in ARMS},
    ("push", "franka_panda", "state"): PUSH,
    ("pick_place", "franka_panda", "state"): PICK_PLACE,
    ("stack", "franka_panda", "state"): STACK,
    ("insert", "franka_panda", "state"): INSERT,
    **{("reach_clutter", arm, "state"): REACH_CLUTTER for arm in ARMS},
}
"""The tuned recipe by task, arm and observation."""


def state_recipe(task: str, robot: str, observation: str = "state") -> StateRecipe:
    """Return the tuned recipe.

    Raises:
        ValueError: where there is none; lists those there are for the task.
    """
    key = (task, robot, observation)
    if key not in RECIPES:
        known = [f"{arm} from {seen}" for name, arm, seen in RECIPES if name == task]
        raise ValueError(
            f"no recipe for task '{task}' on '{robot}' from '{observation}'; "
            + (f"for '{task}' there are {', '.join(known)}" if known else f"known tasks are {_tasks()}")
        )
    return RECIPES[key]


def _tasks() -> str:
    return ", ".join(dict.fromkeys(task for task, _, _ in RECIPES))
