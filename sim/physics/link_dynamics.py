"""What an arm in PyBullet weighs and how its joints rub, from an episode's parameters."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from robots.model import RobotModel
from sim.bullet import pybullet
from sim.physics.link_load import ArmLoad

PARAMETERS = ("arm_mass_scale", "arm_inertia_scale", "payload_mass", "joint_damping", "finger_friction")
NOTHING: Mapping[str, float] = {}
NEUTRAL = (1.0, 1.0, 0.0, 0.0, 1.0)


class LinkDynamics:
    """The masses, inertias and joint friction of one loaded arm; every value is computed from the nominal one."""

    def __init__(self, client: int, arm: int, robot: RobotModel, joints: Sequence[int], fingers: Sequence[int]):
        """Read the nominal values of `arm`, whose chain and fingers are PyBullet's `joints` and `fingers`."""
        self._client, self._arm, self._robot = client, arm, robot
        self._joints, self._fingers = list(joints), list(fingers)
        infos = [
            pybullet.getJointInfo(arm, i, physicsClientId=client)
            for i in range(pybullet.getNumJoints(arm, physicsClientId=client))
        ]
        self._links = [-1, *(info[0] for info in infos)]
        dynamics = [pybullet.getDynamicsInfo(arm, i, physicsClientId=client) for i in self._links]
        self._mass = [d[0] for d in dynamics]
        self._inertia = np.array([d[2] for d in dynamics])
        self._damping = [0.0, *(info[6] for info in infos)]
        gripper = robot.gripper
        lever = gripper.lever(gripper.opened) if gripper is not None else 1.0
        self._damped = [lever**2 if link in self._fingers else 1.0 for link in self._links]
        """By link, the share of an episode's joint damping: a turning finger's is that of a sliding one."""
        rough = self._fingers or self._joints[-1:]
        self._rough = [link in rough for link in self._links]
        self._mass_names = [f"link_mass_{name}" for name in robot.joint_names]
        self._com_names = [f"link_com_{name}" for name in robot.joint_names]
        self._set: tuple | None = None
        self.nominal_load = self._read_load({info[0]: info[12].decode() for info in infos}, dynamics)
        """What the arm's own controller compensates."""
        self.load = self.nominal_load
        """What the arm weighs in this episode, its payload left out."""

    def apply(self, parameters: Mapping[str, float]) -> None:
        """Set what differs from what is set; those not given are nominal."""
        get = parameters.get
        values = [get(name, neutral) for name, neutral in zip(PARAMETERS, NEUTRAL)]
        masses = [get(name, 1.0) for name in self._mass_names]
        coms = [get(name, 1.0) for name in self._com_names]
        wanted = values, masses, coms
        if wanted == self._set:
            return
        mass_scale, inertia_scale, payload, damping, friction = values
        mass = [own * mass_scale for own in self._mass]
        for joint, factor in zip(self._joints, masses):
            mass[joint + 1] *= factor
        mass[self._joints[-1] + 1] += payload
        contact = {"lateralFriction": friction, "spinningFriction": 0.001}
        dampings = [own + share * damping for own, share in zip(self._damping, self._damped)]
        each = zip(self._links, mass, (inertia_scale * self._inertia).tolist(), dampings, self._rough)
        for link, kilograms, inertia, joint_damping, rough in itertools.islice(each, 1, None):  # the base is fixed
            pybullet.changeDynamics(
                self._arm,
                link,
                mass=kilograms,
                localInertiaDiagonal=inertia,
                jointDamping=joint_damping,
                physicsClientId=self._client,
                **(contact if rough else NOTHING),
            )
        nominal = self.nominal_load
        same = mass_scale == inertia_scale == 1.0 and set(masses) | set(coms) == {1.0}
        self.load = nominal if same else nominal.scaled(mass_scale * np.array(masses), np.array(coms), inertia_scale)
        self._set = wanted

    def take_damping(self) -> np.ndarray:
        """Free PyBullet's joints of their damping until the next `apply`; return it (n,) [N·m·s/rad].

        PyBullet damps by -b q̇ of the tick before. Where b dt exceeds twice a link's inertia (an xArm's wrist: 27
        times), that throws a joint about without bounds unless a motor holds it.
        """
        _, *extra, _ = self._set[0] if self._set is not None else NEUTRAL
        for joint in self._joints:
            pybullet.changeDynamics(self._arm, joint, jointDamping=0.0, physicsClientId=self._client)
        self._set = None
        return np.array([self._damping[joint + 1] for joint in self._joints]) + extra[-1]

    def _read_load(self, link_names: Mapping[int, str], dynamics: Sequence[tuple]) -> ArmLoad:
        """Read PyBullet's masses, what hangs on the last joint (the fingers) fixed to it, closed."""
        robot, n = self._robot, len(self._joints)
        poses = robot.link_poses(np.zeros(n))
        T = {link: poses[robot.tree.links.index(name)] for link, name in link_names.items()}
        parts: list[list[tuple[float, np.ndarray, np.ndarray]]] = [[] for _ in range(n)]
        for link, d in zip(self._links, dynamics):
            if link == -1 or d[0] == 0:
                continue
            j = self._joints.index(link) if link in self._joints else n - 1
            relative = np.linalg.inv(T[self._joints[j]]) @ T[link]
            R_link = np.array(pybullet.getMatrixFromQuaternion(d[4])).reshape(3, 3)
            R = relative[:3, :3] @ R_link
            parts[j].append((d[0], relative[:3, :3] @ np.array(d[3]) + relative[:3, 3], R @ np.diag(d[2]) @ R.T))
        mass, com, inertia = np.zeros(n), np.zeros((n, 3)), np.zeros((n, 3, 3))
        for j, bodies in enumerate(parts):
            mass[j] = sum(m for m, _, _ in bodies)
            if mass[j] > 0:
                com[j] = sum(m * c for m, c, _ in bodies) / mass[j]
            for m, c, about_com in bodies:
                d = c - com[j]
                inertia[j] += about_com + m * (d @ d * np.eye(3) - np.outer(d, d))  # Steiner
        return ArmLoad.of(robot.chain, mass, com, inertia)
