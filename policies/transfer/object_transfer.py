"""Measure what an earlier camera policy's encoder saves in learning to see a task in which a thing is handled.

All runs share one rule, a state policy that has learned the task from places told as wrong as cameras tell them; only
seeing differs, and what is counted are labelled pictures. Success is judged in whole episodes through the camera.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

import torch

from policies.bundle import PolicyBundle
from policies.imitation.action_head import fit_rule
from policies.imitation.cloning import StudentConfig
from policies.imitation.object_run import SceneTrainConfig, carry_sight, fit_seeing, rule_recipe, untrained
from policies.imitation.state_run import open_arms
from policies.models.camera_policy import SeeingPolicy
from policies.models.filters.object_filter import KEPT
from policies.models.object_student import SEEN
from policies.models.state_network import StateNetwork
from policies.scoring.evaluator import JUDGE_SEEDS, judge
from policies.training.descent import FREE
from policies.training.progress import Progress, StageProgress, silent, stage
from policies.transfer.learning_curves import FROM_SCRATCH
from policies.transfer.render_budgets import HELD_OUT, CompareViewsConfig, report_budgets, run_budgets
from sim.datasets.labelled_renders import LabelledRenders, sample_renders
from sim.tasks.recipe import StateRecipe

RULE = "rule.pt"
"""Weights of the shared rule, in the comparison's folder."""
RULE_SEED = 17


@dataclass(frozen=True)
class CompareSceneConfig(CompareViewsConfig):
    """How learning to see what is handled is compared, from an earlier camera policy and from scratch."""

    task: str = "push"
    """What to learn: a task that moves an object and samples states."""
    views: tuple[int, ...] = (500, 1_000, 2_000, 4_000, 8_000)
    """Budgets: labelled pictures that a run may learn from."""
    student: StudentConfig = field(
        default_factory=lambda: StudentConfig(steps=800, batch=64, geometry_steps=1_500, kept=KEPT)
    )
    """How every run learns to see; `views` and `held_out` are set by the budgets."""
    recipe: StateRecipe = field(default_factory=lambda: rule_recipe("push", "franka_panda"))
    """How the shared rule is learned."""

    def validate(self) -> None:
        """Raise ValueError for a field out of range, an unknown task or mode, or a source that does not fit."""
        super().validate()
        run = self.run(FROM_SCRATCH)
        run.validate()
        carry_sight(PolicyBundle.load(self.source), untrained(run), run)

    def run(self, method: str) -> SceneTrainConfig:
        """The run that a method stands for."""
        return SceneTrainConfig(
            self.out / "run",
            self.task,
            self.robot,
            randomise=self.randomise,
            workers=self.workers,
            threads=1,
            mode="fine-tune" if method == FROM_SCRATCH else method,
            recipe=self.recipe,
            student=self.student,
        )


def compare_scene(config: CompareSceneConfig, progress: StageProgress) -> dict:
    """Learn to see from scratch and by every mode from every budget of views; write `transfer.json` and `.png`.

    All methods of a seed see the same views, take the same number of gradient steps, and are moved by the same rule.
    Runs whose result is there already are not run again.

    Raises:
        ValueError: if the configuration makes no sense.
    """
    config.validate()
    torch.set_num_threads(1)
    bundle = PolicyBundle.load(config.source)
    run = config.run(FROM_SCRATCH)
    space, make = run.space(), run.environment()
    rule = _shared_rule(config, stage(progress, "rule"))

    def draw(count: int, seed: int) -> LabelledRenders:
        return sample_renders(config.task, config.robot, space, count, seed, config.workers)

    with open_arms(make, min(20, config.episodes), config.workers) as arms:

        def learn(method: str, views: LabelledRenders, seed: int) -> dict:
            torch.manual_seed(seed)
            student = untrained(run)
            student.rule = copy.deepcopy(rule)
            restraint = FREE
            if method != FROM_SCRATCH:
                _, restraint = carry_sight(bundle, student, config.run(method))
            settings = replace(config.student, views=len(views), held_out=HELD_OUT)
            figures = fit_seeing(student, (views,), settings, seed, silent, restraint)
            act = SeeingPolicy(student, make.names())
            found = judge(act, arms, make, config.episodes, JUDGE_SEEDS, act.begin)
            return {**{name: middle for name, (middle, _) in figures.items()}, "success": found.success}

        results = run_budgets(config.out, config.budgets, draw, learn, stage(progress, "runs"))
    of_rule = {"rule_steps": config.recipe.total_steps}
    columns = tuple(f"{name}_cm" for name in SEEN)
    return report_budgets(config.out, config.budgets, results, columns, {**config.about(bundle), **of_rule})


def _shared_rule(config: CompareSceneConfig, progress: Progress) -> StateNetwork:
    """Train the rule that moves the arm in every run, or read the one that an interrupted comparison left."""
    torch.manual_seed(RULE_SEED)
    run = config.run(FROM_SCRATCH)
    rule = untrained(run).rule
    file = config.out / RULE
    if file.is_file():
        rule.load_state_dict(torch.load(file, weights_only=True))
        return rule
    fit_rule(rule, run.rule_environment(), run.recipe, run.workers, RULE_SEED, progress)
    config.out.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix(".tmp")
    torch.save(rule.state_dict(), scratch)
    scratch.replace(file)
    return rule
