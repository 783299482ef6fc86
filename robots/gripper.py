"""Grippers: fingers that move together, sliding or turning, and how far apart they stand.

Robot side: numpy only. Everything else in the house knows one number, the opening: half the gap between the fingers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from robots.specs import SpecError
from robots.urdf import Element, UrdfError, add_child, read_urdf, to_text

Value = TypeVar("Value", float, np.ndarray)


@dataclass(frozen=True)
class Gripper:
    """A gripper whose fingers move together; sliding fingers stand at the opening itself."""

    joint_names: tuple[str, ...]
    """Joints that are commanded and measured."""
    opened: float
    """Opening when open: half the gap between the fingers [m]."""
    closed: float
    """Opening when closed [m]."""
    force: float
    """Largest force a finger [N]."""
    followers: tuple[str, ...] = ()
    """Further joints of the mechanism, which nobody measures."""
    ratios: tuple[float, ...] = ()
    """Position of each of `moving` over the first one's; empty where all have the same."""
    travel: tuple[tuple[float, float], ...] = ()
    """Openings [m], ascending, each with the first joint's position [rad or m]; linear in between. Empty where the
    joint's position is the opening."""
    centred: float | None = None
    """Opening at which the end effector is midway between the fingers, of which only one moves [m]; None where they
    move by the same way, so that it always is."""

    speed: float | None = None
    """Largest speed of the first joint in simulation [rad/s or m/s]; None where force alone limits it."""

    def __post_init__(self) -> None:
        if self.ratios and (len(self.ratios) != len(self.moving) or not all(self.ratios)):
            raise SpecError(f"gripper: ratios are {self.ratios}, expected one other than 0 of each of {self.moving}")
        openings, positions = (np.diff(column) for column in self._columns)
        monotonic = (openings > 0).all() and ((positions > 0).all() or (positions < 0).all())
        if self.travel and not (len(openings) and monotonic):
            raise SpecError(
                f"gripper: travel is {self.travel}, expected two rows or more with a gap that grows, or shrinks, along "
                "with the joint's position"
            )

    @property
    def moving(self) -> tuple[str, ...]:
        """Every joint that moves with the fingers: `joint_names`, then `followers`."""
        return (*self.joint_names, *self.followers)

    def ratio(self, joint: str) -> float:
        """Position of a joint of `moving` over the first one's."""
        return self.ratios[self.moving.index(joint)] if self.ratios else 1.0

    def positions(self, opening: float) -> np.ndarray:
        """Return where the joints `moving` stand at an opening [m], (k,) [rad or m]; beyond the travel, its end."""
        first = float(np.interp(opening, *self._columns)) if self.travel else opening
        return first * np.array(self.ratios) if self.ratios else np.full(len(self.moving), first)

    def commanded(self, opening: float) -> list[float]:
        """Return the positions of `joint_names` at an opening [m]."""
        return self.positions(opening)[: len(self.joint_names)].tolist()

    def opening_at(self, positions: Sequence[float]) -> float:
        """Return the opening [m] from the measured positions of `joint_names` [rad or m]: their mean.

        Beyond the travel it goes on linearly, so that positions in a wrong unit are far outside.
        """
        ratios = self.ratios or (1.0,) * len(positions)
        first = sum(position / ratio for position, ratio in zip(positions, ratios)) / len(positions)
        if not self.travel:
            return first
        openings, firsts = self._columns
        order = np.argsort(firsts)
        inside = float(np.interp(first, firsts[order], openings[order]))
        return inside + (first - float(np.clip(first, firsts.min(), firsts.max()))) * self.lever(inside)

    def share(self, opening: Value) -> Value:
        """Return an opening [m] as a share of the way from closed (0) to open (1)."""
        return (opening - self.closed) / (self.opened - self.closed)

    def opening_of(self, share: Value) -> Value:
        """Return the opening [m] at a share of the way from closed (0) to open (1)."""
        return self.closed + share * (self.opened - self.closed)

    def lever(self, opening: float) -> float:
        """Return by how much the opening grows with the first joint's position [m/rad, or 1 for a sliding one]."""
        if not self.travel:
            return 1.0
        openings, firsts = self._columns
        k = min(max(int(np.searchsorted(openings, opening)) - 1, 0), len(openings) - 2)
        return float((openings[k + 1] - openings[k]) / (firsts[k + 1] - firsts[k]))

    @cached_property
    def _columns(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the travel's openings and positions."""
        rows = np.array(self.travel, np.float64).reshape(-1, 2)
        return rows[:, 0], rows[:, 1]

    def effort(self, opening: float, force: float) -> float:
        """Return what the first joint's motor gives [N·m or N] where each of two fingers presses with `force` [N]."""
        return 2.0 * force * abs(self.lever(opening))


def travel_of(gaps: Sequence[Sequence[float]]) -> tuple[tuple[float, float], ...]:
    """Return a `travel` from rows of the first joint's position [rad or m] and the gap between the fingers [m]."""
    return tuple(sorted((gap / 2, position) for position, gap in gaps))


def follow(
    mimics: Mapping[str, tuple[str, float]], joint_names: Sequence[str]
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return the followers of a gripper's joints, and the ratio of every joint to the first one.

    Args:
        mimics: by joint, the one that it moves along with, and its position over that one's.
        joint_names: those that have a motor; without an entry in `mimics` all have the same position.
    """
    ratios = {name: mimics[name][1] if name in mimics else 1.0 for name in joint_names}
    waiting = {name: entry for name, entry in mimics.items() if name not in ratios}
    while found := {name: ratio * ratios[lead] for name, (lead, ratio) in waiting.items() if lead in ratios}:
        ratios |= found
        waiting = {name: entry for name, entry in waiting.items() if name not in ratios}
    followers = tuple(name for name in ratios if name not in joint_names)
    values = tuple(ratios.values())
    return followers, () if set(values) == {1.0} else values


def mount(root: Element, gripper: Element, link: str, xyz: Sequence[float], rpy: Sequence[float]) -> None:
    """Add the links and joints of a gripper's URDF to an arm's, its root fixed to `link` at `xyz` [m] and `rpy` [rad].

    Raises:
        UrdfError: if the arm has no such link, or both have a link or joint of one name.
    """
    for tag in ("link", "joint"):
        theirs = {element.get("name") for element in gripper.findall(tag)}
        twice = [element.get("name") for element in root.findall(tag) if element.get("name") in theirs]
        if twice:
            raise UrdfError(f"{tag} '{twice[0]}' is in the arm's URDF and in the gripper's; rename it in one of them")
    base = read_urdf(to_text(gripper)).root
    root.extend(element for element in gripper if element.tag in ("link", "joint", "material"))
    fix_link(root, base, link, xyz, rpy)


def fix_link(root: Element, name: str, link: str, xyz: Sequence[float], rpy: Sequence[float]) -> None:
    """Add the joint that fixes link `name` of a URDF, which becomes a frame if there is none, to another `link`.

    Raises:
        UrdfError: if there is no such link, or `name` is fixed already.
    """
    links = [element.get("name", "") for element in root.findall("link")]
    if link not in links:
        raise UrdfError(f"'{name}' is to be fixed to link '{link}', which the URDF lacks; it has {', '.join(links)}")
    if name not in links:
        add_child(root, "link", name=name)
    joint = add_child(root, "joint", name=f"{name}_mount", type="fixed")
    add_child(joint, "parent", link=link)
    add_child(joint, "child", link=name)
    add_child(joint, "origin", xyz=" ".join(map(str, xyz)), rpy=" ".join(map(str, rpy)))


def mimics(root: Element) -> dict[str, tuple[str, float]]:
    """Read the `<mimic>` tags of a URDF: by joint, the one that it moves along with, and its position over that one's.

    Raises:
        UrdfError: for an offset, or a multiplier of 0 or that is no number.
    """
    found = {}
    for joint in root.findall("joint"):
        mimic = joint.find("mimic")
        if mimic is None:
            continue
        try:
            ratio, offset = (float(mimic.get(key, default)) for key, default in (("multiplier", "1"), ("offset", "0")))
        except ValueError:
            ratio, offset = 0.0, 0.0
        if ratio == 0 or offset != 0 or not np.isfinite(ratio):
            raise UrdfError(
                f"joint '{joint.get('name')}' mimics '{mimic.get('joint')}' by {dict(mimic.attrib)}, expected a "
                "multiplier other than 0 and no offset"
            )
        found[joint.get("name", "")] = (mimic.get("joint", ""), ratio)
    return found
