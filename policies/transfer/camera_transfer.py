"""Start a camera student from an earlier one: another camera pose, another lens, another arm, another task.

What finds the object in a picture does not care where the camera stands; what turns pixels into metres does. So the
encoder is carried, its heat maps by the names of their landmarks, and the geometry is learned anew.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import torch
from torch import Tensor

from policies.bundle import BundleError, PolicyBundle
from policies.imitation.camera_run import Progress, TrainConfig, train, untrained_student
from policies.imitation.cloning import FREE, EncoderRestraint, StudentConfig, fit_student
from policies.imitation.state_run import open_arms
from policies.imitation.teacher import TeacherConfig
from policies.models.camera_policy import SeeingPolicy
from policies.models.keypoint_student import CameraStudent, KeypointEncoder
from policies.models.restore import restore_student
from policies.models.surgery import CARRIED_PACE, DISTIL, L2_SP, Piece, Surgery, shrink_perturb
from policies.scoring.evaluator import JUDGE_SEEDS, LastingEnv, judge
from policies.training.precision import fast
from policies.transfer.learning_curves import FROM_SCRATCH
from policies.transfer.render_budgets import HELD_OUT, CompareViewsConfig, report_budgets, run_budgets
from policies.transfer.state_transfer import check_mode
from robots.registry import load_robot
from sim.datasets.labelled_renders import LabelledRenders, sample_renders, task_with_camera

THAW = 1 / 3
"""Share of the steps after which gradual unfreezing lets the features learn."""


def carry_encoder(
    source: KeypointEncoder, theirs: tuple[str, ...], target: KeypointEncoder, ours: tuple[str, ...]
) -> Surgery:
    """Carry the features, and the heat maps of landmarks that both have, from `source` into `target`, in place.

    Foveas are learned anew: each is a small network for one thing.

    Args:
        source: the earlier encoder.
        theirs: names of its landmarks, in order.
        target: the new one.
        ours: names of its landmarks.

    Raises:
        BundleError: if the encoders' widths differ.
    """
    if source.heat.in_channels != target.heat.in_channels:
        raise BundleError(
            f"transfer: the source's encoder is {source.heat.in_channels} channels wide, the new one "
            f"{target.heat.in_channels}; give --student.channels {source.heat.in_channels}"
        )
    masks = {name: torch.zeros_like(parameter) for name, parameter in target.named_parameters()}
    target.features.load_state_dict(source.features.state_dict())
    carried, new = [], []
    for name, mask in masks.items():
        if name.startswith("features."):
            mask.fill_(1.0)
            carried.append(Piece(name, tuple(mask.shape)))
    with torch.no_grad():
        for row, name in enumerate(ours):
            piece = Piece(f"heat.weight[{name}]", tuple(target.heat.weight[row].shape))
            if name not in theirs:
                new.append(piece)
                continue
            other = theirs.index(name)
            assert source.heat.bias is not None
            assert target.heat.bias is not None
            target.heat.weight[row], target.heat.bias[row] = source.heat.weight[other], source.heat.bias[other]
            masks["heat.weight"][row] = masks["heat.bias"][row] = 1.0
            carried.append(piece)
    new += [Piece(f"fovea[{name}]", ()) for name in ours[: len(target.foveas)]]
    new.append(Piece("geometry", ()))
    shape = tuple(source.heat.weight.shape[1:])
    left = tuple(Piece(f"heat.weight[{name}]", shape) for name in theirs if name not in ours)
    return Surgery(tuple(carried), tuple(new), left, masks)


def hold(mode: str, encoder: KeypointEncoder, fresh: KeypointEncoder, surgery: Surgery) -> EncoderRestraint:
    """Hold a carried `encoder` as `mode` of `MODES` says; `distil` and `shrink-perturb` put `fresh` weights back."""
    check_mode(mode)
    slow = {name: 1.0 - (1.0 - CARRIED_PACE) * mask for name, mask in surgery.masks.items()}
    frozen = {name: torch.zeros_like(mask) for name, mask in surgery.masks.items() if name.startswith("features.")}
    if mode == "feature-extractor":
        return EncoderRestraint(lambda share: frozen, lambda share: True)
    if mode == "fine-tune":
        return EncoderRestraint(lambda share: slow)
    if mode == "gradual-unfreeze":
        return EncoderRestraint(lambda share: frozen if share < THAW else slow, lambda share: share < THAW)
    if mode == "l2-sp":
        return EncoderRestraint(penalty=_pull_back(encoder, surgery.masks))
    if mode == "shrink-perturb":
        shrink_perturb(encoder, fresh, surgery.masks)
        return EncoderRestraint()
    reference = copy.deepcopy(encoder).eval().requires_grad_(False)
    encoder.load_state_dict(fresh.state_dict())

    def imitate(learning: KeypointEncoder, image: Tensor, share: float) -> Tensor | None:
        if share >= 0.5:
            return None
        with fast():
            with torch.no_grad():
                wanted = reference.features(image)
            return DISTIL * (1.0 - 2.0 * share) * (learning.features(image) - wanted).float().square().mean()

    return EncoderRestraint(penalty=imitate)


def _pull_back(
    encoder: KeypointEncoder, masks: Mapping[str, Tensor]
) -> Callable[[KeypointEncoder, Tensor, float], Tensor]:
    start = {name: parameter.detach().clone() for name, parameter in encoder.named_parameters()}

    def penalty(learning: KeypointEncoder, image: Tensor, share: float) -> Tensor:
        parts = [(masks[n] * (p - start[n])).square().sum() for n, p in learning.named_parameters()]
        return L2_SP * torch.stack(parts).sum()

    return penalty


@dataclass(frozen=True)
class CameraTransferConfig(TrainConfig):
    """How a camera policy is trained from an earlier one."""

    source: Path = Path()
    """Bundle to start from: `--from`."""
    mode: str = "fine-tune"
    """How what is carried is held: feature-extractor, fine-tune, gradual-unfreeze, l2-sp, distil or
    shrink-perturb."""
    student: StudentConfig = field(default_factory=lambda: StudentConfig(views=3_000, steps=800, held_out=500))
    """The camera student: less is needed than from scratch."""

    def validate(self) -> None:
        """Check everything that is cheap to check.

        Raises:
            ValueError: for an unknown mode, a source that does not fit, or what `TrainConfig` refuses.
        """
        check_mode(self.mode)
        super().validate()
        source = restore_student(PolicyBundle.load(self.source))
        if source.encoder.heat.in_channels != self.student.channels:
            raise BundleError(
                f"transfer: the source's encoder is {source.encoder.heat.in_channels} channels wide, "
                f"student.channels is {self.student.channels}; give both the same"
            )


def begin_from(
    bundle: PolicyBundle, mode: str, tell: Callable[[Surgery], None]
) -> Callable[[CameraStudent, tuple[str, ...]], EncoderRestraint]:
    """Return what makes a fresh student start from `bundle`; `tell` is called with the surgery."""
    source = restore_student(bundle)
    theirs = tuple(bundle.network["landmarks"])

    def begin(student: CameraStudent, landmarks: tuple[str, ...]) -> EncoderRestraint:
        fresh = copy.deepcopy(student.encoder)
        surgery = carry_encoder(source.encoder, theirs, student.encoder, landmarks)
        tell(surgery)
        return hold(mode, student.encoder, fresh, surgery)

    return begin


def transfer_camera(config: CameraTransferConfig, progress: Progress, tell: Callable[[Surgery], None]) -> PolicyBundle:
    """Train a camera policy from an earlier one in a new folder.

    Raises:
        ValueError: if the configuration or the source makes no sense; nothing has been written then.
    """
    config.validate()
    bundle = PolicyBundle.load(config.source)
    plain = TrainConfig(**{each.name: getattr(config, each.name) for each in fields(TrainConfig)})
    origin = {"transfer": {"parent": bundle.hash, "parent_name": bundle.name, "mode": config.mode}}
    return train(plain, progress, begin_from(bundle, config.mode, tell), origin)


@dataclass(frozen=True)
class CompareCameraConfig(CompareViewsConfig):
    """How transfer of a camera policy is compared with training from scratch.

    The source's teacher moves the arm in every run, so that only seeing differs.
    """

    camera: Path | None = None
    """Where the camera stands, if not where the task has it (.json)."""

    def validate(self) -> None:
        """Raise ValueError for a field out of range, an unknown mode or a source that does not fit."""
        super().validate()
        self.run().validate()
        restore_student(PolicyBundle.load(self.source))

    def run(self) -> TrainConfig:
        """What all runs share."""
        return TrainConfig(
            self.out / "run", self.task, self.robot, self.randomise, camera=self.camera, teacher=TeacherConfig()
        )


def compare_camera(config: CompareCameraConfig, progress: Progress) -> dict:
    """Learn to see from scratch and by every mode from every budget of views; write `transfer.json` and `.png`.

    All methods of a seed see the same views, and take the same number of gradient steps. Runs whose result is there
    already are not run again.

    Raises:
        ValueError: if the configuration makes no sense.
    """
    config.validate()
    torch.set_num_threads(1)
    run = config.run()
    bundle = PolicyBundle.load(config.source)
    space, robot, camera = run.space(), load_robot(config.robot), run.camera_model()
    task = task_with_camera(config.task, camera)
    teacher = restore_student(bundle).teacher
    landmarks = (*task.landmarks, *robot.landmarks)
    make = LastingEnv(config.task, config.robot, space, "camera", camera)

    def draw(count: int, seed: int) -> LabelledRenders:
        return sample_renders(config.task, config.robot, space, count, seed, config.workers, camera=camera)

    # opened once: a world with a camera takes a second
    with open_arms(make, min(10, config.episodes), config.workers) as arms:

        def learn(method: str, views: LabelledRenders, seed: int) -> dict:
            torch.manual_seed(seed)
            student = untrained_student(task, robot, copy.deepcopy(teacher), config.student)
            restraint = FREE
            if method != FROM_SCRATCH:
                restraint = begin_from(bundle, method, lambda surgery: None)(student, landmarks)
            settings = replace(config.student, views=len(views), held_out=HELD_OUT)
            figures = fit_student(student, (views,), settings, seed, lambda share, text: None, restraint)
            act = SeeingPolicy(student, make.names())
            success = judge(act, arms, make, config.episodes, JUDGE_SEEDS, act.begin).success
            return {**figures, "object_px": figures["keypoint_px"][0], "success": success}

        results = run_budgets(
            config.out, config.budgets, draw, learn, lambda share, text: progress("runs", share, text)
        )
    about = {**config.about(bundle), "camera": camera.to_dict() if camera else None}
    return report_budgets(config.out, config.budgets, results, ("goal_cm", "object_px"), about)
