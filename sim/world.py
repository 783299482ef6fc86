"""One PyBullet client: an arm on a table, and the task's bodies.

The base frame is the world frame. `apply` sets every physical quantity from the parameters it is given
and from nothing else, and builds the task's bodies anew, so that no episode leaves a trace in the next.
Physics settings are the measured ones: merged fixed links, no collisions for the upper arm, a solver
that stops at a residual of 1e-3.
"""

from __future__ import annotations

import math
import os
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from sim.bodies import RigidBody, Shape, Vector
from sim.observation import ee_yaw
from sim.physics_urdf import physics_urdf
from sim.quiet import pybullet, quiet
from sim.robot import RobotModel

GRAVITY = 9.81
TABLE_SIZE = (1.2, 1.6, 0.04)
TABLE_CENTRE = (0.4, 0.0)
SHAPE_STEP = 1e-4
"""Sizes are rounded to this [m], so that collision shapes, which PyBullet never frees, can be shared."""
FINGER_GEAR = 500.0
"""Force that keeps the fingers level with each other [N]."""
MOST_BUILDS = 5_000
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
    damping: tuple[float, ...]
    """Viscous friction of the joint before each link [N·m·s/rad]."""


class World:
    """Owns one physics client."""

    def __init__(self, robot: RobotModel, physics_hz: float = 240.0, frozen_fingers: float | None = None):
        """Open a client and load `robot`.

        Args:
            robot: the arm.
            physics_hz: ticks a second.
            frozen_fingers: where the fingers stand for good [m]; None for fingers that move.

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
        self._frozen = frozen_fingers if robot.gripper else None
        self._urdf = physics_urdf(robot, self._frozen)
        self.n = len(robot.joint_names)
        self.client = -1
        self._open()

    def _open(self) -> None:
        self._builds = 0
        self._built: list[RigidBody] = []
        self._bodies: dict[str, int] = {}
        self._com: dict[str, tuple[float, float, float]] = {}
        self._shapes: dict[tuple, int] = {}
        self.bodies: tuple[RigidBody, ...] = ()
        with tempfile.NamedTemporaryFile("w", suffix=".urdf") as file:
            file.write(self._urdf)
            file.flush()
            with quiet():
                self.client = pybullet.connect(pybullet.DIRECT)
                flags = pybullet.URDF_MERGE_FIXED_LINKS
                try:
                    self.arm = pybullet.loadURDF(file.name, useFixedBase=True, flags=flags, physicsClientId=self.client)
                except pybullet.error as error:
                    pybullet.disconnect(self.client)
                    raise WorldError(f"robot '{self.robot.name}': PyBullet cannot load it ({error})") from None
        # without a visual shape PyBullet tessellates one from the collision shape, which takes 0.3 ms for a cylinder
        self._nothing_to_see = pybullet.createVisualShape(
            pybullet.GEOM_BOX, halfExtents=(1e-4, 1e-4, 1e-4), physicsClientId=self.client
        )
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
        moving_fingers = self.robot.gripper.joint_names if self.robot.gripper and self._frozen is None else ()
        wanted = self.robot.joint_names + moving_fingers
        missing = [name for name in wanted if name not in by_name]
        if missing:
            raise WorldError(
                f"robot '{self.robot.name}': the URDF has no moving joint '{missing[0]}'; "
                f"its joints are {', '.join(by_name)}"
            )
        self.joints = [by_name[name] for name in self.robot.joint_names]
        self.fingers = [by_name[name] for name in wanted[self.n :]]
        self._moving = self.joints + self.fingers
        for finger in self.fingers[1:]:  # the fingers of a parallel gripper share one motor
            gear = pybullet.createConstraint(
                self.arm,
                self.fingers[0],
                self.arm,
                finger,
                pybullet.JOINT_GEAR,
                (1, 0, 0),
                (0, 0, 0),
                (0, 0, 0),
                physicsClientId=self.client,
            )
            pybullet.changeConstraint(gear, gearRatio=-1, erp=0.2, maxForce=FINGER_GEAR, physicsClientId=self.client)
        moving = [info[0] for info in infos if info[2] != pybullet.JOINT_FIXED]
        self._chain_order = [moving.index(joint) for joint in self.joints]
        self._links = [-1, *(info[0] for info in infos)]
        dynamics = [pybullet.getDynamicsInfo(self.arm, i, physicsClientId=self.client) for i in self._links]
        damping = (0.0, *(info[6] for info in infos))
        self.nominal = Nominal(tuple(d[0] for d in dynamics), tuple(d[2] for d in dynamics), damping)
        self._arm_set: dict[str, float] = {}
        for link in range(-1, self.joints[len(self.joints) // 2] + 1):  # the upper arm touches nothing
            pybullet.setCollisionFilterGroupMask(self.arm, link, 0, 0, physicsClientId=self.client)

    def apply(self, parameters: Mapping[str, float], bodies: Sequence[RigidBody]) -> None:
        """Set all physics from `parameters`, build the table and `bodies` anew.

        Bodies stand at the origin until `place`d. Reads the `dynamics` parameters; those not given are nominal.
        """
        if self._builds > MOST_BUILDS:
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
        table = RigidBody(
            "table",
            (Shape("box", TABLE_SIZE),),
            friction=get("table_friction", 1.0),
            restitution=get("table_restitution", 0.5),
        )
        self.table_height = get("table_height", 0.0)
        self.bodies = (table, *bodies)
        self._rebuild()
        self.place("table", (*TABLE_CENTRE, self.table_height - TABLE_SIZE[2] / 2))

    def _rebuild(self) -> None:
        """Build all bodies, what never moves first; from the front on, keep what does not move and has the same shape.

        PyBullet's order of bodies, which decides on the last bits of a result, is thus always the same.
        """
        wanted = sorted(self.bodies, key=lambda body: body.mass > 0)
        kept = 0
        for old, new in zip(self._built, wanted):
            if new.mass > 0 or (old.name, old.shapes, old.solid, old.mass) != (new.name, new.shapes, new.solid, 0.0):
                break
            kept += 1
        for body in reversed(self._built[kept:]):
            pybullet.removeBody(self._bodies.pop(body.name), physicsClientId=self.client)
        for body in wanted[:kept]:
            self._set_contact(self._bodies[body.name], body)
        for body in wanted[kept:]:
            self._bodies[body.name] = self._build(body)
        self._builds += len(wanted) - kept
        self._built = wanted
        self._com = {body.name: body.com for body in wanted}

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
                jointDamping=self.nominal.damping[i] + wanted["joint_damping"],
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

    def _build(self, body: RigidBody) -> int:
        body_id = pybullet.createMultiBody(
            body.mass,
            self._shape(body.shapes) if body.solid else -1,
            self._nothing_to_see,
            baseInertialFramePosition=body.com,
            physicsClientId=self.client,
        )
        if body_id < 0:
            raise WorldError(f"body '{body.name}': PyBullet cannot build {body.shapes}")
        self._set_contact(body_id, body)
        if body.inertia_scale != 1.0:
            inertia = pybullet.getDynamicsInfo(body_id, -1, physicsClientId=self.client)[2]
            scaled = [body.inertia_scale * v for v in inertia]
            pybullet.changeDynamics(body_id, -1, localInertiaDiagonal=scaled, physicsClientId=self.client)
        return body_id

    def _set_contact(self, body_id: int, body: RigidBody) -> None:
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

    def pusher(self, name: str, force: Vector) -> Callable[[], None]:
        """Return the function that pushes a body, where it is now, with `force` [N], base frame, for one tick."""
        body = self._body(name)
        position, _ = pybullet.getBasePositionAndOrientation(body, physicsClientId=self.client)
        return partial(
            pybullet.applyExternalForce,
            body,
            -1,
            list(force),
            position,
            pybullet.WORLD_FRAME,
            physicsClientId=self.client,
        )

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
        """Refresh the true `q` (n,) [rad], `dq` (n,) [rad/s], `ee_R` (3, 3), `ee_pos` (3,) [m] and `opening` [m]."""
        states = pybullet.getJointStates(self.arm, self._moving, physicsClientId=self.client)
        self.q = np.array([s[0] for s in states[: self.n]])
        self.dq = np.array([s[1] for s in states[: self.n]])
        fingers = states[self.n :]
        self.opening = sum(s[0] for s in fingers) / len(fingers) if fingers else self._frozen or 0.0
        self.ee_R, self.ee_pos = self.robot.chain.pose(self.q)

    @property
    def ee_yaw(self) -> float:
        """How far the end effector is turned from home about the base's z [rad]."""
        return float(ee_yaw(self.ee_R, self.robot)[0])

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

    def drive_velocity(self, velocities: list[float], forces: list[float]) -> None:
        """Set velocity targets of the arm's joints [rad/s], with torque limits [N·m]; fingers are left alone."""
        pybullet.setJointMotorControlArray(
            self.arm,
            self.joints,
            pybullet.VELOCITY_CONTROL,
            targetVelocities=velocities,
            forces=forces,
            physicsClientId=self.client,
        )

    def drive_torque(self, torques: list[float]) -> None:
        """Apply torques to the arm's joints [N·m] during the next tick; their motors must be off."""
        pybullet.setJointMotorControlArray(
            self.arm, self.joints, pybullet.TORQUE_CONTROL, forces=torques, physicsClientId=self.client
        )

    def drive_fingers(self, target: float, gain: float, force: float) -> None:
        """Set the position target of all fingers [m]: gain per tick, force limit [N]."""
        count = len(self.fingers)
        pybullet.setJointMotorControlArray(
            self.arm,
            self.fingers,
            pybullet.POSITION_CONTROL,
            targetPositions=[target] * count,
            positionGains=[gain] * count,
            forces=[force] * count,
            physicsClientId=self.client,
        )

    def weight(self) -> np.ndarray:
        """Return the torques (n,) [N·m] that hold the arm against gravity where `read` has seen it."""
        q = [*self.q.tolist(), *[self.opening] * len(self.fingers)]
        zeros = [0.0] * len(q)
        torques = pybullet.calculateInverseDynamics(self.arm, q, zeros, zeros, physicsClientId=self.client)
        return np.array([torques[i] for i in self._chain_order])

    def dynamics(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the arm's mass matrix (n, n) [kg·m²] and what gravity and motion take (n,) [N·m], from `read`."""
        fingers = [self.opening] * len(self.fingers)
        q, dq = [*self.q.tolist(), *fingers], [*self.dq.tolist(), *[0.0] * len(fingers)]
        M = pybullet.calculateMassMatrix(self.arm, q, physicsClientId=self.client)
        h = pybullet.calculateInverseDynamics(self.arm, q, dq, [0.0] * len(q), physicsClientId=self.client)
        order = self._chain_order
        return np.array(M)[np.ix_(order, order)], np.array(h)[order]

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
