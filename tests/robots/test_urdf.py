"""The URDF reader: numbers and defaults, the two walks, malformed files, and the edits."""

from __future__ import annotations

import ast
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from robots.registry import load_robot
from robots.rotations import rpy_matrix
from robots.urdf import MOVING, UrdfError, UrdfLimit, fix_joint, parse, read_urdf, to_text, without_geometry

ROOT = Path(__file__).resolve().parents[2]
TEXT = """<?xml version="1.0" encoding="UTF-8"?>
<robot name="r">
  <material name="blue"><color rgba="0 0 1 1"/></material>
  <link name="base">
    <visual><material name="blue"/><geometry><box size="1 2 3"/></geometry></visual>
    <collision><origin xyz="0 0 1" rpy="0 0 1.5"/><geometry><cylinder radius="0.5" length="2"/></geometry></collision>
    <collision/>
  </link>
  <link name="arm">
    <inertial><origin xyz="0.1 0 0"/><mass value="2"/>
      <inertia ixx="1" ixy="4" ixz="5" iyy="2" iyz="6" izz="3"/></inertial>
    <visual><geometry><mesh filename="a.stl" scale="1 1 2"/></geometry></visual>
  </link>
  <link name="tool"/><link name="side"/>
  <joint name="turn" type="revolute">
    <parent link="base"/><child link="arm"/><origin xyz="0 0 0.5"/><axis xyz="0 0 2"/>
    <limit lower="-1" upper="1.5" velocity="3"/>
  </joint>
  <joint name="out" type="prismatic"><parent link="arm"/><child link="tool"/>
    <origin rpy="0 1.5707963267948966 0"/></joint>
  <joint name="stay" type="fixed"><parent link="base"/><child link="side"/><axis xyz="0 0 0"/></joint>
  <transmission><joint name="turn"/></transmission>
</robot>"""


def test_numbers_and_defaults() -> None:
    urdf = read_urdf(TEXT)
    assert list(urdf.links) == ["base", "arm", "tool", "side"]
    assert list(urdf.joints) == ["turn", "out", "stay"]
    assert urdf.root == "base"
    turn, out = urdf.joints["turn"], urdf.joints["out"]
    assert (turn.kind, turn.parent, turn.child) == ("revolute", "base", "arm")
    assert turn.limit == UrdfLimit(lower=-1.0, upper=1.5, velocity=3.0, effort=None)
    assert turn.axis.tolist() == [0.0, 0.0, 1.0]
    assert (turn.R.tolist(), turn.p.tolist()) == (np.eye(3).tolist(), [0.0, 0.0, 0.5])
    assert out.axis.tolist() == [1.0, 0.0, 0.0]
    np.testing.assert_allclose(out.R @ [1, 0, 0], [0, 0, -1], atol=1e-12)
    assert out.limit == UrdfLimit()
    base, arm = urdf.links["base"], urdf.links["arm"]
    assert base.inertial is None
    assert base.visuals[0].colour == (0.0, 0.0, 1.0)
    assert base.visuals[0].geometry is not None
    assert (base.visuals[0].geometry.kind, base.visuals[0].geometry.size) == ("box", (1.0, 2.0, 3.0))
    cylinder, empty = base.collisions
    assert cylinder.geometry is not None
    assert (cylinder.geometry.kind, cylinder.geometry.size) == ("cylinder", (0.5, 2.0))
    np.testing.assert_array_equal(cylinder.R, rpy_matrix(np.array([0.0, 0.0, 1.5])))
    assert empty.geometry is None
    assert arm.inertial is not None
    assert arm.inertial.mass == 2.0
    assert arm.inertial.p.tolist() == [0.1, 0.0, 0.0]
    assert arm.inertial.inertia is not None
    assert arm.inertial.inertia.tolist() == [[1, 4, 5], [4, 2, 6], [5, 6, 3]]
    assert arm.visuals[0].geometry is not None
    assert (arm.visuals[0].geometry.filename, arm.visuals[0].geometry.size) == ("a.stl", (1.0, 1.0, 2.0))


def test_the_chain_and_the_walk() -> None:
    urdf = read_urdf(TEXT)
    assert [joint.name for joint in urdf.chain(None, "tool")] == ["turn", "out"]
    assert [joint.name for joint in urdf.chain("arm", "tool")] == ["out"]
    assert urdf.chain("arm", "arm") == ()
    assert [joint.child for joint in urdf.descend()] == ["arm", "side", "tool"]
    assert [joint.child for joint in urdf.descend("arm")] == ["tool"]
    with pytest.raises(UrdfError, match="no link 'hand'; its links are arm, base, side, tool"):
        urdf.chain("base", "hand")
    with pytest.raises(UrdfError, match="'side' does not descend from 'arm'; its root is 'base'"):
        urdf.chain("arm", "side")


