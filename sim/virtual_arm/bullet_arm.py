"""The virtual arm in PyBullet: the same hidden servos, camera and room, moved by the engine that policies train in.

It differs from MuJoCo's in the engine alone, so that a failure in one can be checked in the other. The joints are moved
by the identified servo model (`sim.physics.servo_model`), which has the rotor inertia and friction that PyBullet lacks;
PyBullet adds contacts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from robots.camera import CameraModel
from robots.dynamics import ArmDynamics
from robots.model import RobotModel
from sim.physics.servo_model import JOINT_TERMS, ServoArm, SteppedArm
from sim.physics.world import GRAVITY, World
from sim.virtual_arm.hidden_arms import with_true_inertia
from sim.virtual_arm.hidden_reality import HiddenReality
from sim.virtual_arm.interface import (
    NOMINAL_SIZES,
    VELOCITY_NOISE,
    JointReading,
    Judgement,
    Sizes,
    Snapshot,
    TrialAppearance,
    check_place,
    check_target,
    rounded,
)
from sim.virtual_arm.mujoco_scene import build_scene
from sim.virtual_arm.real_camera import real_cameras
from sim.virtual_arm.table import VirtualTable

PHYSICS_HZ = 500.0
"""Ticks a second: the servo loop's of `ros_nodes.virtual_arm`."""
FINGER_GAIN = 0.1
"""Share of the way to its target that a finger goes in one tick."""
LEVEL = np.array([0.0, 0.0, -GRAVITY])


