"""Settings of reinforcement learning for each algorithm: a table, every field an option."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from policies.reinforcement.algorithms import Algorithm, load_algorithm
from sim.episode_score import RewardKind

CurriculumName = Literal["fixed", "linear", "adr"]


@dataclass(frozen=True)
class ReinforcementRecipe:
    """Settings of a run in segments: after each, every arm is reset, and the run can be resumed from there."""

    steps: int = 40_000
    """Environment steps of the whole run, validation and demonstrations left out."""
    segment: int = 4_000
    """Environment steps of a segment; then the policy is validated and a checkpoint is written."""
    envs: int = 8
    """Arms that move at once."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the actor's layers, and of each critic's."""
    learning_rate: float = 3e-4
    """Learning rate of actor and critics."""
    batch: int = 256
    """Transitions per gradient step."""
    discount: float = 0.95
    """Discount per action."""
    updates: float = 0.5
    """Gradient steps per environment step, off policy."""
    rollout: int = 250
    """Actions of every arm between two updates, on policy."""
    exploration: float = 0.1
    """Standard deviation of the noise on the normalised action, for algorithms with action noise, and the initial one
    of a PPO policy."""
    random_steps: int = 1_000
    """Random actions before learning begins, off policy and without demonstrations."""
    reward: RewardKind = "dense"
    """The task's named terms, or `sparse`: -1 until success."""
    hindsight: bool = False
    """Whether to use hindsight experience replay (HER, Andrychowicz et al. 2017)."""
    asymmetric: bool = False
    """Whether the critic observes the whole state and the drawn parameters (Pinto et al. 2018)."""
    latent: int = 0
    """Size of the latent of the drawn parameters, which the policy learns to infer from its history (RMA, Kumar et al.
    2021), off policy; 0 for none."""
    history: int = 16
    """Length of this history [actions]."""
    inference_steps: int = 1_500
    """Gradient steps of the inference, after each segment."""
    demonstrations: int = 60
    """Episodes of the scripted expert; 0 for none."""
    disturbed_share: float = 0.5
    """Share of them with a disturbed expert."""
    disturbance: float = 0.5
    """Standard deviation of that disturbance on the normalised action."""
    imitation_steps: int = 2_000
    """Gradient steps in which the actor imitates the demonstrations first."""
    critic_steps: int = 2_000
    """Gradient steps of the critic on them afterwards, off policy, with a frozen actor."""
    demonstration_share: float = 0.5
    """Share of every batch that is demonstrations, off policy and without hindsight."""
    curriculum: CurriculumName = "fixed"
    """How the randomisation grows: not at all, linearly over the run, or with the policy's success (ADR)."""
    validation_episodes: int = 32
    """Episodes on which segments are compared."""

    def validate(self, algorithm: Algorithm) -> None:
        """Check the fields by themselves and against `algorithm`.

        Raises:
            ValueError: for one that is out of range or does not go together with another.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("disturbed_share", "demonstration_share", "exploration", "disturbance"):
                if not 0 <= value <= 1:
                    raise ValueError(f"recipe: {field.name} is {value}, expected from 0 to 1")
            elif field.name in ("latent", "demonstrations", "imitation_steps", "critic_steps", "random_steps"):
                if value < 0:
                    raise ValueError(f"recipe: {field.name} is {value}, expected 0 or more")
            elif isinstance(value, (int, float)) and not isinstance(value, bool) and not value > 0:
                raise ValueError(f"recipe: {field.name} is {value}, expected a positive number")
        if not self.hidden or any(width < 1 for width in self.hidden):
            raise ValueError(f"recipe: hidden is {self.hidden}, expected the widths of one layer or more")
        if not self.discount < 1:
            raise ValueError(f"recipe: discount is {self.discount}, expected between 0 and 1")
        if self.steps % self.segment or self.segment % self.envs:
            raise ValueError(
                f"recipe: {self.steps} steps in segments of {self.segment} on {self.envs} arms; expected whole "
                "segments, and as many steps for every arm"
            )
        if self.hindsight and (algorithm.joined or not algorithm.off_policy):
            raise ValueError(
                f"recipe: hindsight replays goals, which {algorithm.make.__name__} cannot; choose sac, td3, ddpg or tqc"
            )
        if self.latent and (algorithm.joined or not algorithm.off_policy):
            raise ValueError(
                f"recipe: what a policy infers is learned from its replay buffer, which {algorithm.make.__name__} does "
                "not have by name; choose sac, td3, ddpg or tqc"
            )
        if self.latent and self.hindsight:
            raise ValueError("recipe: latent and hindsight do not go together; leave one of them out")
        if self.hindsight and self.reward != "sparse":
            raise ValueError(
                "recipe: hindsight needs rewards that depend on goals alone; choose --recipe.reward sparse with it"
            )
        if self.demonstrations and algorithm.recurrent:
            raise ValueError(
                f"recipe: {algorithm.make.__name__} does not imitate: its actions depend on the past; choose "
                "--recipe.demonstrations 0"
            )
        if not algorithm.off_policy and self.rollout * self.envs % self.batch:
            raise ValueError(
                f"recipe: {self.envs} arms go {self.rollout} actions between two updates, {self.rollout * self.envs} "
                f"in all, which is no multiple of the batch of {self.batch}"
            )
        if not algorithm.off_policy and self.segment % (self.rollout * self.envs):
            raise ValueError(
                f"recipe: segments of {self.segment} steps, but {self.envs} arms go {self.rollout} actions between two "
                f"updates; expected a multiple of {self.rollout * self.envs}"
            )


OFF_POLICY = ReinforcementRecipe()
ON_POLICY = ReinforcementRecipe(steps=160_000, segment=16_000, envs=16, learning_rate=2e-4, rollout=100, batch=320)

REINFORCEMENT_RECIPES: dict[str, ReinforcementRecipe] = {
    "ppo": ON_POLICY,
    "sac": OFF_POLICY,
    "td3": OFF_POLICY,
    "ddpg": OFF_POLICY,
    "tqc": OFF_POLICY,
    "crossq": OFF_POLICY,
    "recurrent_ppo": ReinforcementRecipe(
        steps=160_000,
        segment=16_000,
        envs=16,
        learning_rate=3e-4,
        rollout=100,
        batch=320,
        hidden=(64,),
        demonstrations=0,
    ),
}
"""Recipes by algorithm."""


def reinforcement_recipe(algorithm: str) -> ReinforcementRecipe:
    """Return the recipe for an algorithm.

    Raises:
        ValueError: for an unknown one; lists the known.
    """
    load_algorithm(algorithm)
    return REINFORCEMENT_RECIPES[algorithm]
