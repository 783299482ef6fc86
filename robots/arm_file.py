"""An arm that a user describes: its URDF, and one JSON file of what a URDF does not say.

Robot side: numpy only. The fields are in docs/own_arm.md. Nothing is guessed: what is missing is asked for by name,
and names that the URDF does not have are refused with the ones that it has.
"""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path

from robots.kinematics import KinematicChain, KinematicsError, joint_axis, joint_origin, matrix_rpy, rotation_about
from robots.model import Gripper, JointLimits, RobotModel
from robots.specs import SpecError

FIELDS = (
    "name",
    "urdf",
    "ee_link",
    "base_link",
    "home",
    "limits",
    "gripper",
    "fixed_joints",
    "landmarks",
    "table_area",
)
REQUIRED = ("urdf", "ee_link", "home", "limits")
LIMITS = {"q_low": "lower", "q_high": "upper", "dq": "velocity", "ddq": None, "jerk": None, "tau": "effort"}
"""Limits, and the attribute of a URDF's `<limit>` that gives them where the file does not."""
GRIPPER = ("joint_names", "opened", "closed", "force")


def load_arm(path: Path | str) -> RobotModel:
    """Read the arm that the JSON file `path` describes.

    Raises:
        SpecError: for anything missing, unknown or unusable; all missing limits are named at once.
    """
    path = Path(path)
    if not path.is_file():
        raise SpecError(f"arm file '{path}' does not exist; docs/own_arm.md shows how to write one")
    try:
        data = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise SpecError(f"arm file '{path}' is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise SpecError(f"arm file '{path}' holds a {type(data).__name__}, expected an object with {', '.join(FIELDS)}")
    _check_fields(path, data)
    urdf = find_urdf(data["urdf"], path.parent)
    try:
        root = ElementTree.parse(urdf).getroot()
    except ElementTree.ParseError as error:
        raise SpecError(f"URDF '{urdf}' is no XML: {error}") from None
    _fix_joints(path, root, data.get("fixed_joints", {}))
    text = ElementTree.tostring(root, encoding="unicode")
    try:
        chain = KinematicChain.from_urdf(text, data["ee_link"], data.get("base_link"))
    except KinematicsError as error:
        raise SpecError(f"arm file '{path}': {error}") from None
    gripper = _gripper(path, data.get("gripper"), root)
    _check_joints(path, root, chain.joint_names, gripper.joint_names if gripper else ())
    limits = _limits(path, data["limits"], root, chain.joint_names)
    home = _by_joint(path, "home", data["home"], chain.joint_names)
    missing = [joint for joint in chain.joint_names if joint not in home]
    if missing:
        raise SpecError(f"arm file '{path}': home lacks joint '{missing[0]}'; give it in rad")
    for joint, low, high in zip(chain.joint_names, limits.q_low, limits.q_high):
        if not low <= home[joint] <= high:
            raise SpecError(
                f"arm file '{path}': home of joint '{joint}' is {home[joint]:g}, expected in [{low}, {high}]"
            )
    check_links(urdf, root)
    return RobotModel(
        name=data.get("name", path.stem),
        joint_names=chain.joint_names,
        base_link=chain.base_link,
        ee_link=data["ee_link"],
        home=tuple(home[joint] for joint in chain.joint_names),
        limits=limits,
        gripper=gripper,
        landmarks=tuple(data.get("landmarks", ())),
        table_area=_table_area(path, data.get("table_area")),
        urdf_xml=text,
        urdf_path=str(urdf),
    )


def find_urdf(name: str, folder: Path) -> Path:
    """Find a URDF beside the arm file, or with `package://` in an installed description package.

    Raises:
        SpecError: with the places that were tried.
    """
    if not name.startswith("package://"):
        tried = [folder / name]
    else:
        rest = name.removeprefix("package://")
        prefixes = [Path(p) / "share" for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
        prefixes += [Path(p) for p in os.environ.get("ROS_PACKAGE_PATH", "").split(os.pathsep) if p]
        tried = [prefix / rest for prefix in prefixes]
    for path in tried:
        if path.is_file():
            return path
    places = ", ".join(str(path) for path in tried) or "no folder: AMENT_PREFIX_PATH is empty"
    raise SpecError(f"URDF '{name}' not found in {places}; is the path right, is the description package sourced?")


def check_links(urdf: Path, root: ElementTree.Element) -> None:
    """Raise `SpecError` for a link with geometry but no mass, which PyBullet makes 1 kg, and for missing meshes."""
    from robots.visual_meshes import MeshError, find_mesh

    for link in root.findall("link"):
        name = link.get("name")
        has_geometry = link.find("collision") is not None or link.find("visual") is not None
        if has_geometry and link.find("inertial/mass") is None:
            raise SpecError(
                f"URDF '{urdf.name}': link '{name}' has no <inertial>, and PyBullet would silently make it 1 kg; add "
                "mass and inertia to the URDF"
            )
        for mesh in link.iter("mesh"):
            try:
                find_mesh(mesh.get("filename", ""), urdf)
            except MeshError as error:
                raise SpecError(f"link '{name}': {error}") from None


def _check_fields(path: Path, data: Mapping) -> None:
    unknown = [key for key in data if key not in FIELDS]
    if unknown:
        raise SpecError(f"arm file '{path}': unknown field '{unknown[0]}'; known are {', '.join(FIELDS)}")
    missing = [key for key in REQUIRED if key not in data]
    if missing:
        raise SpecError(f"arm file '{path}': {', '.join(missing)} missing; docs/own_arm.md says what they are")


def _by_joint(path: Path, field: str, values: object, joints: Sequence[str]) -> dict[str, float]:
    """Return numbers by joint name; refuse anything else, and joints that the arm does not have."""
    if not isinstance(values, dict):
        raise SpecError(f"arm file '{path}': {field} is {values!r}, expected {{joint: number}}")
    for joint, value in values.items():
        if joint not in joints:
            raise SpecError(f"arm file '{path}': {field} names joint '{joint}'; the arm's are {', '.join(joints)}")
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise SpecError(f"arm file '{path}': {field} of joint '{joint}' is {value!r}, expected a number")
    return {joint: float(value) for joint, value in values.items()}


def _limits(path: Path, given: object, root: ElementTree.Element, joints: Sequence[str]) -> JointLimits:
    known = (*LIMITS, "source")
    if not isinstance(given, dict):
        raise SpecError(f"arm file '{path}': limits is {given!r}, expected an object with {', '.join(known)}")
    for key in given:
        if key not in known:
            raise SpecError(f"arm file '{path}': unknown limit '{key}'; known are {', '.join(known)}")
    if not str(given.get("source", "")).strip():
        raise SpecError(f"arm file '{path}': limits has no 'source'; say where the numbers come from, e.g. a datasheet")
    tags = {joint.get("name"): joint.find("limit") for joint in root.findall("joint")}
    values: dict[str, tuple[float, ...]] = {}
    missing = []
    for limit, attribute in LIMITS.items():
        mine = _by_joint(path, f"limits.{limit}", given.get(limit, {}), joints)
        row = []
        for joint in joints:
            tag = tags[joint]
            text = tag.get(attribute) if attribute and tag is not None else None
            value = mine.get(joint, float(text) if text is not None else None)
            if value is None:
                missing.append(f"{limit} of {joint}")
            row.append(value if value is not None else 0.0)
        values[limit] = tuple(row)
    if missing:
        raise SpecError(
            f"arm file '{path}': neither it nor the URDF has {', '.join(missing)}; look them up in the arm's datasheet "
            "and put them under 'limits'"
        )
    return JointLimits(**values, source=str(given["source"]))


def _gripper(path: Path, data: object, root: ElementTree.Element) -> Gripper | None:
    if data is None:
        return None
    if not isinstance(data, dict) or set(data) != set(GRIPPER):
        raise SpecError(f"arm file '{path}': gripper is {data!r}, expected exactly {', '.join(GRIPPER)}")
    kinds = {joint.get("name", ""): joint.get("type") for joint in root.findall("joint")}
    for joint in data["joint_names"]:
        if joint not in kinds:
            raise SpecError(f"arm file '{path}': gripper joint '{joint}' unknown; the URDF's are {', '.join(kinds)}")
        if kinds[joint] != "prismatic":
            raise SpecError(
                f"arm file '{path}': gripper joint '{joint}' is {kinds[joint]}, but grippers here have sliding "
                "fingers; put it into fixed_joints, the arm then does the tasks that need no grasp"
            )
    if not float(data["force"]) > 0:
        raise SpecError(f"arm file '{path}': gripper force is {data['force']}, expected a positive number [N]")
    return Gripper(tuple(data["joint_names"]), float(data["opened"]), float(data["closed"]), float(data["force"]))


def _fix_joints(path: Path, root: ElementTree.Element, fixed: object) -> None:
    """Make joints that nobody drives rigid at the given positions [rad or m]."""
    joints = {joint.get("name", ""): joint for joint in root.findall("joint")}
    for name, position in _by_joint(path, "fixed_joints", fixed, list(joints)).items():
        joint = joints[name]
        R, p = joint_origin(joint)
        axis = joint_axis(joint)
        if joint.get("type") == "prismatic":
            p = p + R @ axis * position
        else:
            R = R @ rotation_about(axis, position)
            origin = joint.find("origin")
            if origin is None:
                origin = ElementTree.SubElement(joint, "origin")
            origin.set("rpy", " ".join(f"{v:.12g}" for v in matrix_rpy(R)))
        origin = joint.find("origin")
        if origin is None:
            origin = ElementTree.SubElement(joint, "origin")
        origin.set("xyz", " ".join(f"{v:.12g}" for v in p))
        joint.set("type", "fixed")


def _check_joints(path: Path, root: ElementTree.Element, arm: Sequence[str], fingers: Sequence[str]) -> None:
    for joint in root.findall("joint"):
        name = joint.get("name", "")
        if joint.get("type") != "fixed" and name not in (*arm, *fingers):
            raise SpecError(
                f"arm file '{path}': joint '{name}' moves, but is neither one of the arm's ({', '.join(arm)}) nor of a "
                "gripper; put it into 'fixed_joints' with the position at which it stands"
            )


def _table_area(path: Path, data: object) -> tuple[tuple[float, float], tuple[float, float]] | None:
    if data is None:
        return None
    usable = isinstance(data, dict) and set(data) == {"x", "y"}
    if usable:
        assert isinstance(data, dict)
        usable = all(isinstance(v, list) and len(v) == 2 and float(v[0]) < float(v[1]) for v in data.values())
    if not usable:
        raise SpecError(f'arm file \'{path}\': table_area is {data!r}, expected {{"x": [low, high], "y": [low, high]}}')
    assert isinstance(data, dict)
    return (float(data["x"][0]), float(data["x"][1])), (float(data["y"][0]), float(data["y"][1]))
