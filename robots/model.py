"""Arms: joints, limits with their source, home pose, end effector, gripper.

Robot side: numpy only. A model read from a bundle carries its URDF text, so that neither PyBullet's
data nor a description package is needed beside the robot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from robots.gripper import Gripper
from robots.host.reading import read_text
from robots.host.typed import build
from robots.kinematics import KinematicChain, LinkTree
from robots.specs import SpecError
from robots.urdf import Urdf, read_urdf

APART = 0.03
"""Least distance between landmarks that are chosen [m]: nearer ones say the same."""
MOST_LANDMARKS = 6
"""Landmarks of an arm that states none."""


@dataclass(frozen=True)
class JointLimits:
    """Limits of the arm's joints, in the order of the model's `joint_names`."""

    q_low: tuple[float, ...]
    """Lower position limits [rad]."""
    q_high: tuple[float, ...]
    """Upper position limits [rad]."""
    dq: tuple[float, ...]
    """Velocity limits [rad/s]."""
    ddq: tuple[float, ...]
    """Acceleration limits [rad/s²]."""
    jerk: tuple[float, ...]
    """Jerk limits [rad/s³]."""
    tau: tuple[float, ...]
    """Torque limits [N·m]."""
    source: str
    """Where the numbers come from."""

    def validate(self, joint_names: Sequence[str]) -> None:
        """Raise `SpecError` unless every limit is there, finite and usable."""
        for name, values in asdict(self).items():
            if name == "source":
                continue
            if len(values) != len(joint_names):
                raise SpecError(f"limits '{name}': {len(values)} values for {len(joint_names)} joints")
            for joint, value in zip(joint_names, values):
                usable = np.isfinite(value) and (name.startswith("q_") or value > 0)
                if not usable:
                    raise SpecError(
                        f"joint '{joint}': limit {name} is {value}, expected a positive number; "
                        "look it up in the datasheet"
                    )
        for joint, low, high in zip(joint_names, self.q_low, self.q_high):
            if not low < high:
                raise SpecError(f"joint '{joint}': position limits [{low}, {high}] are empty; expected low < high")


@dataclass(frozen=True)
class Drives:
    """What a data sheet tells of servos that are less than ideal; virtual arms have them."""

    gravity_compensation: float
    """Share of gravity that the controller cancels, 0 to 1."""
    command_delay: float
    """From a command to torque [s]."""
    dead_band: float
    """Position error that the servos ignore [rad]."""
    backlash: float
    """Half the play of the gears [rad]."""
    grid: float
    """Step of positions, commanded and measured [rad]."""
    stiffness: float | None = None
    """Torque that a position error of 1 rad calls forth [N·m]; None where it is unknown."""

    def __post_init__(self) -> None:
        if self.stiffness is not None and not 0.0 < self.stiffness < np.inf:
            raise SpecError(f"drives: stiffness is {self.stiffness:g} N·m/rad, expected a positive number")
        ends = {"gravity_compensation": 1.0, "command_delay": 0.5, "dead_band": 0.2, "backlash": 0.2, "grid": 0.2}
        for name, end in ends.items():
            if not 0.0 <= getattr(self, name) <= end:
                raise SpecError(f"drives: {name} is {getattr(self, name):g}, expected in [0, {end:g}]")


@dataclass(frozen=True)
class RobotModel:
    """One arm."""

    name: str
    """Name in `ROBOTS`, on the command line and in manifests."""
    joint_names: tuple[str, ...]
    """The arm's joints, base first, as in the URDF and in `/joint_states`."""
    base_link: str
    """Link whose frame is `base`."""
    ee_link: str
    """Link whose frame is `ee`: the point that tasks are about, between the fingers."""
    home: tuple[float, ...]
    """Joint positions at which episodes start [rad]."""
    limits: JointLimits
    """Limits of the arm's joints."""
    gripper: Gripper | None = None
    """The gripper, where there is one."""
    landmarks: tuple[str, ...] = ()
    """Links whose origins can be recognised in a picture of the arm; with known joint angles they tell a
    policy where its camera is."""
    table_area: tuple[tuple[float, float], tuple[float, float]] | None = None
    """Smallest and largest x and y [m] at which tasks put things; None for the tasks' own, which suit arms that
    reach as far as a Panda."""
    drives: Drives | None = None
    """What is known of its servos; None for an industrial arm's controller."""
    rig: str | None = None
    """Name of the camera rig that suits the arm where none is named; None for the tasks' own."""
    urdf_xml: str = field(default="", repr=False)
    """Text of the URDF."""
    urdf_path: str | None = field(default=None, compare=False)
    """File the text was read from, beside its meshes; None for a model from a bundle."""
    hulls: Mapping[str, np.ndarray] | None = field(default=None, repr=False, compare=False)
    """Corners of the links' convex hulls, as a bundle carries them; `robots.shapes.hulls.arm_hulls` says where else."""

    def __post_init__(self) -> None:
        self.limits.validate(self.joint_names)
        if len(self.home) != len(self.joint_names):
            raise SpecError(f"robot '{self.name}': home has {len(self.home)} values for {len(self.joint_names)} joints")

    @cached_property
    def urdf(self) -> Urdf:
        """Links and joints of `urdf_xml`.

        Raises:
            UrdfError: if the text is no URDF.
        """
        return read_urdf(self.urdf_xml)

    @cached_property
    def chain(self) -> KinematicChain:
        """Kinematics from base to end effector.

        Raises:
            SpecError: if the URDF's chain has other joints than `joint_names`.
        """
        chain = KinematicChain.from_urdf(self.urdf, self.ee_link, self.base_link)
        if chain.joint_names != self.joint_names:
            raise SpecError(
                f"robot '{self.name}': the URDF's joints from '{self.base_link}' to '{self.ee_link}' are "
                f"{', '.join(chain.joint_names)}; expected {', '.join(self.joint_names)}"
            )
        return chain

    @cached_property
    def R_home(self) -> np.ndarray:
        """The end effector's rotation (3, 3) in the base frame at home."""
        return self.chain.pose(np.array(self.home))[0]

    @cached_property
    def tree(self) -> LinkTree:
        """All links, for joint positions of the arm followed by the gripper's."""
        fingers = self.gripper.moving if self.gripper else ()
        return LinkTree.from_urdf(self.urdf, (*self.joint_names, *fingers))

    @cached_property
    def jaw(self) -> np.ndarray:
        """Unit vector (3,) in the end effector's frame from the fixed jaw to the moving one; 0 where both move."""
        gripper = self.gripper
        if gripper is None or gripper.centred is None:
            return np.zeros(3)
        q, step = np.array(self.home), 1e-4
        links = self.tree.links
        at = np.array([self.link_poses(q, 0.5 * (gripper.closed + gripper.opened) + d) for d in (-step, step)])
        T_base_ee = at[0, links.index(self.ee_link)]
        finger = links.index(self.urdf.joints[gripper.joint_names[0]].child)
        point = np.linalg.inv(at[0, finger]) @ T_base_ee[:, 3]  # of the finger, where the end effector is
        way = T_base_ee[:3, :3].T @ ((at[1, finger] - at[0, finger]) @ point)[:3]
        way[2] = 0.0  # across the hand's direction
        return way / np.linalg.norm(way)

    def between(self, opening: float) -> np.ndarray:
        """Return the point (3,) midway between the fingers at `opening` [m], in the end effector's frame [m]."""
        centred = self.gripper.centred if self.gripper is not None else None
        return self.jaw * (opening - centred) if centred is not None else np.zeros(3)

    def link_poses(self, q: np.ndarray, opening: float = 0.0) -> np.ndarray:
        """Compute the poses (L, 4, 4) of `tree.links` in the base frame at `q` [rad] and `opening` [m]."""
        poses = self.tree.poses(np.concatenate([q, self.gripper.positions(opening)]) if self.gripper else q)
        if self.tree.links[0] == self.base_link:
            return poses
        return np.linalg.inv(poses[self.tree.links.index(self.base_link)]) @ poses

    def order(self, names: Sequence[str]) -> np.ndarray:
        """Return the indices that put values listed under `names` into this model's joint order.

        Raises:
            SpecError: if a joint of the model is not among `names`.
        """
        missing = [joint for joint in self.joint_names if joint not in names]
        if missing:
            raise SpecError(
                f"robot '{self.name}': joint '{missing[0]}' is not among the received joints {', '.join(names)}; "
                "is this the right arm, and does the driver use the same joint names?"
            )
        return np.array([list(names).index(joint) for joint in self.joint_names])

    def visible_links(self) -> tuple[str, ...]:
        """Choose landmarks: the end effector, and links with a shape from the hand to the base, whose origins at home
        are `APART` or more from each other; at most `MOST_LANDMARKS`, evenly spread.
        """
        poses = dict(zip(self.tree.links, self.link_poses(np.array(self.home))[:, :3, 3]))
        kept = [self.ee_link]
        for joint in reversed(self.urdf.chain(self.base_link, self.ee_link)):
            for link in (joint.child, joint.parent):
                shaped = bool(self.urdf.links[link].visuals) if link in self.urdf.links else False
                if shaped and all(np.linalg.norm(poses[link] - poses[other]) >= APART for other in kept):
                    kept.append(link)
        chosen = np.unique(np.round(np.linspace(0, len(kept) - 1, MOST_LANDMARKS)).astype(int))
        return tuple(kept[k] for k in chosen)

    @classmethod
    def from_urdf(
        cls,
        path: Path | str,
        ee_link: str,
        home: Sequence[float] | None = None,
        *,
        name: str | None = None,
        base_link: str | None = None,
        ddq: Sequence[float] | None = None,
        jerk: Sequence[float] | None = None,
        gripper: Gripper | None = None,
        landmarks: tuple[str, ...] = (),
        source: str | None = None,
    ) -> RobotModel:
        """Read an arm from a URDF; position, velocity and torque limits come from its `<limit>` tags.

        A URDF has no acceleration and jerk limits (`ddq` [rad/s²], `jerk` [rad/s³]): they are asked for.

        Raises:
            SpecError: if the file, a link or a limit is missing; nothing is guessed.
        """
        path = Path(path)
        if not path.is_file():
            raise SpecError(f"URDF '{path}' does not exist; give the path of the arm's .urdf file")
        text = read_text(path, "URDF")
        urdf = read_urdf(text)
        chain = KinematicChain.from_urdf(urdf, ee_link, base_link)
        missing = [label for label, values in (("ddq", ddq), ("jerk", jerk), ("home", home)) if values is None]
        if missing:
            raise SpecError(
                f"URDF '{path.name}': {', '.join(missing)} cannot be read from a URDF; pass them, one value for each "
                f"of {', '.join(chain.joint_names)} (see the arm's datasheet)"
            )

        def read(attribute: str) -> tuple[float, ...]:
            values = []
            for joint in chain.joint_names:
                value = getattr(urdf.joints[joint].limit, attribute)
                if value is None:
                    raise SpecError(
                        f"URDF '{path.name}': joint '{joint}' has no limit '{attribute}'; add it to its <limit> tag"
                    )
                values.append(value)
            return tuple(values)

        limits = JointLimits(
            read("lower"),
            read("upper"),
            read("velocity"),
            tuple(ddq or ()),
            tuple(jerk or ()),
            read("effort"),
            source or f"{path.name}; ddq and jerk as given",
        )
        return cls(
            name or path.stem,
            chain.joint_names,
            chain.base_link,
            ee_link,
            tuple(home or ()),
            limits,
            gripper,
            landmarks,
            urdf_xml=text,
            urdf_path=str(path),
        )

    def to_dict(self) -> dict:
        """Return plain JSON types, without the URDF, which a bundle keeps as a file of its own."""
        data = asdict(replace(self, urdf_xml="", urdf_path=None, hulls=None))
        del data["urdf_xml"], data["urdf_path"], data["hulls"]
        return data

    @classmethod
    def from_dict(cls, data: Mapping, urdf_xml: str) -> RobotModel:
        """Build from what `to_dict` returned and the URDF's text."""
        for name in ("urdf_xml", "urdf_path", "hulls"):
            if name in data:
                raise SpecError(f"robot: '{name}' is among the values; expected it as a file of its own, or not at all")
        return build(cls, {**data, "urdf_xml": urdf_xml}, "robot")
