"""One PyBullet client: an arm on a table, and the task's bodies.

The base frame is the world frame. `apply` sets every physical quantity from the parameters it is given
and from nothing else, and builds the task's bodies anew, so that no episode leaves a trace in the next.
Physics settings are the measured ones: merged fixed links, no collisions for the upper arm, a solver
that stops at a residual of 1e-3.
"""

from __future__ import annotations

import math
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sim.bodies import RigidBody, Shape, Vector
from sim.quiet import pybullet, quiet
from sim.robot import RobotModel

GRAVITY = 9.81
TABLE_SIZE = (1.2, 1.6, 0.04)
TABLE_CENTRE = (0.4, 0.0)
SHAPE_STEP = 2.5e-4
"""Sizes are rounded to this [m], so that collision shapes, which PyBullet never frees, can be shared."""
MOST_REBUILDS = 20_000
"""PyBullet leaks about 1 kB for each body built; after this many the client is opened anew."""


class WorldError(ValueError):
    """The world cannot be built, or the simulation left it."""


@dataclass(frozen=True)
class Nominal:
    """What the arm weighs without randomisation, per link."""

    mass: tuple[float, ...]
    """[kg]."""
    inertia: tuple[tuple[float, float, float], ...]
    """Diagonal [kg·m²], about the centre of mass."""