class BulletArm:
    """One arm at its table, advanced in ticks of 1 / `PHYSICS_HZ`."""

    def __init__(
        self,
        robot: RobotModel,
        cameras: Sequence[CameraModel],
        hidden: HiddenReality | None = None,
        task: str = "reach",
        sizes: Sizes = NOMINAL_SIZES,
    ):
        """Build the world and put the arm at home; arguments and errors are `MujocoArm`'s."""
        self.robot = robot
        self.hidden = hidden or HiddenReality()
        self.cameras = real_cameras(cameras, self.hidden)
        """The cameras as they really are, by name."""
        drawn = [camera.drawn for camera in self.cameras.values()]
        self._table = VirtualTable(task, robot, self.hidden, sizes)
        self.model = build_scene(robot, drawn, self.hidden, self._table.bodies)
        """What renderers draw; nothing moves it."""
        fingers = robot.gripper.joint_names if robot.gripper is not None else ()
        self.joint_names = (*robot.joint_names, *fingers)
        """Every joint that has a motor: the arm's, then the fingers'."""
        moving = (*robot.joint_names, *(robot.gripper.moving if robot.gripper is not None else ()))
        self._drawn = [int(self.model.joint(name).qposadr[0]) for name in moving]
        movable = [body.name for body in self._table.bodies if body.mass > 0]
        fixed = [body.name for body in self._table.bodies if body.mass == 0]
        self._movable = {name: int(self.model.joint(name).qposadr[0]) for name in movable}
        self._fixed = sorted(fixed, key=lambda name: int(self.model.body(name).mocapid[0]))
        self._n = len(robot.joint_names)
        arm = self.hidden.arm
        heavy = with_true_inertia(robot, self.hidden)
        self._servos = ServoArm(
            ArmDynamics.from_robot(heavy).loaded(1.0, arm.tool_mass),
            self._servo_table(),
            (1.0 - arm.gravity_compensation) * LEVEL,
            lead=sum(arm.kd) / (sum(arm.kd) + sum(arm.damping)),
        )
        self._offset = np.array(arm.encoder_offset)
        self._world = World(heavy, PHYSICS_HZ)
        self._world.apply({"payload_mass": arm.tool_mass, "table_restitution": 0.0}, self._table.bodies)
        self._load = self._world.dynamics.nominal_load
        self._damping = self._world.joint_damping()  # PyBullet's, which the servo model's replaces
        self._limits = np.array(robot.limits.tau)
        self._time = 0.0
        self.appearance = TrialAppearance()
        self.place((0.5, 0.0), seed=0)

    @property
    def time(self) -> float:
        """Seconds since the arm was built; goes on through `place`."""
        return self._time

    def place(self, object_xy: tuple[float, float] | None, seed: int, opening: float | None = None) -> None:
        """Put the arm at home and at rest, the cube at `object_xy` [m, base frame], and draw a new appearance.

        Raises:
            SpecError: if the place is off the table.
        """
        if object_xy is not None:
            check_place(self.model, object_xy)
        self._rng = np.random.default_rng(seed)
        self.appearance = TrialAppearance.draw(self.hidden.scene, self._table.draw_colours(self._rng), self._rng)
        gripper = self.robot.gripper
        start = opening if opening is not None else self._table.opening
        if start is None:
            start = gripper.opened if gripper else 0.0
        closes = self._table.opening is not None and gripper is not None  # from there
        self._opening = gripper.closed if closes else start  # type: ignore[union-attr]
        home = np.array(self.robot.home) - self._offset
        self._world.reset_arm(home, start)
        self._world.drive_velocity([0.0] * self._n, [0.0] * self._n)  # the motors off
        self._table.lay(self._world, object_xy, self._rng)
        self._pending: deque[tuple[float, np.ndarray]] = deque()
        self._target, self._last = home.copy(), home.copy()
        self._stepped = SteppedArm(self._servos, home)
        self._world.read()

    def ask(self, names: Sequence[str]) -> None:
        """Take what the operator asks for as what the task is about; see `VirtualTable.ask`."""
        colours = self._table.ask(self._world, names, self.appearance.colours)
        self.appearance = replace(self.appearance, colours=colours)

    def command(self, q: np.ndarray, dq: np.ndarray | None = None) -> None:
        """Hand the servos a joint position target (n,) [rad]; it acts after the hidden delay.

        The servos take the speed from how the target moves: `dq` is not needed.
        """
        target = check_target(q, self._n) - self._offset
        self._pending.append((self._time + self.hidden.arm.command_delay, target))

    def grip(self, opening: float) -> None:
        """Hand the fingers' servos an opening [m]; beyond their range they stop at its end."""
        self._opening = opening

    def advance(self, duration: float) -> None:
        """Let `duration` [s] pass, rounded to whole ticks."""
        world, dt = self._world, 1.0 / PHYSICS_HZ
        for _ in range(round(duration * PHYSICS_HZ)):
            while self._pending and self._pending[0][0] <= self._time + 1e-9:
                self._target = rounded(self._pending.popleft()[1], self.hidden.arm.grid)
            # As `sim.physics.model_actuator` does: PyBullet's arm is taken to the speed that the servo model found
            speeds = self._stepped.step(world.q, world.dq, self._target, (self._target - self._last) / dt, dt)
            self._last = self._target
            M, h = self._load.terms(world.q, world.dq, world.gravity)
            world.drive_velocity(speeds.tolist(), self._limits.tolist())
            world.drive_torque((M @ (speeds - world.dq) / dt + h + self._damping * speeds).tolist())
            if world.fingers:
                world.drive_fingers(self._opening, FINGER_GAIN, self.robot.gripper.force)  # type: ignore[union-attr]
            world.step()
            world.read()
            self._time += dt

    def read(self) -> JointReading:
        """Read the encoders, with their noise and zero errors, in the order of `joint_names`."""
        world, n, gripper = self._world, self._n, self.robot.gripper
        arm = self.hidden.arm
        q = rounded(world.q + self._offset + arm.encoder_noise * self._rng.standard_normal(n), arm.grid)
        dq = world.dq + VELOCITY_NOISE * self._rng.standard_normal(n)
        # What the motors give: what moves the joints, and what cancels gravity
        tau = self._stepped.tau + arm.gravity_compensation * self._load.gravity(world.q, LEVEL)
        fingers = np.array(gripper.commanded(world.opening) if gripper is not None else ())
        nothing = np.zeros(len(fingers))
        return JointReading(
            self.joint_names,
            np.concatenate([q, fingers]),
            np.concatenate([dq, nothing]),
            np.concatenate([tau, nothing]),
        )

    def snapshot(self) -> Snapshot:
        """Copy what a renderer needs."""
        qpos = self.model.qpos0.copy()
        gripper = self.robot.gripper
        fingers = gripper.positions(self._world.opening) if gripper is not None else ()
        qpos[self._drawn] = np.concatenate([self._world.q, fingers])
        for name, k in self._movable.items():
            qpos[k : k + 7] = self._drawn_pose(name)
        mocap = np.array([self._drawn_pose(name) for name in self._fixed]).reshape(-1, 7)
        return Snapshot(self._time, qpos, mocap, self.appearance)

    @property
    def q(self) -> np.ndarray:
        """True joint positions (n,) [rad]: for evaluation and tests; no sensor reads them."""
        return self._world.q.copy()

    @property
    def ee_pos(self) -> np.ndarray:
        """True position (3,) of the end effector [m, base frame]."""
        return self._world.ee_pos.copy()

    @property
    def goal(self) -> np.ndarray:
        """Where the task wants something (3,) [m, base frame]."""
        return self._table.goal(self._world)

    @property
    def achieved(self) -> np.ndarray:
        """Where that is now (3,) [m, base frame]."""
        return self._table.achieved(self._world)

    def judge(self) -> Judgement:
        """Judge the scene as it is now by the task's own rules."""
        return self._table.judge(self._world)

    def _drawn_pose(self, name: str) -> tuple[float, ...]:
        """Return a body's position and its quaternion, w first."""
        p, (x, y, z, w) = self._world.pose(name)
        return (*p.tolist(), w, x, y, z)

    def _servo_table(self) -> np.ndarray:
        """Return the hidden servos (n, 9) in the order of `JOINT_TERMS`."""
        arm, zeros = self.hidden.arm, (0.0,) * self._n
        terms = dict.fromkeys(JOINT_TERMS, zeros)
        terms |= {
            "kp": arm.kp,
            "coulomb": arm.friction,
            "armature": arm.armature,
            "torque_limit": self.robot.limits.tau,
            "dead_band": (arm.dead_band,) * self._n,
            "backlash": (arm.backlash,) * self._n,
        }
        terms["damping"] = tuple(kd + d for kd, d in zip(arm.kd, arm.damping))
        return np.array([terms[name] for name in JOINT_TERMS]).T.copy()
