"""The true parameters of a virtual arm of any make, where none were measured: `HiddenArm` from its model.

The Panda's values in `sim.virtual_arm.hidden_reality` were identified on real ones. Those of another arm scale with
its torque
limits, as drives do: gains, friction and rotor inertia of the Panda's large joints lie within a factor of two of these.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from robots.model import RobotModel
from robots.urdf import add_child, parse, to_text
from sim.catalogue import strength
from sim.virtual_arm.hidden_reality import HiddenArm, HiddenReality, LinkInertia, as_ball

MASS_ERROR = 0.04
"""How much lighter or heavier than its URDF says a link is, in turn: what is usual where it was not weighed."""
ZERO_ERROR = 0.002
"""Of the encoders, in turn to either side [rad]."""


def hidden_reality(robot: RobotModel, path: Path | None = None) -> HiddenReality:
    """Return what is true of `robot`: its own default, and what the file at `path` says otherwise.

    Raises:
        SpecError: if the file is missing, is not JSON, or names a value that does not exist.
    """
    default = HiddenReality() if robot.name == "franka_panda" else HiddenReality(arm=_arm(robot))
    if robot.drives is not None:
        known = asdict(robot.drives)
        if (stiffness := known.pop("stiffness")) is not None:
            known["kp"] = (stiffness,) * len(robot.joint_names)
        default = replace(default, arm=replace(default.arm, **known))
    return default if path is None else HiddenReality.load(path, default)


def with_true_inertia(robot: RobotModel, hidden: HiddenReality) -> RobotModel:
    """Return `robot` with a URDF whose links weigh what they truly do, for engines that read it."""
    root = parse(robot.urdf_xml)
    for link in root.findall("link"):
        values, inertial = hidden.arm.inertia.get(link.get("name", "")), link.find("inertial")
        if values is None:
            mass = inertial.find("mass") if inertial is not None else None
            if inertial is None or mass is None:
                continue
            values = as_ball(float(mass.get("value", 0)))
            origin = inertial.find("origin")
            com = (origin.get("xyz") if origin is not None else None) or "0 0 0"
        else:
            com = " ".join(map(str, values.com))
        if inertial is not None:
            link.remove(inertial)
        inertial = add_child(link, "inertial")
        add_child(inertial, "origin", xyz=com, rpy="0 0 0")
        add_child(inertial, "mass", value=str(values.mass))
        tensor = dict(zip(("ixx", "iyy", "izz", "ixy", "ixz", "iyz"), map(str, values.inertia)))
        add_child(inertial, "inertia", **tensor)
    return replace(robot, urdf_xml=to_text(root))


def _arm(robot: RobotModel) -> HiddenArm:
    tau = np.array(robot.limits.tau)
    turn = (-1.0) ** np.arange(len(tau))

    def of_limit(factor: float) -> tuple[float, ...]:
        return tuple((factor * tau).tolist())

    return HiddenArm(
        inertia=_inertias(robot),
        tool_mass=strength(robot) * HiddenArm.tool_mass,
        kp=of_limit(8.0),
        kd=of_limit(0.35),
        friction=of_limit(0.005),
        damping=of_limit(0.014),
        armature=of_limit(0.003),
        encoder_offset=tuple((ZERO_ERROR * turn).tolist()),
    )


def _inertias(robot: RobotModel) -> dict[str, LinkInertia]:
    """Return the URDF's inertias, which were made for this arm, a little off."""
    found = {}
    for k, link in enumerate(robot.urdf.links.values()):
        body = link.inertial
        if body is None or body.inertia is None or body.mass is None or body.mass <= 0:
            continue
        if np.linalg.eigvalsh(body.inertia)[0] <= 0:
            continue  # a frame that some exporters give a mass of next to nothing
        turned = body.R @ body.inertia @ body.R.T
        factor = 1.0 + MASS_ERROR * (-1.0) ** k
        about_com = factor * turned[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
        found[link.name] = LinkInertia(factor * body.mass, tuple(body.p.tolist()), tuple(about_com.tolist()))
    return found
