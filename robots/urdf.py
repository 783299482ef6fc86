"""The one reader of URDF files, and the edits that other programs need before they get one.

`read_urdf` returns frozen dataclasses with numbers; `parse` returns the XML tree to those that edit a URDF.
Lengths are in metres, angles in radians. Robot side: numpy only.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from robots.host.reading import MOST_TEXT, FileError, brief, read_bytes
from robots.rotations import matrix_rpy, rotation_about, rpy_matrix
from robots.specs import SpecError

Colour = tuple[float, float, float]
"""Red, green and blue in [0, 1]."""

MOVING = ("revolute", "continuous", "prismatic")
"""Types of joints with one degree of freedom."""


DEEPEST = 32
"""Elements within each other."""


class UrdfError(SpecError):
    """The text is no URDF, or it lacks what was asked for."""


@dataclass(frozen=True, eq=False)
class UrdfGeometry:
    """The shape of a `<visual>` or a `<collision>`."""

    kind: str
    """The element's tag: `box`, `cylinder`, `capsule`, `sphere`, `mesh`, or one that URDF does not define."""
    size: tuple[float, ...]
    """Edges of a box; radius and length of a cylinder or capsule; radius of a sphere; scale factors of a mesh."""
    filename: str = ""
    """Path or `package://` address of a mesh, as written."""


@dataclass(frozen=True, eq=False)
class UrdfShape:
    """A `<visual>` or a `<collision>`."""

    R: np.ndarray
    """(3, 3) rotation in the link's frame."""
    p: np.ndarray
    """(3,) position in the link's frame [m]."""
    geometry: UrdfGeometry | None
    """None where the element is missing or empty."""
    colour: Colour | None = None
    """Of the `<material>`, which may be defined elsewhere in the file."""


@dataclass(frozen=True, eq=False)
class UrdfInertial:
    """Mass, centre of mass and inertia of a link."""

    R: np.ndarray
    """(3, 3) rotation of the inertia's axes in the link's frame."""
    p: np.ndarray
    """(3,) centre of mass in the link's frame [m]."""
    mass: float | None
    """[kg]; None where there is no `<mass>`."""
    inertia: np.ndarray | None
    """(3, 3) about the centre of mass [kg·m²]; None where there is no `<inertia>`."""


@dataclass(frozen=True, eq=False)
class UrdfLink:
    """A `<link>`."""

    name: str
    inertial: UrdfInertial | None
    visuals: tuple[UrdfShape, ...]
    collisions: tuple[UrdfShape, ...]


@dataclass(frozen=True)
class UrdfLimit:
    """A joint's `<limit>`; None for every attribute that is missing."""

    lower: float | None = None
    upper: float | None = None
    velocity: float | None = None
    effort: float | None = None


@dataclass(frozen=True, eq=False)
class UrdfJoint:
    """A `<joint>`."""

    name: str
    kind: str
    """The `type` attribute."""
    parent: str
    """Name of the parent link."""
    child: str
    """Name of the child link."""
    R: np.ndarray
    """(3, 3) rotation of the joint's frame in the parent link."""
    p: np.ndarray
    """(3,) position of the joint's frame in the parent link [m]."""
    axis: np.ndarray
    """(3,) unit axis in the joint's frame."""
    limit: UrdfLimit


@dataclass(frozen=True, eq=False)
class Urdf:
    """A URDF's links and joints, in the order of the file."""

    links: Mapping[str, UrdfLink]
    joints: Mapping[str, UrdfJoint]

    @cached_property
    def joints_to(self) -> dict[str, UrdfJoint]:
        """The joint that carries each link, by the link's name.

        Raises:
            UrdfError: if two joints carry the same link.
        """
        found: dict[str, UrdfJoint] = {}
        for joint in self.joints.values():
            other = found.setdefault(joint.child, joint)
            if other is not joint:
                raise UrdfError(f"URDF: joints '{other.name}' and '{joint.name}' have the same child '{joint.child}'")
        return found

    @cached_property
    def root(self) -> str:
        """Name of the first link that no joint carries.

        Raises:
            UrdfError: if there is none.
        """
        for name in self.links:
            if name not in self.joints_to:
                return name
        raise UrdfError(f"URDF: none of its {len(self.links)} links is a root: each is the child of a joint")

    def chain(self, base: str | None, tip: str) -> tuple[UrdfJoint, ...]:
        """Return the joints from link `base` (None: the root above `tip`) to link `tip`, base first.

        Raises:
            UrdfError: if `tip` is unknown or does not descend from `base`.
        """
        if tip not in self.links:
            raise UrdfError(f"URDF has no link '{tip}'; its links are {', '.join(sorted(self.links))}")
        path: list[UrdfJoint] = []
        link = tip
        while link in self.joints_to and link != base:
            path.append(self.joints_to[link])
            link = path[-1].parent
        if base is not None and link != base:
            raise UrdfError(f"link '{tip}' does not descend from '{base}'; its root is '{link}'")
        return tuple(reversed(path))

    def descend(self, base: str | None = None) -> Iterator[UrdfJoint]:
        """Yield the joints below link `base` (default: the root), parents before children, breadth first.

        Raises:
            UrdfError: if a joint leads to a link that does not exist.
        """
        below: dict[str, list[UrdfJoint]] = {}
        for joint in self.joints_to.values():
            below.setdefault(joint.parent, []).append(joint)
        queue = [self.root if base is None else base]
        for link in queue:  # grows during the walk
            for joint in below.get(link, []):
                if joint.child not in self.links:
                    raise UrdfError(f"URDF: joint '{joint.name}' leads to '{joint.child}'; expected a link below it")
                yield joint
                queue.append(joint.child)


