"""A camera student without keypoints: any encoder of `ENCODERS`, its features and the joints regressed to the goal.

    image ──▶ encoder ──▶ features ─┐
                                    ├─▶ goal relative to the end effector ──▶ action head ──▶ action
    q ──▶ ForwardKinematics ────────┘

It needs no labels but the goal, and stands in `benchmarks/encoders.py` beside `CameraStudent`, which has them all.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.parts.encoders import Tuning, make_encoder
from policies.models.keypoint_encoder import WORKSPACE, ForwardKinematics, as_network_image
from policies.models.state_network import StateNetwork
from policies.training.descent import Loss, gradient_descent, one_cycle
from policies.training.precision import fast
from sim.datasets.labelled_renders import LabelledRenders

WHOLE = Tuning()


class PictureStudent(nn.Module):
    """An RGB picture and joint positions in, an action out."""

    q_centre: Tensor
    q_spread: Tensor
    memory: dict[str, tuple[int, ...]] = {}  # noqa: RUF012

    def __init__(
        self, encoder: str, height: int, width: int, kinematics: ForwardKinematics, head: StateNetwork, joints: int
    ):
        """Put the parts together.

        Args:
            encoder: name in `ENCODERS`.
            height: of the pictures [px].
            width: of the pictures [px].
            kinematics: of the arm.
            head: acts by `ee_pos` and `goal`.
            joints: number of the arm's joints.

        Raises:
            EncoderError: for an unknown encoder.
        """
        super().__init__()
        self.encoder = make_encoder(encoder, height, width)
        self.kinematics = kinematics
        self.action_head = head
        features = self.encoder.width
        assert isinstance(features, int)
        self.geometry = nn.Sequential(
            nn.Linear(features + joints + 3, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 3)
        )
        self.register_buffer("q_centre", torch.zeros(joints))
        self.register_buffer("q_spread", torch.ones(joints))

    def forward(self, q: Tensor, image: Tensor) -> tuple[Tensor]:
        """Map joint positions (B, n) [rad] and pictures (B, H, W, 3) uint8 to actions (B, a) in [-1, 1]."""
        ee_pos = self.kinematics(q)
        return (self.action_head(ee_pos, ee_pos + self.locate(self.encoder(as_network_image(image)), q)),)

    def locate(self, features: Tensor, q: Tensor) -> Tensor:
        """Turn features (B, F) and joint positions (B, n) [rad] into goal minus end effector (B, 3) [m]."""
        joints = (q - self.q_centre) / self.q_spread
        return WORKSPACE * self.geometry(torch.cat([features.float(), joints, self.kinematics(q)], dim=1))


def fit_picture_student(
    student: PictureStudent,
    views: LabelledRenders,
    steps: int,
    seed: int,
    batch: int = 128,
    learning_rate: float = 1e-3,
    tuning: Tuning = WHOLE,
) -> None:
    """Regress where the goal is on `views`, by its distance [m], in `steps` gradient steps of `batch` pictures.

    Args:
        student: is trained in place, all but its action head.
        views: labelled pictures.
        steps: gradient steps.
        seed: of the order of the pictures.
        batch: pictures a step.
        learning_rate: peak of the one-cycle schedule.
        tuning: what of the encoder learns.

    Raises:
        EncoderError: if `tuning` has weights that do not fit.
    """
    tuning.apply(student.encoder)
    generator = torch.Generator().manual_seed(seed)
    images, q = torch.from_numpy(views.images), torch.from_numpy(views.q)
    with torch.no_grad():
        to_goal = torch.from_numpy(views.goal) - student.kinematics(q)
    student.q_centre.copy_(q.mean(0))
    student.q_spread.copy_(q.std(0).clamp_min(1e-3))
    student.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    learning = [p for part in (student.encoder, student.geometry) for p in part.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learning, learning_rate, weight_decay=1e-4)
    student.train()

    def loss(step: int) -> Loss:
        rows = torch.randint(len(images), (batch,), generator=generator)
        with fast():
            features = student.encoder(as_network_image(images[rows]))
        return Loss((student.locate(features, q[rows]) - to_goal[rows]).norm(dim=1).mean())

    gradient_descent(optimiser, one_cycle(learning_rate, steps), steps, loss)
    student.eval()


@torch.no_grad()
def goal_errors(student: PictureStudent, views: LabelledRenders, batch: int = 500) -> np.ndarray:
    """Measure by how much the student misses the goal of each of `views` (N,) [m]."""
    student.eval()
    errors = []
    for i in range(0, len(views), batch):
        q = torch.from_numpy(views.q[i : i + batch])
        features = student.encoder(as_network_image(torch.from_numpy(views.images[i : i + batch])))
        to_goal = torch.from_numpy(views.goal[i : i + batch]) - student.kinematics(q)
        errors.append((student.locate(features, q) - to_goal).norm(dim=1).numpy())
    return np.concatenate(errors)
