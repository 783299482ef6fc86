"""Place the cameras of a policy that was trained for ranges of poses where those of a lab stand.

The policy takes each camera's calibration beside its image, so its graph stays as it is; what changes are the cameras
in the manifest. Robot side: numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from policies.bundle.policy_bundle import PolicyBundle
from robots.camera import CameraModel
from robots.pose_range import TOLERANCE
from robots.rig import policy_view
from robots.specs import SpecError

PLACED = "placed"
"""Entry of a placed bundle's provenance: the hash of its `parent`, and the `cameras` that this was trained with."""


def placed_bundle(bundle: PolicyBundle, rig: Sequence[CameraModel]) -> PolicyBundle:
    """Return `bundle` for the cameras of a lab, as they were calibrated; a placed one is placed anew.

    Raises:
        SpecError: if one is missing or unknown, stands outside the range of training, or is known less exactly.
    """
    before = bundle.provenance.get(PLACED)
    trained = bundle.cameras
    if before is not None:
        trained = {camera.name: camera for camera in map(CameraModel.from_dict, before["cameras"])}
    about = before or {"parent": bundle.hash, "cameras": [camera.to_dict() for camera in trained.values()]}
    return replace(
        bundle, cameras=placed_cameras(trained, rig, bundle.name), provenance={**bundle.provenance, PLACED: about}
    )


def placed_cameras(
    trained: Mapping[str, CameraModel], rig: Sequence[CameraModel], policy: str
) -> dict[str, CameraModel]:
    """Return what a policy takes of the cameras of a lab, by name.

    Args:
        trained: the cameras that it was trained with, by name; some may stand anywhere in a range.
        rig: the lab's, as calibrated, in place of these.
        policy: name of the policy, for errors.

    Raises:
        SpecError: as `placed_bundle`.
    """
    there = {camera.name: camera for camera in rig}
    free = [name for name, camera in trained.items() if camera.pose_range is not None]
    if not free:
        raise SpecError(
            f"policy '{policy}' was trained for cameras in one place each, {', '.join(trained) or 'without images'}; "
            "train with --cameras random for others"
        )
    if set(there) != set(free):
        raise SpecError(
            f"policy '{policy}' follows the cameras {', '.join(free)}, and the rig has {', '.join(there)}; give "
            "exactly those, by these names"
        )
    found = dict(trained)
    for name in free:
        camera, pose_range = there[name], trained[name].pose_range
        assert pose_range is not None
        if camera.T_base_camera is None or camera.pose_range is not None:
            raise SpecError(f"camera '{name}': its own place is not given, expected T_base_camera, or eye and target")
        if outside := pose_range.outside(camera.pose()):
            raise SpecError(
                f"camera '{name}' is outside what policy '{policy}' was trained on: {'; '.join(outside)}; move it, or "
                "train with a rig whose ranges hold it"
            )
        for error, unit in (("position_error", "m"), ("rotation_error", "rad")):
            ours, theirs = getattr(camera, error), getattr(trained[name], error)
            if ours > theirs + TOLERANCE:
                raise SpecError(
                    f"camera '{name}': {error} is {ours:g} {unit}, policy '{policy}' was trained for {theirs:g}; "
                    "calibrate the camera, and say how exact its pose is"
                )
        view, (height, width) = policy_view(camera, pose_range.area), (trained[name].height, trained[name].width)
        if (view.height, view.width) != (height, width):
            raise SpecError(
                f"camera '{name}' gives images of {camera.height} × {camera.width} px, expected larger ones than the "
                f"policy's {height} × {width}"
            )
        found[name] = view
    return found