def read_urdf(source: str | Path) -> Urdf:
    """Read a URDF from its text, or from a file if `source` is a `Path`.

    Raises:
        UrdfError: if the file cannot be read, it is no URDF, an attribute is no number, or its joints form no tree.
    """
    root = parse(source)
    colours = {}
    for material in root.iter("material"):
        colour = _colour(material)
        if colour is not None:
            colours[material.get("name", "")] = colour
    links, joints = {}, {}
    for element in root.findall("link"):
        name = element.get("name", "")
        links[name] = UrdfLink(
            name, _inertial(element), _shapes(element, "visual", colours), _shapes(element, "collision")
        )
    for element in root.findall("joint"):
        joint = _joint(element)
        joints[joint.name] = joint
    urdf = Urdf(links, joints)
    _refuse_loops(urdf)
    return urdf


def _refuse_loops(urdf: Urdf) -> None:
    """Raise `UrdfError` for joints in a loop, which other readers follow for ever, and for links with two parents."""
    parents: dict[str, UrdfJoint] = {}
    for joint in urdf.joints.values():
        other = parents.setdefault(joint.child, joint) if joint.child else joint
        if other is not joint:
            raise UrdfError(f"URDF: joints '{other.name}' and '{joint.name}' have the same child '{joint.child}'")
    rooted: set[str] = set()
    for start in parents:
        walked: dict[str, UrdfJoint] = {}
        link = start
        while link in parents and link not in rooted:
            if link in walked:
                names = ", ".join(joint.name for joint in walked.values())
                raise UrdfError(f"URDF: the joints {brief(names)} form a loop; expected a tree")
            walked[link] = parents[link]
            link = parents[link].parent
        rooted.update(walked)


def parse(source: str | Path) -> Element:
    """Return the `<robot>` element of a URDF's text, or of a file if `source` is a `Path`, for editing.

    Raises:
        UrdfError: if the file cannot be read, or the text is not XML, defines entities or has another root.
    """
    where = f"URDF {source}" if isinstance(source, Path) else "URDF"
    try:
        content = read_bytes(source, "URDF", MOST_TEXT) if isinstance(source, Path) else source.encode()
        if len(content) > MOST_TEXT:
            raise UrdfError(f"{where} has {len(content)} bytes, expected at most {MOST_TEXT}")
        if b"<!ENTITY" in content:  # nested entities expand without bounds
            raise UrdfError(f"{where} defines XML entities, which are refused; expected plain XML")
        # text goes in as text: the encoding that it declares no longer applies
        root = ElementTree.fromstring(content if isinstance(source, Path) else source)
    except FileError as error:
        raise UrdfError(str(error)) from None
    except (ElementTree.ParseError, LookupError, UnicodeError) as error:  # LookupError: an unknown encoding
        raise UrdfError(f"{where} cannot be read: it is no XML ({error})") from None
    depth = _depth(root)
    if depth > DEEPEST:
        raise UrdfError(f"{where} has elements more than {DEEPEST} deep; expected a URDF")
    if root.tag != "robot":
        raise UrdfError(f"{where} has the root element <{root.tag}>; expected <robot>")
    return root


def _depth(root: Element) -> int:
    """Return how deep elements are nested, without recursion; it stops behind `DEEPEST`."""
    layer, depth = [root], 0
    while layer and depth <= DEEPEST:
        layer, depth = [child for element in layer for child in element], depth + 1
    return depth


def to_text(root: Element) -> str:
    """Return the text of an edited tree."""
    return ElementTree.tostring(root, encoding="unicode")


def add_child(element: Element, tag: str, **attributes: str) -> Element:
    """Append and return a new sub-element."""
    return ElementTree.SubElement(element, tag, attributes)


def without_geometry(text: str) -> str:
    """Return a URDF's text without its visual and collision geometry."""
    root = parse(text)
    for link in root.findall("link"):
        for kind in ("visual", "collision"):
            for element in link.findall(kind):
                link.remove(element)
    return to_text(root)