class World:
    """Owns one physics client."""

    def __init__(self, robot: RobotModel, physics_hz: float = 240.0):
        """Open a client and load `robot`.

        Raises:
            WorldError: if the URDF is missing, has links without mass, or lacks joints of the model.
        """
        if robot.urdf_path is None or not os.path.isfile(robot.urdf_path):
            raise WorldError(
                f"robot '{robot.name}': URDF '{robot.urdf_path}' does not exist; "
                "simulation needs the file and its meshes"
            )
        check_inertials(robot)
        self.robot = robot
        self.physics_hz = physics_hz
        self.n = len(robot.joint_names)
        self.client = -1
        self._open()

    def _open(self) -> None:
        self._built = 0
        self._bodies: dict[str, int] = {}
        self._com: dict[str, tuple[float, float, float]] = {}
        self._shapes: dict[tuple, int] = {}
        self.bodies: tuple[RigidBody, ...] = ()
        with quiet():
            self.client = pybullet.connect(pybullet.DIRECT)
            flags = pybullet.URDF_MERGE_FIXED_LINKS | pybullet.URDF_IGNORE_VISUAL_SHAPES
            try:
                self.arm = pybullet.loadURDF(
                    self.robot.urdf_path, useFixedBase=True, flags=flags, physicsClientId=self.client
                )
            except pybullet.error as error:
                pybullet.disconnect(self.client)
                raise WorldError(f"robot '{self.robot.name}': PyBullet cannot load it ({error})") from None
        pybullet.setTimeStep(1.0 / self.physics_hz, physicsClientId=self.client)
        pybullet.setPhysicsEngineParameter(
            numSolverIterations=50,  # fewer weaken the grasp
            solverResidualThreshold=1e-3,
            deterministicOverlappingPairs=1,
            physicsClientId=self.client,
        )
        infos = [
            pybullet.getJointInfo(self.arm, i, physicsClientId=self.client)
            for i in range(pybullet.getNumJoints(self.arm, physicsClientId=self.client))
        ]
        by_name = {info[1].decode(): info[0] for info in infos}
        wanted = self.robot.joint_names + (self.robot.gripper.joint_names if self.robot.gripper else ())
        missing = [name for name in wanted if name not in by_name]
        if missing:
            raise WorldError(
                f"robot '{self.robot.name}': the URDF has no moving joint '{missing[0]}'; "
                f"its joints are {', '.join(by_name)}"
            )
        self.joints = [by_name[name] for name in self.robot.joint_names]
        self.fingers = [by_name[name] for name in wanted[self.n :]]
        self._moving = self.joints + self.fingers
        self._links = [-1, *(info[0] for info in infos)]
        dynamics = [pybullet.getDynamicsInfo(self.arm, i, physicsClientId=self.client) for i in self._links]
        self.nominal = Nominal(tuple(d[0] for d in dynamics), tuple(d[2] for d in dynamics))
        self._arm_set: dict[str, float] = {}
        for link in range(-1, self.joints[len(self.joints) // 2] + 1):  # the upper arm touches nothing
            pybullet.setCollisionFilterGroupMask(self.arm, link, 0, 0, physicsClientId=self.client)

    def apply(self, parameters: Mapping[str, float], bodies: Sequence[RigidBody]) -> None:
        """Set all physics from `parameters`, build the table and `bodies` anew.

        Bodies stand at the origin until `place`d. Reads the `dynamics` parameters; those not given are nominal.
        """
        if self._built > MOST_REBUILDS:
            self.close()
            self._open()
        get = parameters.get
        tilt_x, tilt_y = get("base_tilt_x", 0.0), get("base_tilt_y", 0.0)
        g = get("gravity", GRAVITY)
        pybullet.setGravity(
            g * math.sin(tilt_x),
            g * math.sin(tilt_y),
            -g * math.cos(tilt_x) * math.cos(tilt_y),
            physicsClientId=self.client,
        )
        self._apply_to_arm(parameters)
        for body_id in self._bodies.values():
            pybullet.removeBody(body_id, physicsClientId=self.client)
        self._bodies.clear()
        self._com.clear()
        table = RigidBody(
            "table",
            (Shape("box", TABLE_SIZE),),
            friction=get("table_friction", 1.0),
            restitution=get("table_restitution", 0.5),
        )
        self.table_height = get("table_height", 0.0)
        self.bodies = (table, *bodies)
        for body in self.bodies:
            self._build(body)
        self.place("table", (*TABLE_CENTRE, self.table_height - TABLE_SIZE[2] / 2))

    def _apply_to_arm(self, parameters: Mapping[str, float]) -> None:
        """Set what differs from what is set; every value is computed from the nominal one."""
        names = ("arm_mass_scale", "arm_inertia_scale", "payload_mass", "joint_damping", "finger_friction")
        nominal = (1.0, 1.0, 0.0, 0.0, 1.0)
        wanted = {name: parameters.get(name, default) for name, default in zip(names, nominal)}
        if wanted == self._arm_set:
            return
        last = self._links.index(self.joints[-1])
        for i, link in enumerate(self._links):
            mass = self.nominal.mass[i] * wanted["arm_mass_scale"] + (wanted["payload_mass"] if i == last else 0.0)
            inertia = [wanted["arm_inertia_scale"] * v for v in self.nominal.inertia[i]]
            pybullet.changeDynamics(
                self.arm,
                link,
                mass=mass,
                localInertiaDiagonal=inertia,
                jointDamping=wanted["joint_damping"],
                physicsClientId=self.client,
            )
        for link in self.fingers or self.joints[-1:]:
            pybullet.changeDynamics(
                self.arm,
                link,
                lateralFriction=wanted["finger_friction"],
                spinningFriction=0.001,
                physicsClientId=self.client,
            )
        self._arm_set = wanted

    def _build(self, body: RigidBody) -> None:
        body_id = pybullet.createMultiBody(
            body.mass,
            self._shape(body.shapes),
            -1,
            baseInertialFramePosition=body.com,
            physicsClientId=self.client,
        )
        if body_id < 0:
            raise WorldError(f"body '{body.name}': PyBullet cannot build {body.shapes}")
        pybullet.changeDynamics(
            body_id,
            -1,
            lateralFriction=body.friction,
            rollingFriction=body.rolling_friction,
            spinningFriction=body.spinning_friction,
            restitution=body.restitution,
            linearDamping=0.0,
            angularDamping=0.0,
            frictionAnchor=1,  # without it a body at rest creeps by 0.4 mm/s at this solver residual
            physicsClientId=self.client,
        )
        self._bodies[body.name] = body_id
        self._com[body.name] = body.com
        self._built += 1

    def _shape(self, shapes: tuple[Shape, ...]) -> int:
        rounded = [[SHAPE_STEP * round(v / SHAPE_STEP) for v in (*s.size, *s.position)] for s in shapes]
        key = tuple((s.kind, *values) for s, values in zip(shapes, rounded))
        if key in self._shapes:
            return self._shapes[key]
        kinds = {"box": pybullet.GEOM_BOX, "cylinder": pybullet.GEOM_CYLINDER, "sphere": pybullet.GEOM_SPHERE}
        sizes = [values[: len(s.size)] for s, values in zip(shapes, rounded)]
        shape = pybullet.createCollisionShapeArray(
            shapeTypes=[kinds[s.kind] for s in shapes],
            halfExtents=[[v / 2 for v in size] if s.kind == "box" else [0, 0, 0] for s, size in zip(shapes, sizes)],
            radii=[0.0 if s.kind == "box" else size[0] for s, size in zip(shapes, sizes)],
            lengths=[size[1] if s.kind == "cylinder" else 0.0 for s, size in zip(shapes, sizes)],
            collisionFramePositions=[values[len(s.size) :] for s, values in zip(shapes, rounded)],
            physicsClientId=self.client,
        )
        self._shapes[key] = shape
        return shape

    def place(self, name: str, position: Vector, quat: Vector = (0.0, 0.0, 0.0, 1.0)) -> None:
        """Put a body's origin at `position` [m] with orientation `quat` (xyzw), at rest."""
        body = self._body(name)
        com = self._com[name]
        if any(com):
            position, quat = pybullet.multiplyTransforms(position, quat, com, (0.0, 0.0, 0.0, 1.0))
        pybullet.resetBasePositionAndOrientation(body, position, quat, physicsClientId=self.client)

    def pose(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a body's origin (3,) [m] and orientation (4,) xyzw in the base frame."""
        position, quat = pybullet.getBasePositionAndOrientation(self._body(name), physicsClientId=self.client)
        com = self._com[name]
        if any(com):
            back = tuple(-v for v in com)
            position, quat = pybullet.multiplyTransforms(position, quat, back, (0.0, 0.0, 0.0, 1.0))
        return np.array(position), np.array(quat)

    def velocity(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a body's linear (3,) [m/s] and angular (3,) [rad/s] velocity at its centre of mass."""
        linear, angular = pybullet.getBaseVelocity(self._body(name), physicsClientId=self.client)
        return np.array(linear), np.array(angular)

    def push(self, name: str, force: Vector) -> None:
        """Push a body at its centre of mass with `force` [N], base frame, during the next tick."""
        body = self._body(name)
        position, _ = pybullet.getBasePositionAndOrientation(body, physicsClientId=self.client)
        pybullet.applyExternalForce(body, -1, force, position, pybullet.WORLD_FRAME, physicsClientId=self.client)

    def push_ee(self, force: Vector) -> None:
        """Push the arm's last link with `force` [N], base frame, during the next tick."""
        link = self.joints[-1]
        position = pybullet.getLinkState(self.arm, link, physicsClientId=self.client)[0]
        pybullet.applyExternalForce(self.arm, link, force, position, pybullet.WORLD_FRAME, physicsClientId=self.client)

    def reset_arm(self, q: np.ndarray, opening: float | None = None) -> None:
        """Set the joints to `q` (n,) [rad] and the fingers to `opening` [m], at rest, motors holding there."""
        gripper = self.robot.gripper
        width = (gripper.opened if opening is None else opening) if gripper else 0.0
        positions = [*np.asarray(q, float).tolist(), *[width] * len(self.fingers)]
        pybullet.resetJointStatesMultiDof(
            self.arm,
            self._moving,
            [[p] for p in positions],
            [[0.0]] * len(positions),
            physicsClientId=self.client,
        )

    def read(self) -> None:
        """Refresh `q` (n,) [rad], `dq` (n,) [rad/s], `ee_pos` (3,) [m] and `opening` [m] with the true state."""
        states = pybullet.getJointStates(self.arm, self._moving, physicsClientId=self.client)
        self.q = np.array([s[0] for s in states[: self.n]])
        self.dq = np.array([s[1] for s in states[: self.n]])
        fingers = states[self.n :]
        self.opening = sum(s[0] for s in fingers) / len(fingers) if fingers else 0.0
        _R, self.ee_pos = self.robot.chain.pose(self.q)

    def drive(self, targets: list[float], gains: list[float], forces: list[float]) -> None:
        """Set position targets of the arm's joints [rad] and fingers [m]: gain per tick, torque limit [N·m or N]."""
        pybullet.setJointMotorControlArray(
            self.arm,
            self._moving,
            pybullet.POSITION_CONTROL,
            targetPositions=targets,
            positionGains=gains,
            forces=forces,
            physicsClientId=self.client,
        )

    def step(self) -> None:
        """Advance by one tick."""
        pybullet.stepSimulation(self.client)

    def touching(self, name: str) -> bool:
        """Whether the arm touches a body."""
        body = self._body(name)
        return bool(pybullet.getContactPoints(self.arm, body, physicsClientId=self.client))

    def close(self) -> None:
        """Close the client."""
        if self.client >= 0 and pybullet.isConnected(self.client):
            pybullet.disconnect(self.client)
        self.client = -1

    def _body(self, name: str) -> int:
        if name not in self._bodies:
            raise WorldError(f"world: no body '{name}'; there are {', '.join(self._bodies)}")
        return self._bodies[name]


def check_inertials(robot: RobotModel) -> None:
    """Raise `WorldError` if a link that has geometry has no `<inertial>`: PyBullet would make it 1 kg."""
    root = ElementTree.fromstring(robot.urdf_xml)
    for link in root.findall("link"):
        has_geometry = link.find("collision") is not None or link.find("visual") is not None
        if has_geometry and link.find("inertial") is None:
            raise WorldError(
                f"robot '{robot.name}': link '{link.get('name')}' has no <inertial>, and PyBullet would silently make "
                "it 1 kg; add mass and inertia to the URDF"
            )
