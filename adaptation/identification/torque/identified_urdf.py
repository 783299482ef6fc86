"""A URDF with identified inertials and friction, and the torques that it predicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pinocchio

from adaptation.identification.torque.inertial import InertialFit, Motion, arm_model, pseudo_inertia
from robots.model import RobotModel
from robots.shapes.visual_meshes import MeshError, find_mesh
from robots.urdf import Element, Urdf, UrdfLink, add_child, parse, read_urdf, to_text

FRICTION = ("damping", "friction", "offset", "armature")
"""Attributes of `<dynamics>`: viscous and Coulomb friction, which URDF defines; a constant torque and the rotor's
inertia, which other readers ignore."""


def subtree(urdf: Urdf, links: Sequence[str]) -> tuple[str, ...]:
    """Return `links` and all that hangs on them.

    Raises:
        ValueError: for a link that the URDF does not have.
    """
    if unknown := [link for link in links if link not in urdf.links]:
        raise ValueError(f"no link '{unknown[0]}'; the URDF's are {', '.join(urdf.links)}")
    return tuple(dict.fromkeys(name for link in links for name in (link, *(j.child for j in urdf.descend(link)))))


def identified_urdf(robot: RobotModel, fit: InertialFit, without: Sequence[str] = ()) -> str:
    """Return the robot's URDF with the dynamics of `fit`.

    Links that are welded together share the body that was identified by their mass in the given URDF, each with its
    centre: only their sum is known. What hangs on undriven joints keeps its inertials, halved until a possible body is
    left for the others, as do the links `without`, which the fit had none of. Names of meshes that are found become
    absolute.
    """
    root, urdf = parse(robot.urdf_xml), robot.urdf
    links = {element.get("name"): element for element in root.findall("link")}
    joints = {element.get("name"): element for element in root.findall("joint")}
    removed = subtree(urdf, without)
    for k, name in enumerate(robot.joint_names):
        welded, loose = _body(urdf, name, robot.joint_names, removed)
        body = fit.inertial[k]
        rest = sum((_parameters(urdf.links[link], T) for link, T in loose.items()), np.zeros(10))
        scale = 1.0
        while np.linalg.eigvalsh(pseudo_inertia(body - scale * rest))[0] <= 0:
            scale /= 2
        for link in loose:
            _write_inertial(links[link], scale * _parameters(urdf.links[link], np.eye(4)))
        masses = {link: _parameters(urdf.links[link], T)[0] for link, T in welded.items()}
        if not sum(masses.values()) > 0:
            masses = {urdf.joints[name].child: 1.0}
        for link, mass in masses.items():
            R, p = welded[link][:3, :3], welded[link][:3, 3]
            share = pinocchio.Inertia.FromDynamicParameters((body - scale * rest) * mass / sum(masses.values()))
            _write_inertial(links[link], np.array(pinocchio.SE3(R, p).actInv(share).toDynamicParameters()))
        element = joints[name].find("dynamics")
        element = add_child(joints[name], "dynamics") if element is None else element
        viscous, coulomb, offset, rotor = fit.friction[k]
        for attribute, value in zip(FRICTION, (viscous, coulomb, offset, rotor)):
            element.set(attribute, repr(float(value)))
    if robot.urdf_path is not None:
        _place_meshes(root, Path(robot.urdf_path))
    return to_text(root)


def predicted_torques(
    urdf_xml: str, joint_names: Sequence[str], motion: Motion, without: Sequence[str] = ()
) -> np.ndarray:
    """Return the torques (T, n) [N·m] of `motion` by pinocchio's inverse dynamics and the URDF's `<dynamics>`."""
    model = arm_model(urdf_xml, joint_names, subtree(read_urdf(urdf_xml), without))
    data = model.createData()
    tau = np.array([pinocchio.rnea(model, data, *state) for state in zip(motion.q, motion.dq, motion.ddq)])
    dynamics = {joint.get("name"): joint.find("dynamics") for joint in parse(urdf_xml).findall("joint")}
    found = [dynamics[name] for name in joint_names]
    viscous, coulomb, offset, rotor = (
        np.array([0.0 if each is None else float(each.get(name, 0.0)) for each in found]) for name in FRICTION
    )
    return tau + viscous * motion.dq + coulomb * motion.direction + offset + rotor * motion.ddq


def _body(
    urdf: Urdf, joint: str, driven: Sequence[str], removed: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the links on `joint` with their pose in its frame: welded to it, and on undriven joints."""
    top = urdf.joints[joint].child
    poses, welded = {top: np.eye(4)}, {top: np.eye(4)}
    loose: dict[str, np.ndarray] = {}
    for each in urdf.descend(top):
        if each.name in driven or each.parent not in poses or each.child in removed:
            continue
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = each.R, each.p
        poses[each.child] = poses[each.parent] @ T
        hung = each.kind != "fixed" or each.parent in loose
        (loose if hung else welded)[each.child] = poses[each.child]
    return welded, {link: T for link, T in loose.items() if _parameters(urdf.links[link], T)[0] > 0}


def _parameters(link: UrdfLink, T: np.ndarray) -> np.ndarray:
    """Return a link's parameters (10,) in pinocchio's order, in a frame in which its own is `T`."""
    body = link.inertial
    if body is None or body.mass is None:
        return np.zeros(10)
    moments = np.zeros((3, 3)) if body.inertia is None else body.R @ body.inertia @ body.R.T
    placed = pinocchio.SE3(T[:3, :3], T[:3, 3]).act(pinocchio.Inertia(body.mass, body.p, moments))
    return np.array(placed.toDynamicParameters())


def _write_inertial(link: Element, parameters: np.ndarray) -> None:
    """Give `link` the inertial of parameters (10,) in its frame; none where there is no mass."""
    old = link.find("inertial")
    if old is not None:
        link.remove(old)
    if not parameters[0] > 0:
        return
    body = pinocchio.Inertia.FromDynamicParameters(parameters)
    element = add_child(link, "inertial")
    add_child(element, "origin", xyz=" ".join(repr(float(v)) for v in body.lever), rpy="0 0 0")
    add_child(element, "mass", value=repr(float(body.mass)))
    I = body.inertia  # noqa: E741 - the textbook's letter
    axes = {"ixx": (0, 0), "ixy": (0, 1), "ixz": (0, 2), "iyy": (1, 1), "iyz": (1, 2), "izz": (2, 2)}
    add_child(element, "inertia", **{name: repr(float(I[index])) for name, index in axes.items()})


def _place_meshes(root: Element, file: Path) -> None:
    """Make the names of meshes absolute, so that the URDF may lie elsewhere; dynamics do without those not found."""
    for mesh in root.iter("mesh"):
        try:
            mesh.set("filename", str(find_mesh(mesh.get("filename", ""), file)))
        except MeshError:
            continue