def fix_joint(element: Element, position: float) -> None:
    """Turn a moving `<joint>` into a fixed one at `position` [rad or m]."""
    joint = _joint(element)
    R, p = joint.R, joint.p
    origin = element.find("origin")
    if origin is None:
        origin = add_child(element, "origin")
    if joint.kind == "prismatic":
        p = p + R @ joint.axis * position
    else:
        origin.set("rpy", _text(matrix_rpy(R @ rotation_about(joint.axis, position))))
    origin.set("xyz", _text(p))
    element.set("type", "fixed")


def _text(values: Sequence[float] | np.ndarray) -> str:
    return " ".join(f"{v:.12g}" for v in values)


def _joint(element: Element) -> UrdfJoint:
    name, kind = element.get("name", ""), element.get("type", "")
    where = f"URDF: joint '{name}'"
    axis, limit = element.find("axis"), element.find("limit")
    direction = np.array((1.0, 0.0, 0.0))
    if axis is not None and kind != "fixed":
        direction = np.array(_numbers(axis, "xyz", where, "1 0 0", 3))
        length = np.linalg.norm(direction)
        if not length > 0:
            raise UrdfError(f"{where} has the axis {direction}; expected a direction")
        direction = direction / length
    ends = (element.find("parent"), element.find("child"))
    parent, child = ("" if end is None else end.get("link", "") for end in ends)
    limits = {}
    if limit is not None:
        known = ("lower", "upper", "velocity", "effort")
        limits = {each: _numbers(limit, each, where, count=1)[0] for each in known if limit.get(each) is not None}
    return UrdfJoint(name, kind, parent, child, *_origin(element, where), direction, UrdfLimit(**limits))


def _inertial(link: Element) -> UrdfInertial | None:
    element = link.find("inertial")
    if element is None:
        return None
    where = f"URDF: inertial of link '{link.get('name')}'"
    mass, tensor = element.find("mass"), element.find("inertia")
    inertia = None
    if tensor is not None:
        axes = ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")
        xx, yy, zz, xy, xz, yz = (_numbers(tensor, each, where, "0", 1)[0] for each in axes)
        inertia = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    kilograms = _numbers(mass, "value", where, "0", 1)[0] if mass is not None else None
    return UrdfInertial(*_origin(element, where), kilograms, inertia)


def _shapes(link: Element, tag: str, colours: Mapping[str, Colour] | None = None) -> tuple[UrdfShape, ...]:
    shapes = []
    for element in link.findall(tag):
        where = f"URDF: {tag} of link '{link.get('name')}'"
        holder, material, colour = element.find("geometry"), element.find("material"), None
        if material is not None:
            colour = _colour(material) or (colours or {}).get(material.get("name", ""))
        geometry = _geometry(holder[0], where) if holder is not None and len(holder) else None
        shapes.append(UrdfShape(*_origin(element, where), geometry, colour))
    return tuple(shapes)


def _geometry(shape: Element, where: str) -> UrdfGeometry:
    kind = shape.tag
    if kind == "box":
        return UrdfGeometry(kind, _numbers(shape, "size", where, count=3))
    if kind == "sphere":
        return UrdfGeometry(kind, _numbers(shape, "radius", where, count=1))
    if kind in ("cylinder", "capsule"):
        return UrdfGeometry(kind, tuple(_numbers(shape, each, where, count=1)[0] for each in ("radius", "length")))
    if kind == "mesh":
        return UrdfGeometry(kind, _numbers(shape, "scale", where, "1 1 1", 3), shape.get("filename", ""))
    return UrdfGeometry(kind, ())


def _colour(material: Element) -> Colour | None:
    element = material.find("color")
    if element is None:
        return None
    where = f"URDF: colour of material '{material.get('name')}'"
    r, g, b = _numbers(element, "rgba", where, "0.7 0.7 0.7 1")[:3]
    return r, g, b


def _origin(element: Element, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Return rotation (3, 3) and translation (3,) [m] of an element's `<origin>`."""
    origin = element.find("origin")
    if origin is None:
        return np.eye(3), np.zeros(3)
    rpy, xyz = (np.array(_numbers(origin, each, where, "0 0 0", 3)) for each in ("rpy", "xyz"))
    return rpy_matrix(rpy), xyz


def _numbers(element: Element, attribute: str, where: str, default: str = "", count: int | None = None) -> tuple:
    """Return the attribute's `count` numbers."""
    text = element.get(attribute) or default
    try:
        values = tuple(float(each) for each in text.split())
    except ValueError:
        values = ()
    if not values or (count is not None and len(values) != count) or not all(map(math.isfinite, values)):
        expected = f"{count} number{'s' if count != 1 else ''}" if count is not None else "numbers"
        raise UrdfError(f"{where}: <{element.tag} {attribute}> is '{brief(text)}'; expected {expected}")
    return values
