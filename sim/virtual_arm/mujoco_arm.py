"""An arm in MuJoCo that responds to commands as a real one does.

It shares nothing with the training simulation but the URDF's kinematics: another engine, identified
inertias, joint friction, soft servos, imperfect gravity compensation, delays and encoder errors, all from
`HiddenReality`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from robots.camera import CameraModel
from robots.model import RobotModel
from sim.virtual_arm.hidden_reality import HiddenReality
from sim.virtual_arm.interface import (
    NOMINAL_SIZES,
    VELOCITY_NOISE,
    JointReading,
    Judgement,
    Sizes,
    Snapshot,
    TrialAppearance,
    beyond,
    check_place,
    check_target,
    rounded,
)
from sim.virtual_arm.mujoco_gl import mujoco
from sim.virtual_arm.mujoco_scene import TIMESTEP, build_scene
from sim.virtual_arm.mujoco_view import MujocoScene
from sim.virtual_arm.real_camera import real_cameras
from sim.virtual_arm.table import VirtualTable


class MujocoArm:
    """One arm at its table, advanced in steps of `TIMESTEP`."""

    def __init__(
        self,
        robot: RobotModel,
        cameras: Sequence[CameraModel],
        hidden: HiddenReality | None = None,
        task: str = "reach",
        sizes: Sizes = NOMINAL_SIZES,
    ):
        """Build the scene and put the arm at home.

        Args:
            robot: the arm; needs the URDF file with its meshes.
            cameras: the nominal cameras, from which the real ones are off by the hidden errors.
            hidden: what is true; the default reality if None.
            task: whose objects stand on the table.
            sizes: of these objects, by the task's parameters [m]; nominal where left out.

        Raises:
            SpecError: if the robot has no URDF file, or the hidden values do not fit it.
        """
        self.robot = robot
        self.hidden = hidden or HiddenReality()
        self.cameras = real_cameras(cameras, self.hidden)
        """The cameras as they really are, by name."""
        drawn = [camera.drawn for camera in self.cameras.values()]
        self._table = VirtualTable(task, robot, self.hidden, sizes)
        self.task = self._table.task
        """As it was laid out for the present trial."""
        self.bodies = self._table.bodies
        """What stands on the table."""
        self.model = build_scene(robot, drawn, self.hidden, self.bodies)
        self._data = mujoco.MjData(self.model)
        fingers = robot.gripper.joint_names if robot.gripper is not None else ()
        self.joint_names = (*robot.joint_names, *fingers)
        """Every joint that has a motor: the arm's, then the fingers'."""
        joints = [self.model.joint(name) for name in self.joint_names]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dof = np.array([joint.dofadr[0] for joint in joints])
        self._ctrl = np.array([self.model.actuator(name).id for name in self.joint_names])
        self.scene = MujocoScene(robot, self.model, self._data, self._table.bodies)
        """The true poses on the table: for evaluation and tests; no sensor reads them."""
        self._ee_site = int(self.model.site("ee").id)
        arm = self.hidden.arm
        n = len(robot.joint_names)
        followers = robot.gripper.followers if robot.gripper is not None else ()
        self._followers = [int(self.model.joint(name).qposadr[0]) for name in followers]
        self._offset = np.zeros(len(self.joint_names))
        self._offset[:n] = arm.encoder_offset
        self._band, self._grid = arm.dead_band + arm.backlash, arm.grid
        self._lead = np.array(arm.kd) / np.array(arm.kp)  # velocity command, as an equivalent position
        self._home = np.array(robot.home)
        self._pending: deque[tuple[float, np.ndarray]] = deque()
        self._fingers = np.zeros(len(fingers))
        speed = robot.gripper.speed if robot.gripper is not None else None
        self._stride = np.inf if speed is None else speed * TIMESTEP  # of the fingers' targets
        self._rng = np.random.default_rng(0)
        self.appearance = TrialAppearance()
        self.place((0.5, 0.0), seed=0)

    @property
    def time(self) -> float:
        """Seconds since the arm was built; goes on through `place`."""
        return self._data.time

    def place(self, object_xy: tuple[float, float] | None, seed: int, opening: float | None = None) -> None:
        """Put the arm at home and at rest, the object at `object_xy` [m, base frame], and draw a new appearance.

        None: the object stands where the task draws it.

        The fingers stand, and stay, at `opening` [m], by default as the task has them.

        Raises:
            SpecError: if the place is off the table, or leaves no room for what else the task needs.
        """
        if object_xy is not None:
            check_place(self.model, object_xy)
        if opening is None:
            opening = self._table.opening
        self._rng = np.random.default_rng(seed)
        self.appearance = TrialAppearance.draw(self.hidden.scene, self._table.draw_colours(self._rng), self._rng)
        data, now = self._data, self._data.time
        mujoco.mj_resetData(self.model, data)
        data.time = now
        self._pending.clear()
        gripper, n = self.robot.gripper, len(self._home)
        self._target = self._home - self._offset[:n]
        data.qpos[self._qpos[:n]] = data.ctrl[self._ctrl[:n]] = self._target
        if gripper is not None:
            start = gripper.opened if opening is None else opening
            data.qpos[[*self._qpos[n:], *self._followers]] = gripper.positions(start)
            data.ctrl[self._ctrl[n:]] = gripper.commanded(start)
            self.grip(start)
        mujoco.mj_forward(self.model, data)
        self._table.lay(self.scene, object_xy, self._rng)
        if self._table.opening is not None and gripper is not None:  # the fingers close from there
            self.grip(gripper.closed)

    def grip(self, opening: float) -> None:
        """Hand the fingers' servos an opening [m]; beyond their range they stop at its end."""
        if self.robot.gripper is not None:
            self._fingers = np.array(self.robot.gripper.commanded(opening))

    def ask(self, names: Sequence[str]) -> None:
        """Take what the operator asks for as what the task is about; see `VirtualTable.ask`."""
        colours = self._table.ask(self.scene, names, self.appearance.colours)
        self.appearance = replace(self.appearance, colours=colours)

    def command(self, q: np.ndarray, dq: np.ndarray | None = None) -> None:
        """Hand the servos a joint position target (n,) [rad] and velocity [rad/s]; it acts after the hidden delay.

        Raises:
            SpecError: for a wrong length or a value that is not finite.
        """
        n = len(self.robot.joint_names)
        target = check_target(q, n) - self._offset[:n]
        if dq is not None:
            target = target + self._lead * dq
        self._pending.append((self._data.time + self.hidden.arm.command_delay, target))

    def advance(self, duration: float) -> None:
        """Let `duration` [s] pass, rounded to whole steps of `TIMESTEP`."""
        data, n = self._data, len(self.robot.joint_names)
        for _ in range(round(duration / TIMESTEP)):
            while self._pending and self._pending[0][0] <= data.time + 1e-9:
                self._target = data.ctrl[self._ctrl[:n]] = rounded(self._pending.popleft()[1], self._grid)
            if self._band:
                q = data.qpos[self._qpos[:n]]
                data.ctrl[self._ctrl[:n]] = q + beyond(self._target - q, self._band)
            way = self._fingers - data.ctrl[self._ctrl[n:]]
            data.ctrl[self._ctrl[n:]] += np.minimum(np.maximum(way, -self._stride), self._stride)
            mujoco.mj_step(self.model, data)

    def read(self) -> JointReading:
        """Read the encoders, with their noise and zero errors, in the order of `joint_names`."""
        n = len(self.robot.joint_names)
        q = self._data.qpos[self._qpos] + self._offset
        q[:n] += self.hidden.arm.encoder_noise * self._rng.standard_normal(n)
        q[:n] = rounded(q[:n], self._grid)
        dq = self._data.qvel[self._dof].copy()
        dq[:n] += VELOCITY_NOISE * self._rng.standard_normal(n)
        return JointReading(self.joint_names, q, dq, self._data.qfrc_actuator[self._dof].copy())

    def snapshot(self) -> Snapshot:
        """Copy what a renderer needs."""
        return Snapshot(self._data.time, self._data.qpos.copy(), self.scene.mocap(), self.appearance)

    @property
    def q(self) -> np.ndarray:
        """True joint positions (n,) [rad]: for evaluation and tests; no sensor reads them."""
        return self._data.qpos[self._qpos[: len(self.robot.joint_names)]].copy()

    @property
    def ee_pos(self) -> np.ndarray:
        """True position (3,) of the end effector [m, base frame]."""
        return self._data.site_xpos[self._ee_site].copy()

    @property
    def goal(self) -> np.ndarray:
        """Where the task wants something (3,) [m, base frame]; to reach is to hold the hand above the cube."""
        return self._table.goal(self.scene)

    @property
    def achieved(self) -> np.ndarray:
        """Where that is now (3,) [m, base frame]."""
        return self._table.achieved(self.scene)

    def judge(self) -> Judgement:
        """Judge the scene as it is now by the task's own rules."""
        return self._table.judge(self.scene)