def test_a_file_is_read_like_its_text(tmp_path: Path) -> None:
    path = tmp_path / "r.urdf"
    path.write_text(TEXT)
    assert list(read_urdf(path).links) == list(read_urdf(TEXT).links)
    with pytest.raises(UrdfError, match=r"nowhere.urdf' cannot be read: No such file"):
        read_urdf(tmp_path / "nowhere.urdf")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no XML"),
        ("<robot><link", "is no XML"),
        ("<sdf/>", "root element <sdf>; expected <robot>"),
        ('<!DOCTYPE r [<!ENTITY a "aaaa">]><robot name="&a;"/>', "defines XML entities"),
        (TEXT.replace('lower="-1"', 'lower="low"'), "joint 'turn': <limit lower> is 'low'; expected 1 number"),
        (TEXT.replace('xyz="0 0 2"', 'xyz="0 0"'), "joint 'turn': <axis xyz> is '0 0'; expected 3 numbers"),
        (TEXT.replace('xyz="0 0 2"', 'xyz="0 0 0"'), "joint 'turn' has the axis .* expected a direction"),
        (TEXT.replace('mass value="2"', 'mass value="heavy"'), "link 'arm': <mass value> is 'heavy'"),
        (TEXT.replace('radius="0.5"', ""), "collision of link 'base': <cylinder radius> is ''; expected 1 number"),
    ],
)
def test_malformed_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(UrdfError, match=message):
        read_urdf(text)


def test_links_that_form_no_tree_are_refused() -> None:
    with pytest.raises(UrdfError, match="'turn' and 'stay' have the same child 'arm'"):
        read_urdf(TEXT.replace('<child link="side"/>', '<child link="arm"/>'))
    loop = TEXT.replace('<parent link="base"/><child link="arm"/>', '<parent link="tool"/><child link="arm"/>')
    with pytest.raises(UrdfError, match="the joints turn, out form a loop; expected a tree"):
        read_urdf(loop)
    nowhere = read_urdf(TEXT.replace('<child link="tool"/>', '<child link="hand"/>'))
    with pytest.raises(UrdfError, match="joint 'out' leads to 'hand'"):
        list(nowhere.descend())


@pytest.mark.parametrize(("name", "position"), [("turn", 0.4), ("out", 0.1)])
def test_a_fixed_joint_stands_where_the_moving_one_stood(name: str, position: float) -> None:
    before = read_urdf(TEXT).joints[name]
    root = parse(TEXT)
    fix_joint(next(each for each in root.findall("joint") if each.get("name") == name), position)
    after = read_urdf(to_text(root)).joints[name]
    assert after.kind == "fixed"
    c, s = math.cos(position), math.sin(position)
    turned = before.R @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) if name == "turn" else before.R
    np.testing.assert_allclose(after.R, turned, atol=1e-9)
    shift = before.R @ before.axis * position if name == "out" else 0.0
    np.testing.assert_allclose(after.p, before.p + shift, atol=1e-9)


def test_without_geometry_keeps_the_joints_and_masses() -> None:
    bare = read_urdf(without_geometry(TEXT))
    assert list(bare.joints) == ["turn", "out", "stay"]
    assert not any((*link.visuals, *link.collisions) for link in bare.links.values())
    assert bare.links["arm"].inertial is not None


@pytest.mark.parametrize("name", ["franka_panda", "kuka_iiwa", "xarm6"])
def test_the_built_in_arms_are_read(name: str) -> None:
    robot = load_robot(name)
    chain = robot.urdf.chain(robot.base_link, robot.ee_link)
    assert tuple(joint.name for joint in chain if joint.kind in MOVING) == robot.joint_names


def test_it_is_the_only_reader() -> None:
    """ElementTree belongs to the reader: what else reads or edits a URDF goes through it."""
    found = []
    for room in ("robots", "sim", "policies", "adaptation", "evaluation", "ros_nodes", "sim2real", "benchmarks"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                found += [str(path.relative_to(ROOT)) for name in names if name.startswith("xml")]
    assert set(found) == {"robots/urdf.py"}


def test_no_module_of_robots_imports_what_a_robot_lacks() -> None:
    modules = sorted(f"robots.{path.stem}" for path in (ROOT / "robots").glob("*.py") if path.stem != "__init__")
    heavy = ("pybullet", "gymnasium", "torch", "stable_baselines3", "rclpy", "mujoco", "trimesh")
    code = f"import sys, {', '.join(modules)}; print([name for name in {heavy!r} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"
