"""Measure how many labelled renders an earlier camera policy's encoder saves.

All runs share one action head, trained with perception noise; only perception differs. Success is evaluated in whole
episodes with rendered images.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from policies.bundle import PolicyBundle
from policies.imitation.action_head import fit_action_head
from policies.imitation.camera_run import TrainConfig, untrained
from policies.imitation.encoder_start import DEFAULT_TUNE
from policies.imitation.perception import fit_student
from policies.imitation.recipes import action_head_recipe
from policies.models.camera_policy import CameraPolicy
from policies.models.keypoint_encoder import SMALL
from policies.models.state_network import StateNetwork
from policies.scoring.batches import evaluate_in_batches
from policies.training.device import CPU, find_device
from policies.training.progress import Progress, StageProgress, silent, stage
from policies.transfer.learning_curves import FROM_SCRATCH
from policies.transfer.render_budgets import HELD_OUT, CompareRendersConfig, report_budgets, run_budgets
from robots.host.writing import write_with
from sim.datasets.labelled_renders import LabelledRenders, sample_renders
from sim.tasks.recipe import StateRecipe
from sim.workers.pool import Workers

ACTION_HEAD_FILE = "action_head.pt"
"""File with the weights of the shared action head, in the comparison's folder."""
ACTION_HEAD_SEED = 17


@dataclass(frozen=True)
class CompareCameraConfig(CompareRendersConfig):
    """How transfer of perception is compared with training from scratch."""

    recipe: StateRecipe = field(default_factory=lambda: action_head_recipe("reach", "franka_panda"))
    """How the shared action head is trained."""

    def validate(self) -> None:
        """Raise ValueError for a field out of range, an unknown task or mode, or a source that does not fit."""
        super().validate()
        self.run(FROM_SCRATCH).validate()
        self.run(DEFAULT_TUNE).validate()

    def run(self, method: str) -> TrainConfig:
        """Return the configuration of a method's run; its encoder is of the source's architecture."""
        carried = method != FROM_SCRATCH
        return TrainConfig(
            self.out / "run",
            self.task,
            self.robot,
            self.cameras,
            randomise=self.randomise,
            workers=self.workers,
            ray=self.ray,
            device=self.device,
            threads=1,
            encoder=PolicyBundle.load(self.source).network.get("encoder", SMALL),
            start=self.source if carried else None,
            tune=method if carried else DEFAULT_TUNE,
            recipe=self.recipe,
            perception=self.perception,
        )


def compare_camera(config: CompareCameraConfig, progress: StageProgress) -> dict:
    """Train perception from scratch and by every mode on every budget of renders; write `transfer.json` and `.png`.

    All methods of a seed have the same renders, number of gradient steps and action head. Finished runs are not
    repeated.

    Raises:
        ValueError: if the configuration makes no sense.
    """
    config.validate()
    torch.set_num_threads(1)
    bundle = PolicyBundle.load(config.source)
    run = config.run(FROM_SCRATCH)
    space, make = run.space(), run.environment()
    with run.open_workers() as workers:
        action_head = _shared_action_head(config, workers, stage(progress, "action_head"))

        def draw(count: int, seed: int) -> tuple[LabelledRenders, ...]:
            return sample_renders(config.task, config.robot, space, count, seed, workers, cameras=config.cameras)

        def learn(method: str, renders: tuple[LabelledRenders, ...], seed: int) -> dict:
            torch.manual_seed(seed)
            student = untrained(run)
            student.action_head = copy.deepcopy(action_head)
            student.encoder.to(find_device(run.device))
            _, restraint = config.run(method).begin_encoder(student)
            settings = replace(config.perception, renders=len(renders[0]), held_out=HELD_OUT)
            figures = fit_student(student, renders, settings, seed, silent, restraint)
            act = CameraPolicy(student.to(CPU), make.names())
            found = evaluate_in_batches(act, workers, make, config.episodes)
            return {**figures, "success": found.success}

        results = run_budgets(config.out, config.budgets, draw, learn, stage(progress, "runs"))
    about_head = {"action_head_steps": config.recipe.total_steps}
    columns = tuple(f"{name}_cm" for name in untrained(run).estimated)
    return report_budgets(config.out, config.budgets, results, columns, {**config.about(bundle), **about_head})


def _shared_action_head(config: CompareCameraConfig, workers: Workers, progress: Progress) -> StateNetwork:
    """Train the action head of every run, or read the one that an interrupted comparison left."""
    torch.manual_seed(ACTION_HEAD_SEED)
    run = config.run(FROM_SCRATCH)
    action_head = untrained(run).action_head
    file = config.out / ACTION_HEAD_FILE
    if file.is_file():
        action_head.load_state_dict(torch.load(file, weights_only=True))
        return action_head
    make, device = run.action_head_environment(), find_device(run.device)
    fit_action_head(action_head, make, run.recipe, workers, ACTION_HEAD_SEED, progress, device=device)
    config.out.mkdir(parents=True, exist_ok=True)
    write_with(file, partial(torch.save, action_head.state_dict()))
    return action_head
