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
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from robots.model import RobotModel
from robots.observation import ee_yaw
from sim.bullet import pybullet, quiet
from sim.physics import snapshot
from sim.physics.link_dynamics import LinkDynamics
from sim.physics.physics_urdf import WorldError, check_inertials, physics_urdf
from sim.physics.scenery import Scenery
from sim.physics.vicinity import Vicinity
from sim.scene import RigidBody, Shape, Vector

GRAVITY = 9.81
TABLE_SIZE = (1.2, 1.6, 0.04)
TABLE_CENTRE = (0.4, 0.0)
FINGER_ERP = 0.5
"""Rate at which the gear closes the gap between the fingers' openings [1/s]. At 0.2 one finger drifts by 15 mm in
merged ticks, at 0.5 by 6; at 1 the joints sag by 4 mrad instead of 3."""
FINGER_GEAR = 500.0
"""Force that keeps the fingers level with each other [N]."""
SOLVER = (50, 1e-3)
"""Iterations of the solver, fewer of which weaken the grasp, and the residual at which it stops."""
LINKAGE_SOLVER = (150, 1e-6)
"""The same for a gripper whose fingers hang on further joints: with `SOLVER` they give way to what they grasp."""
MOST_BUILDS = 5_000
"""PyBullet leaks about 1 kB for each body built; after this many the client is opened anew."""

_READ = ("q", "dq", "opening", "ee_R", "ee_pos", "_poses")

__all__ = ["GRAVITY", "TABLE_CENTRE", "TABLE_SIZE", "World", "WorldError"]


def _no_push() -> None:
    """Leave a body that is asleep where it is."""


