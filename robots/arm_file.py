"""An arm that a user describes: its URDF, and one JSON file of what a URDF does not say.

Robot side: numpy only. The fields are in docs/own_arm.md. Nothing is guessed: what is missing is asked for by name,
and names that the URDF does not have are refused with the ones that it has.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from robots.arms.reach import reached_area
from robots.arms.vendor import SCHEME, find_vendor_file
from robots.gripper import Gripper, fix_link, follow, mimics, mount, travel_of
from robots.host.reading import brief, read_json
from robots.host.typed import build
from robots.kinematics import KinematicChain
from robots.model import Drives, JointLimits, RobotModel
from robots.rig import AREA, RIGS
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
    "frames",
    "landmarks",
    "table_area",
    "drives",
    "rig",
)
REQUIRED = ("urdf", "ee_link", "home", "limits")
LIMITS = {"q_low": "lower", "q_high": "upper", "dq": "velocity", "ddq": None, "jerk": None, "tau": "effort"}
"""Limits, and the attribute of a URDF's `<limit>` that gives them where the file does not."""
LONGEST = 1000
"""Text in the file."""
LARGEST = 1e9
"""Of a number in the file, whatever it means."""
GRIPPER = ("joint_names", "force", "opened", "closed", "gap", "mimic", "centred", "speed", "concave", "urdf", "mount")


