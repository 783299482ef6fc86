"""From a bundle back to the torch network it was exported from, for adaptation and transfer."""

from __future__ import annotations

from policies.bundle import BundleError, PolicyBundle
from policies.bundle.weights import require_kind, with_weights
from policies.models.camera_student import CameraStudent
from policies.models.keypoint_encoder import SMALL, ForwardKinematics, KeypointEncoder
from policies.models.state_network import StateNetwork
from policies.models.triangulation import Triangulation
from robots.model import RobotModel

CAMERA_STUDENT = "camera_student"


def student_architecture(student: CameraStudent, landmarks: tuple[str, ...], height: int, width: int) -> dict:
    """Describe a student so that `restore_student` can build it again.

    Args:
        student: the network.
        landmarks: names of its keypoints in order, the task's bodies first, then the arm's links.
        height: of its images [px].
        width: of its images [px].
    """
    return {
        "kind": CAMERA_STUDENT,
        "landmarks": list(landmarks),
        "height": height,
        "width": width,
        "encoder": student.encoder.name,
        **({"asked": student.encoder.asked} if student.encoder.asked else {}),
        "channels": student.encoder.heat.in_channels,
        "cameras": student.cameras,
        "fingers": student.fingers,
        "refiners": len(student.encoder.refiners),
        "cross_view_priors": len(student.encoder.cross_view_priors),
        "forgetting_factors": student.filter.forgetting_factors[0].tolist(),
        "hold_steps": student.hold_steps,
        "calibrated": list(student.calibrated),
        "maskable": student.maskable,
        "action_head": student.action_head.architecture(),
    }


def new_student(architecture: dict, robot: RobotModel) -> CameraStudent:
    """Build the untrained student that `architecture` describes."""
    head = architecture["action_head"]
    calibrated = architecture.get("calibrated", [])
    bodies = len(architecture["landmarks"]) - len(robot.landmarks)
    size = architecture["height"], architecture["width"]
    return CameraStudent(
        KeypointEncoder(
            len(architecture["landmarks"]),
            architecture["height"],
            architecture["width"],
            architecture["channels"],
            refiners=architecture["refiners"],
            cross_view_priors=architecture["cross_view_priors"],
            name=architecture.get("encoder", SMALL),
            asked=architecture.get("asked", 0),
        ),
        ForwardKinematics(robot.chain),
        StateNetwork(
            [(name, tuple(shape)) for name, shape in head["arrays"]], head["actions"], head["hidden"], judges=True
        ),
        len(robot.joint_names),
        robot.gripper if architecture["fingers"] else None,
        architecture["forgetting_factors"],
        cameras=architecture["cameras"],
        hold_steps=architecture["hold_steps"],
        calibrated=calibrated,
        triangulation=Triangulation(robot, bodies, *size, 0.0, 0.0) if calibrated else None,  # the errors are weights
        maskable=architecture.get("maskable", False),
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
    keys = ("landmarks", "height", "width", "channels", "cameras", "fingers", "refiners", "cross_view_priors")
    require_kind(bundle, CAMERA_STUDENT, keys=(*keys, "forgetting_factors", "hold_steps", "action_head"))
    return with_weights(new_student(bundle.network, bundle.robot), bundle)
