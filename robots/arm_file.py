"""An arm that a user describes: its URDF, and one JSON file of what a URDF does not say.

Robot side: numpy only. The fields are in docs/own_arm.md. Nothing is guessed: what is missing is asked for by name,
and names that the URDF does not have are refused with the ones that it has.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from robots.host.reading import brief, read_json
from robots.kinematics import KinematicChain
from robots.model import Gripper, JointLimits, RobotModel
from robots.specs import SpecError
from robots.urdf import Element, Urdf, UrdfError, fix_joint, parse, read_urdf, to_text

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
LONGEST = 1000
"""Text in the file."""
LARGEST = 1e9
"""Of a number in the file, whatever it means."""
GRIPPER = ("joint_names", "opened", "closed", "force")


def load_arm(path: Path | str) -> RobotModel:
    """Read the arm that the JSON file `path` describes.

    Raises:
        SpecError: for anything missing, unknown or unusable; all missing limits are named at once.
    """
    path = Path(path)
    if not path.is_file():
        raise SpecError(f"arm file '{path}' does not exist; docs/own_arm.md shows how to write one")
    data = read_json(path, "arm file")
    _check_fields(path, data)
    for name in ("name", "urdf", "ee_link", "base_link"):
        if data.get(name) is not None:
            _text(path, name, data[name])
    landmarks = data.get("landmarks", [])
    if not isinstance(landmarks, list):
        raise SpecError(f"arm file '{path}': landmarks is {brief(repr(landmarks))}, expected a list of links")
    file = find_urdf(_text(path, "urdf", data["urdf"]), path.parent)
    root = parse(file)
    try:
        _fix_joints(path, root, data.get("fixed_joints", {}))
        text = to_text(root)
        urdf = read_urdf(text)
        chain = KinematicChain.from_urdf(urdf, data["ee_link"], data.get("base_link"))
    except UrdfError as error:
        raise SpecError(f"arm file '{path}': {error}") from None
    gripper = _gripper(path, data.get("gripper"), urdf)
    _check_joints(path, urdf, chain.joint_names, gripper.joint_names if gripper else ())
    limits = _limits(path, data["limits"], urdf, chain.joint_names)
    home = _by_joint(path, "home", data["home"], chain.joint_names)
    missing = [joint for joint in chain.joint_names if joint not in home]
    if missing:
        raise SpecError(f"arm file '{path}': home lacks joint '{missing[0]}'; give it in rad")
    for joint, low, high in zip(chain.joint_names, limits.q_low, limits.q_high):
        if not low <= home[joint] <= high:
            raise SpecError(
                f"arm file '{path}': home of joint '{joint}' is {home[joint]:g}, expected in [{low}, {high}]"
            )
    check_links(file, urdf)
    try:
        robot = RobotModel(
            name=data.get("name", path.stem),
            joint_names=chain.joint_names,
            base_link=chain.base_link,
            ee_link=data["ee_link"],
            home=tuple(home[joint] for joint in chain.joint_names),
            limits=limits,
            gripper=gripper,
            landmarks=tuple(_text(path, "a landmark", link) for link in landmarks),
            table_area=_table_area(path, data.get("table_area")),
            urdf_xml=text,
            urdf_path=str(file),
        )
        _ = robot.chain, robot.tree
    except SpecError as error:
        raise SpecError(f"arm file '{path}': {error}") from None
    return robot


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
        if os.path.isfile(path):  # False too for a name that no file can have
            return path
    places = ", ".join(str(path) for path in tried) or "no folder: AMENT_PREFIX_PATH is empty"
    raise SpecError(f"URDF '{name}' not found in {places}; is the path right, is the description package sourced?")


def check_links(path: Path, urdf: Urdf) -> None:
    """Raise `SpecError` for a link with geometry but no mass, which PyBullet makes 1 kg, and for missing meshes."""
    from robots.shapes.visual_meshes import MeshError, find_mesh

    for link in urdf.links.values():
        shapes = (*link.visuals, *link.collisions)
        if shapes and (link.inertial is None or link.inertial.mass is None):
            raise SpecError(
                f"URDF '{path.name}': link '{link.name}' has no <inertial>, and PyBullet would silently make it 1 kg; "
                "add mass and inertia to the URDF"
            )
        for shape in shapes:
            if shape.geometry is not None and shape.geometry.kind == "mesh":
                try:
                    find_mesh(shape.geometry.filename, path)
                except MeshError as error:
                    raise SpecError(f"link '{link.name}': {error}") from None


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
        _number(path, f"{field} of joint '{joint}'", value)
    return {joint: float(value) for joint, value in values.items()}


def _number(path: Path, what: str, value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or abs(value) > LARGEST:
        raise SpecError(f"arm file '{path}': {what} is {brief(repr(value))}, expected a number")
    return float(value)


def _text(path: Path, what: str, value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) < LONGEST or chr(0) in value:
        raise SpecError(f"arm file '{path}': {what} is {brief(repr(value))}, expected a text")
    return value


def _limits(path: Path, given: object, urdf: Urdf, joints: Sequence[str]) -> JointLimits:
    known = (*LIMITS, "source")
    if not isinstance(given, dict):
        raise SpecError(f"arm file '{path}': limits is {given!r}, expected an object with {', '.join(known)}")
    for key in given:
        if key not in known:
            raise SpecError(f"arm file '{path}': unknown limit '{key}'; known are {', '.join(known)}")
    if not str(given.get("source", "")).strip():
        raise SpecError(f"arm file '{path}': limits has no 'source'; say where the numbers come from, e.g. a datasheet")
    values: dict[str, tuple[float, ...]] = {}
    missing = []
    for limit, attribute in LIMITS.items():
        mine = _by_joint(path, f"limits.{limit}", given.get(limit, {}), joints)
        row = []
        for joint in joints:
            value = mine.get(joint, getattr(urdf.joints[joint].limit, attribute) if attribute else None)
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


def _gripper(path: Path, data: object, urdf: Urdf) -> Gripper | None:
    if data is None:
        return None
    if not isinstance(data, dict) or set(data) != set(GRIPPER):
        raise SpecError(f"arm file '{path}': gripper is {data!r}, expected exactly {', '.join(GRIPPER)}")
    kinds = {joint.name: joint.kind for joint in urdf.joints.values()}
    if not isinstance(data["joint_names"], list) or not data["joint_names"]:
        raise SpecError(f"arm file '{path}': gripper joint_names is {data['joint_names']!r}, expected a list of joints")
    for name in ("opened", "closed", "force"):
        _number(path, f"gripper {name}", data[name])
    for joint in (_text(path, "a gripper joint", each) for each in data["joint_names"]):
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


def _fix_joints(path: Path, root: Element, fixed: object) -> None:
    """Turn joints without a motor into fixed ones at the given positions [rad or m]."""
    joints = {joint.get("name", ""): joint for joint in root.findall("joint")}
    for name, position in _by_joint(path, "fixed_joints", fixed, list(joints)).items():
        fix_joint(joints[name], position)


def _check_joints(path: Path, urdf: Urdf, arm: Sequence[str], fingers: Sequence[str]) -> None:
    for joint in urdf.joints.values():
        if joint.kind != "fixed" and joint.name not in (*arm, *fingers):
            raise SpecError(
                f"arm file '{path}': joint '{joint.name}' moves, but is neither one of the arm's "
                f"({', '.join(arm)}) nor of a gripper; put it into 'fixed_joints' with the position at which it stands"
            )


def _table_area(path: Path, data: object) -> tuple[tuple[float, float], tuple[float, float]] | None:
    if data is None:
        return None
    ends = list(data.values()) if isinstance(data, dict) and set(data) == {"x", "y"} else []
    pairs = [v for v in ends if isinstance(v, list) and len(v) == 2]
    numbers = [[_number(path, "table_area", end) for end in pair] for pair in pairs]
    usable = len(pairs) == 2 and all(low < high for low, high in numbers)
    if not usable:
        raise SpecError(f'arm file \'{path}\': table_area is {data!r}, expected {{"x": [low, high], "y": [low, high]}}')
    assert isinstance(data, dict)
    return (float(data["x"][0]), float(data["x"][1])), (float(data["y"][0]), float(data["y"][1]))