class World:
    """Owns one physics client."""

    def __init__(
        self, robot: RobotModel, physics_hz: float = 240.0, frozen_fingers: float | None = None, stops: bool = True
    ):
        """Open a client and load `robot`.

        Args:
            robot: the arm.
            physics_hz: ticks a second.
            stops: whether the arm's joints have mechanical stops; they take 6 % of a tick.
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
        self._urdf = physics_urdf(robot, self._frozen, stops)
        self.n = len(robot.joint_names)
        self.client = -1
        self._open()

    def _open(self) -> None:
        self._poses: dict[str, tuple[Vector, Vector]] = {}  # of this tick
        self._ticks_at_once = 1
        self._gripped = (math.nan, math.nan), 0.0, 0.0  # opening and force, and what they are at the first joint
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
        self.scenery = Scenery(self.client)
        linked = self.robot.gripper is not None and self.robot.gripper.followers and self._frozen is None
        iterations, residual = LINKAGE_SOLVER if linked else SOLVER
        pybullet.setTimeStep(1.0 / self.physics_hz, physicsClientId=self.client)
        pybullet.setPhysicsEngineParameter(
            numSolverIterations=iterations,
            solverResidualThreshold=residual,
            deterministicOverlappingPairs=1,
            enableFileCaching=0,  # or else `set_state` would get the first file of its name again
            physicsClientId=self.client,
        )
        infos = [
            pybullet.getJointInfo(self.arm, i, physicsClientId=self.client)
            for i in range(pybullet.getNumJoints(self.arm, physicsClientId=self.client))
        ]
        by_name = {info[1].decode(): info[0] for info in infos}
        gripper = self.robot.gripper
        moving_fingers = gripper.moving if gripper and self._frozen is None else ()
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
        for name, finger in zip(moving_fingers[1:], self.fingers[1:]):  # the fingers of a gripper share one motor
            pybullet.setJointMotorControl2(
                self.arm, finger, pybullet.VELOCITY_CONTROL, force=0.0, physicsClientId=self.client
            )
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
            ratio = -1 / gripper.ratio(name)  # type: ignore[union-attr]
            pybullet.changeConstraint(
                gear, gearRatio=ratio, erp=FINGER_ERP, maxForce=FINGER_GEAR, physicsClientId=self.client
            )
        self.dynamics = LinkDynamics(self.client, self.arm, self.robot, self.joints, self.fingers)
        upper_arm = self.joints[len(self.joints) // 2]
        for link in range(-1, upper_arm + 1):  # the upper arm touches nothing
            pybullet.setCollisionFilterGroupMask(self.arm, link, 0, 0, physicsClientId=self.client)
        self.vicinity = Vicinity(self.client, self.arm, upper_arm)

    def apply(self, parameters: Mapping[str, float], bodies: Sequence[RigidBody]) -> None:
        """Set all physics from `parameters`, build the table and `bodies` anew.

        Bodies stand at the origin until `place`d. Reads the `dynamics` parameters; those not given are nominal.
        """
        if self.scenery.builds > MOST_BUILDS:
            self.close()
            self._open()
        get = parameters.get
        tilt_x, tilt_y = get("base_tilt_x", 0.0), get("base_tilt_y", 0.0)
        g = get("gravity", GRAVITY)
        lean = g * math.sin(tilt_x), g * math.sin(tilt_y), -g * math.cos(tilt_x) * math.cos(tilt_y)
        pybullet.setGravity(*lean, physicsClientId=self.client)
        self.gravity = np.array(lean)
        self.dynamics.apply(parameters)
        table = RigidBody(
            "table",
            (Shape("box", TABLE_SIZE),),
            friction=get("table_friction", 1.0),
            restitution=get("table_restitution", 0.5),
        )
        self.table_height = get("table_height", 0.0)
        self.bodies = (table, *bodies)
        self.scenery.rebuild(self.bodies)
        self.vicinity.begin(self.bodies, self.scenery.ids)
        self._poses.clear()
        self.place("table", (*TABLE_CENTRE, self.table_height - TABLE_SIZE[2] / 2))

    def place(self, name: str, position: Vector, quat: Vector = (0.0, 0.0, 0.0, 1.0)) -> None:
        """Put a body's origin at `position` [m] with orientation `quat` (xyzw), at rest."""
        body = self._body(name)
        com = self.scenery.com[name]
        if any(com):
            centre, _ = pybullet.multiplyTransforms(position, quat, com, (0.0, 0.0, 0.0, 1.0))
            pybullet.resetBasePositionAndOrientation(body, centre, quat, physicsClientId=self.client)
        else:
            pybullet.resetBasePositionAndOrientation(body, position, quat, physicsClientId=self.client)
        self.vicinity.disturb()
        # `pose` makes arrays of tuples when it is asked: most are never asked for
        known = isinstance(position, tuple)
        self._poses[name] = (position, quat) if known else (np.array(position), np.array(quat))

    def pose(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a body's origin (3,) [m] and orientation (4,) xyzw in the base frame; not to be written to."""
        known = self._poses.get(name)
        if known is None:
            position, quat = pybullet.getBasePositionAndOrientation(self._body(name), physicsClientId=self.client)
            com = self.scenery.com[name]
            if any(com):
                back = tuple(-v for v in com)
                position, quat = pybullet.multiplyTransforms(position, quat, back, (0.0, 0.0, 0.0, 1.0))
            known = position, quat
        if isinstance(known[0], tuple):
            known = self._poses[name] = np.array(known[0]), np.array(known[1])
        return known  # type: ignore[return-value]

    def velocity(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a body's linear (3,) [m/s] and angular (3,) [rad/s] velocity at its centre of mass."""
        linear, angular = pybullet.getBaseVelocity(self._body(name), physicsClientId=self.client)
        return np.array(linear), np.array(angular)

    def pusher(self, name: str, force: Vector) -> Callable[[], None]:
        """Return the function that pushes a body, where it is now, with `force` [N], base frame, for one tick.

        It does nothing where the push is too weak to wake bodies that are asleep.
        """
        if not self.vicinity.take_push(math.hypot(*force)):
            return _no_push
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
        """Set the joints to `q` (n,) [rad] and the fingers to `opening` [m], at rest, motors holding there.

        What `read` refreshes is known then.
        """
        gripper = self.robot.gripper
        width = (gripper.opened if opening is None else opening) if gripper else 0.0
        self.vicinity.disturb()
        self.q, self.dq = np.array(q, float), np.zeros(self.n)
        self.opening = width if self.fingers else self._frozen or 0.0
        self.ee_R, self.ee_pos = self.robot.chain.pose(self.q)
        positions = [*self.q.tolist(), *(gripper.positions(width).tolist() if gripper and self.fingers else ())]
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
        q, dq, _, _ = zip(*states)
        n = self.n
        self.q, self.dq = np.array(q[:n]), np.array(dq[:n])
        gripper = self.robot.gripper
        measured = q[n : n + len(gripper.joint_names)] if gripper and self.fingers else ()
        self.opening = gripper.opening_at(measured) if gripper and measured else self._frozen or 0.0
        self.ee_R, self.ee_pos = self.robot.chain.pose(self.q)

    @property
    def ee_yaw(self) -> float:
        """How far the end effector is turned from home about the base's z [rad]."""
        return float(ee_yaw(self.ee_R, self.robot)[0])

    def between(self, opening: float) -> np.ndarray:
        """Return the point (3,) that is midway between the fingers when they stand at `opening` [m], base frame [m]."""
        return self.ee_pos + self.ee_R @ self.robot.between(opening)

    def drive(self, targets: list[float], gains: list[float], forces: list[float]) -> None:
        """Set position targets of the arm's joints [rad]: gain per tick, torque limit [N·m]; fingers are left alone."""
        pybullet.setJointMotorControlArray(
            self.arm,
            self.joints,
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
        """Set the target of the opening [m]: gain per tick, force limit of each finger [N].

        The first finger has the motor, with the force of all; the gear hands it on. A motor less is a row less
        for the solver.
        """
        gripper = self.robot.gripper
        assert gripper is not None  # there are fingers
        if (target, force) != self._gripped[0]:
            self._gripped = (target, force), float(gripper.positions(target)[0]), gripper.effort(target, force)
        _, position, effort = self._gripped
        pybullet.setJointMotorControl2(
            self.arm,
            self.fingers[0],
            pybullet.POSITION_CONTROL,
            targetPosition=position,
            positionGain=gain,
            force=effort,
            **({} if gripper.speed is None else {"maxVelocity": gripper.speed}),
            physicsClientId=self.client,
        )

    def joint_damping(self) -> np.ndarray:
        """Return the viscous friction (n,) that the URDF gives the arm's joints [N·m·s/rad]."""
        infos = [pybullet.getJointInfo(self.arm, joint, physicsClientId=self.client) for joint in self.joints]
        return np.array([info[6] for info in infos])

    def merge(self, ticks: int) -> None:
        """Take steps of `ticks` at once from now on: one of so many times the length.

        Motors must be driven after that: PyBullet keeps their limits as impulses of the step they were driven for.
        """
        if ticks != self._ticks_at_once:
            self._ticks_at_once = ticks
            pybullet.setTimeStep(ticks / self.physics_hz, physicsClientId=self.client)

    def step(self) -> None:
        """Advance by one tick, or as many as `merge` said."""
        if not self.vicinity.stands:
            self._poses.clear()
        pybullet.stepSimulation(self.client)

    def get_state(self) -> dict:
        """Return the bodies with their physical state, and what `read` has measured; motors' targets are left out."""
        read = {name: getattr(self, name) for name in _READ}
        physics, vicinity = snapshot.save(self.client), self.vicinity.get_state()
        return {"bodies": self.bodies[1:], "physics": physics, "vicinity": vicinity, "read": read}

    def set_state(self, parameters: Mapping[str, float], state: Mapping) -> None:
        """Restore what `get_state` returned under `parameters`, in this world or in one of the same arm.

        Raises:
            WorldError: if the state is that of another arm.
        """
        self.apply(parameters, state["bodies"])
        self.vicinity.set_state(state["vicinity"], partial(snapshot.restore, self.client, state["physics"]))
        for name, value in state["read"].items():
            setattr(self, name, value)

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
        if name not in self.scenery.ids:
            raise WorldError(f"world: no body '{name}'; there are {', '.join(self.scenery.ids)}")
        return self.scenery.ids[name]
