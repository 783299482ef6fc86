"""Fingers that are not convex are cut into convex parts, which leave their hollow free."""

import json
import sys

import numpy as np
import pytest
import trimesh
from scipy.spatial import ConvexHull

from robots.registry import load_robot
from robots.shapes.convex_parts import convex_parts
from robots.specs import SpecError
from tests.support.servo_arm import GRASPING, urdf, write_servo_arm

Z = np.array([0.0, 0.0, 1.0])


def hook() -> trimesh.Trimesh:
    """A bar of 8 cm along z with a bar of 3 cm along x on its lower end, each 1 cm thick."""
    bar = trimesh.creation.box((0.01, 0.01, 0.08), trimesh.transformations.translation_matrix((0.005, 0, 0.04)))
    foot = trimesh.creation.box((0.03, 0.01, 0.01), trimesh.transformations.translation_matrix((0.025, 0, 0.005)))
    return trimesh.util.concatenate([bar, foot])


def holds(corners: np.ndarray, point: tuple[float, float, float]) -> bool:
    equations = ConvexHull(corners).equations
    return bool((equations[:, :3] @ point + equations[:, 3] < 0).all())


def test_the_hollow_of_a_hook_stays_free():
    mesh = hook()
    parts = convex_parts(np.asarray(mesh.vertices), np.asarray(mesh.edges), Z)
    assert 2 <= len(parts) <= 4
    hollow, solid = (0.02, 0.0, 0.02), [(0.005, 0.0, 0.07), (0.035, 0.0, 0.005)]
    assert holds(np.asarray(mesh.vertices), hollow)  # of the hull as a whole
    assert not any(holds(part, hollow) for part in parts)
    assert all(any(holds(part, point) for part in parts) for point in solid)


def test_a_straight_finger_stays_whole():
    mesh = trimesh.creation.box((0.01, 0.02, 0.08))
    (part,) = convex_parts(np.asarray(mesh.vertices), np.asarray(mesh.edges), Z)
    assert len(part) == 8


@pytest.fixture
def hooked(tmp_path, monkeypatch):
    """Return the arm file of an arm whose jaw has the shape of a hook."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file, _ = write_servo_arm(tmp_path, gripper={**GRASPING, "concave": ["jaw"]})
    hook().export(tmp_path / "hook.stl")
    before, jaw = urdf().split('<link name="jaw">')
    shape = '<geometry><mesh filename="hook.stl"/></geometry>'
    jaw = jaw.replace('<geometry><box size="0.008 0.016 0.06"/></geometry>', shape)
    (tmp_path / "servo_arm.urdf").write_text(f'{before}<link name="jaw">{jaw}')
    return file


def test_an_arm_file_names_the_links_to_cut(hooked, monkeypatch):
    monkeypatch.setitem(sys.modules, "trimesh", None)  # as on a robot
    arm = load_robot(str(hooked))
    again = load_robot(str(hooked))  # from the cache
    collisions = arm.urdf.links["jaw"].collisions
    assert len(collisions) >= 2
    assert all(collision.geometry.kind == "mesh" for collision in collisions)
    assert arm.urdf_xml == again.urdf_xml
    assert len(load_robot(str(hooked), shapes=False).urdf.links["jaw"].collisions) == 1


def test_an_unknown_link_is_refused(hooked):
    data = json.loads(hooked.read_text())
    data["gripper"]["concave"] = ["claw"]
    hooked.write_text(json.dumps(data))
    with pytest.raises(SpecError, match="gripper concave: link 'claw' unknown; the URDF's are base, shoulder"):
        load_robot(str(hooked))