def load_arm(path: Path | str, shapes: bool = True) -> RobotModel:
    """Read the arm that the JSON file `path` describes; without `shapes`, its meshes may be missing.

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
    landmarks = data.get("landmarks")
    if not isinstance(landmarks, (list, type(None))):
        raise SpecError(f"arm file '{path}': landmarks is {brief(repr(landmarks))}, expected a list of links")
    file = find_urdf(_text(path, "urdf", data["urdf"]), path.parent)
    root = parse(file)
    try:
        mounted = _mount_gripper(path, root, file, data.get("gripper"))
        for name, frame in _object(path, "frames", data.get("frames", {})).items():
            fix_link(root, name, *_place(path, f"frames.{name}", frame))
        _fix_joints(path, root, data.get("fixed_joints", {}))
        text = to_text(root)
        file = _write_mounted(path, text) if mounted else file
        urdf = read_urdf(text)
        chain = KinematicChain.from_urdf(urdf, data["ee_link"], data.get("base_link"))
    except UrdfError as error:
        raise SpecError(f"arm file '{path}': {error}") from None
    gripper = _gripper(path, data.get("gripper"), root, urdf)
    _check_joints(path, urdf, chain.joint_names, gripper.moving if gripper else ())
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
    if shapes:
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
            landmarks=tuple(_text(path, "a landmark", link) for link in landmarks or ()),
            table_area=_table_area(path, data.get("table_area")),
            drives=build(Drives, _object(path, "drives", data["drives"]), "drives") if "drives" in data else None,
            rig=_rig(path, data.get("rig")),
            urdf_xml=text,
            urdf_path=str(file),
        )
        if shapes and (concave := data.get("gripper", {}).get("concave")):
            robot = _cut(path, robot, concave)
        if landmarks is None:
            robot = replace(robot, landmarks=robot.visible_links())
        if robot.table_area is None and (area := reached_area(robot)) != AREA:
            robot = replace(robot, table_area=area)
        _ = robot.chain, robot.tree
    except SpecError as error:
        raise SpecError(f"arm file '{path}': {error}") from None
    return robot


def find_urdf(name: str, folder: Path) -> Path:
    """Find a URDF beside the arm file, with `package://` in a description package, with `vendor://` a vendor's.

    Raises:
        SpecError: with the places that were tried.
    """
    if name.startswith(SCHEME):
        return find_vendor_file(name)
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


def _gripper(path: Path, data: object, root: Element, urdf: Urdf) -> Gripper | None:
    if data is None:
        return None
    data = _object(path, "gripper", data)
    names = [_text(path, "a gripper joint", each) for each in _list(path, "gripper joint_names", data["joint_names"])]
    given = {joint: (names[0], ratio) for joint, ratio in _object(path, "gripper mimic", data.get("mimic", {})).items()}
    for joint, (_, ratio) in given.items():
        _number(path, f"gripper mimic of '{joint}'", ratio)
    followers, ratios = follow({**mimics(root), **given}, names)
    for joint in (*names, *followers, *given):
        if joint not in urdf.joints:
            known = ", ".join(urdf.joints)
            raise SpecError(f"arm file '{path}': gripper joint '{joint}' unknown; the URDF's are {known}")
        if "gap" not in data and urdf.joints[joint].kind != "prismatic":
            raise SpecError(
                f"arm file '{path}': gripper joint '{joint}' is {urdf.joints[joint].kind}: give 'gap', rows of "
                "position [rad] and gap between the fingers [m], in place of 'opened' and 'closed', or put it into "
                "fixed_joints"
            )
    if "gap" in data:
        rows = [_vector(path, "a row of gripper gap", row, 2) for row in _list(path, "gripper gap", data["gap"])]
        travel = travel_of(rows)
        closed, opened = travel[0][0], travel[-1][0]
    else:
        travel = ()
        opened, closed = (_number(path, f"gripper {end}", data[end]) for end in ("opened", "closed"))
    force = _number(path, "gripper force", data["force"])
    if not force > 0:
        raise SpecError(f"arm file '{path}': gripper force is {force}, expected a positive number [N]")
    centred, speed = (
        None if key not in data else _number(path, f"gripper {key}", data[key]) for key in ("centred", "speed")
    )
    half = None if centred is None else centred / 2
    try:
        return Gripper(tuple(names), opened, closed, force, followers, ratios, travel, half, speed)
    except SpecError as error:
        raise SpecError(f"arm file '{path}': {error}") from None


def _cut(path: Path, robot: RobotModel, concave: object) -> RobotModel:
    """Cut the collision meshes of fingers that are not convex."""
    from robots.shapes.convex_parts import with_convex_parts

    links = [_text(path, "a concave link", link) for link in _list(path, "gripper concave", concave)]
    unknown = [link for link in links if link not in robot.urdf.links]
    if unknown:
        raise SpecError(f"gripper concave: link '{unknown[0]}' unknown; the URDF's are {', '.join(robot.urdf.links)}")
    return with_convex_parts(robot, links)


def _mount_gripper(path: Path, root: Element, file: Path, data: object) -> bool:
    """Check the gripper's fields, and add its URDF, if it has one of its own, to the arm's; return whether it has."""
    if data is None:
        return False
    data = _object(path, "gripper", data)
    unknown = [key for key in data if key not in GRIPPER]
    ends = [key for key in ("opened", "closed") if key in data]
    missing = [key for key in ("joint_names", "force") if key not in data]
    if unknown or missing or len(ends) != (0 if "gap" in data else 2) or ("urdf" in data) != ("mount" in data):
        raise SpecError(
            f"arm file '{path}': gripper has {', '.join(data)}; expected joint_names, force and either opened and "
            "closed or gap; mimic where the URDF does not say it; centred where one jaw is fixed; speed; concave; urdf "
            "and mount for a URDF of its own"
        )
    if "urdf" not in data:
        return False
    own = find_urdf(_text(path, "gripper urdf", data["urdf"]), path.parent)
    gripper = parse(own)
    for element, where in ((root, file), (gripper, own)):
        _find_meshes(element, where)
    mount(root, gripper, *_place(path, "gripper mount", data["mount"]))
    return True


def _find_meshes(root: Element, file: Path) -> None:
    """Make the names of meshes absolute paths."""
    from robots.shapes.visual_meshes import MeshError, find_mesh

    try:
        for mesh in root.iter("mesh"):
            mesh.set("filename", str(find_mesh(mesh.get("filename", ""), file)))
    except MeshError as error:
        raise SpecError(str(error)) from None


def _write_mounted(path: Path, text: str) -> Path:
    """Write the URDF of arm and gripper together to the cache, and return the file."""
    from robots.host.writing import write_bytes
    from robots.shapes.visual_meshes import default_cache_dir

    content = text.encode()
    file = default_cache_dir().parent / "urdf" / f"{path.stem}-{hashlib.sha256(content).hexdigest()[:24]}.urdf"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, content)
    return file


def _object(path: Path, what: str, data: object) -> Mapping:
    if not isinstance(data, dict):
        raise SpecError(f"arm file '{path}': {what} is {brief(repr(data))}, expected an object")
    return data


def _list(path: Path, what: str, data: object) -> Sequence:
    if not isinstance(data, list) or not data:
        raise SpecError(f"arm file '{path}': {what} is {brief(repr(data))}, expected a list that is not empty")
    return data


def _vector(path: Path, what: str, data: object, size: int) -> list[float]:
    if not isinstance(data, list) or len(data) != size:
        raise SpecError(f"arm file '{path}': {what} is {brief(repr(data))}, expected {size} numbers")
    return [_number(path, what, value) for value in data]


def _place(path: Path, what: str, data: object) -> tuple[str, list[float], list[float]]:
    """Return the link that something is fixed to, and where: xyz [m] and rpy [rad]."""
    data = _object(path, what, data)
    if set(data) - {"rpy"} != {"link", "xyz"}:
        raise SpecError(f"arm file '{path}': {what} has {', '.join(data)}; expected link, xyz and, if turned, rpy")
    rpy = _vector(path, f"{what}.rpy", data.get("rpy", [0.0, 0.0, 0.0]), 3)
    return _text(path, f"{what}.link", data["link"]), _vector(path, f"{what}.xyz", data["xyz"], 3), rpy


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


def _rig(path: Path, name: object) -> str | None:
    if name is not None and name not in RIGS:
        raise SpecError(f"arm file '{path}': rig is {brief(repr(name))}, expected one of {', '.join(RIGS)}")
    return name


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
