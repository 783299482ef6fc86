"""From a bundle back to the torch network it was exported from, for adaptation and transfer."""

from __future__ import annotations

import torch

from policies.bundle import BundleError, PolicyBundle
from policies.bundle.weights import with_weights
from policies.models.keypoint_student import CameraStudent, ForwardKinematics, KeypointEncoder, StatePolicy
from robots.model import RobotModel

CAMERA_STUDENT = "camera_student"


def student_architecture(student: CameraStudent, landmarks: tuple[str, ...], height: int, width: int) -> dict:
    """Describe a student so that `restore_student` can build it again.

    Args:
        student: the network.
        landmarks: names of its keypoints in order, the task's bodies first, then the arm's links.
        height: of its pictures [px].
        width: of its pictures [px].
    """
    return {
        "kind": CAMERA_STUDENT,
        "landmarks": list(landmarks),
        "height": height,
        "width": width,
        "channels": student.encoder.heat.in_channels,
        "cameras": student.cameras,
        "foveas": len(student.encoder.foveas),
        "agreements": len(student.encoder.agreements),
        "kept": student.remembered.kept[0].tolist() if student.remembered else [],
        "teacher_hidden": [layer.out_features for layer in student.teacher.body if isinstance(layer, torch.nn.Linear)][
            :-1
        ],
    }


def new_student(architecture: dict, robot: RobotModel, actions: int) -> CameraStudent:
    """Build the untrained student that `architecture` describes."""
    return CameraStudent(
        KeypointEncoder(
            len(architecture["landmarks"]),
            architecture["height"],
            architecture["width"],
            architecture["channels"],
            foveas=architecture.get("foveas", 0),
            agreements=architecture.get("agreements", 0),
        ),
        ForwardKinematics(robot.chain),
        StatePolicy(3, actions, tuple(architecture["teacher_hidden"])),
        len(robot.joint_names),
        architecture.get("cameras", 1),  # older bundles do not say: one, no fovea, no memory
        architecture.get("kept", ()),
    )


def restore_student(bundle: PolicyBundle) -> CameraStudent:
    """Build the student of `bundle` with its weights.

    Raises:
        BundleError: if the bundle has no weights, or holds another kind of network.
    """
    if not bundle.weights:
        raise BundleError(
            f"bundle '{bundle.name}' has no weights.npz: it runs, but cannot be trained further; "
            "use the bundle that 'sim2real train' wrote"
        )
    if bundle.network.get("kind") != CAMERA_STUDENT:
        raise BundleError(
            f"bundle '{bundle.name}' holds a network of kind '{bundle.network.get('kind')}', "
            f"expected '{CAMERA_STUDENT}'"
        )
    student = new_student(bundle.network, bundle.robot, bundle.action.size)
    return with_weights(student, bundle)
