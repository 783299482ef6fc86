"""An arm in MuJoCo that behaves as a real one does towards whoever commands it.

It shares nothing with the training simulation but the URDF's kinematics: another engine, identified
inertias, joint friction, soft servos, imperfect gravity compensation, delays and encoder errors, all from
`HiddenReality`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from sim.camera import CameraModel
from sim.hidden_reality import HiddenReality
from sim.mujoco_gl import mujoco
from sim.mujoco_scene import TIMESTEP, Block, build_scene
from sim.real_lens import pinhole_around, true_camera
from sim.robot import RobotModel
from sim.tasks.reach import ABOVE
from sim.virtual_arm import VELOCITY_NOISE, JointReading, Looks, Snapshot, check_place, check_target


class MujocoArm:
    """One arm at its table, advanced in steps of `TIMESTEP`."""

    def __init__(
        self,
        robot: RobotModel,
        camera: CameraModel,
        hidden: HiddenReality | None = None,
        blocks: Sequence[Block] = (),
    ):
        """Build the scene and put the arm at home.

        Args:
            robot: the arm; needs the URDF file with its meshes.
            camera: the nominal camera, which the real one is off from by the hidden errors.
            hidden: what is true; the default reality if None.
            blocks: what else stands on the table.

        Raises:
            SpecError: if the robot has no URDF file, or the hidden values do not fit it.
        """
        self.robot = robot
        self.hidden = hidden or HiddenReality()
        self.camera = true_camera(camera, self.hidden.camera)
        """The camera as it really is; its pose is not for policies."""
        self.drawn_camera = pinhole_around(self.camera)
        """The centred, undistorted camera that renderers draw."""
        self.model = build_scene(robot, self.drawn_camera, self.hidden, blocks)
        self._data = mujoco.MjData(self.model)
        fingers = robot.gripper.joint_names if robot.gripper is not None else ()
        self.joint_names = (*robot.joint_names, *fingers)
        """Every joint that has a motor: the arm's, then the fingers'."""
        joints = [self.model.joint(name) for name in self.joint_names]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dof = np.array([joint.dofadr[0] for joint in joints])
        self._ctrl = np.array([self.model.actuator(name).id for name in self.joint_names])
        self._object_qpos = int(self.model.joint("object").qposadr[0])
        self._object_body = int(self.model.body("object").id)
        self._blocks = {block.name: block for block in blocks}
        lab = {0, self._object_body, *(int(self.model.body(name).id) for name in self._blocks)}
        self._of_arm = np.array([body not in lab for body in self.model.geom_bodyid])
        self._of_object = self.model.geom_bodyid == self._object_body
        self._ee_site = int(self.model.site("ee").id)
        arm = self.hidden.arm
        n = len(robot.joint_names)
        self._offset = np.zeros(len(self.joint_names))
        self._offset[:n] = arm.encoder_offset
        self._lead = np.array(arm.kd) / np.array(arm.kp)  # velocity command, as an equivalent position
        self._rest = np.zeros(len(self.joint_names))
        self._rest[:n] = robot.home
        if robot.gripper is not None:
            self._rest[n:] = robot.gripper.opened
        self._pending: deque[tuple[float, np.ndarray]] = deque()
        self._rng = np.random.default_rng(0)
        self.looks = Looks()
        self.place((0.5, 0.0), seed=0)

    @property
    def time(self) -> float:
        """Seconds since the arm was built; goes on through `place`."""
        return self._data.time

    def place(self, object_xy: tuple[float, float], seed: int, opening: float | None = None) -> None:
        """Put the arm at home and at rest, the cube at `object_xy` [m, base frame], and draw new looks.

        The fingers stand, and stay, at `opening` [m], by default wide open.

        Raises:
            SpecError: if the place is off the table.
        """
        x, y = object_xy
        check_place(self.model, object_xy)
        self._rng = np.random.default_rng(seed)
        self.looks = Looks.draw(self.hidden.scene, self._rng)
        data, now = self._data, self._data.time
        mujoco.mj_resetData(self.model, data)
        data.time = now
        self._pending.clear()
        rest = self._rest - self._offset
        if opening is not None:
            rest[len(self.robot.joint_names) :] = opening
        data.qpos[self._qpos] = rest
        data.ctrl[self._ctrl] = rest
        angle = self._rng.uniform(-np.pi, np.pi)
        half = self.hidden.scene.object_size / 2
        data.qpos[self._object_qpos : self._object_qpos + 7] = (
            *(x, y, half),
            *(np.cos(angle / 2), 0, 0, np.sin(angle / 2)),
        )
        mujoco.mj_forward(self.model, data)

    def place_block(self, name: str, xy: tuple[float, float], angle: float = 0.0) -> None:
        """Stand the block `name` at `xy` [m, base frame], turned by `angle` [rad]."""
        pose = *xy, self._blocks[name].size[2] / 2, np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2)
        body = self.model.body(name)
        if self._blocks[name].mass == 0:
            row = int(body.mocapid[0])
            self._data.mocap_pos[row], self._data.mocap_quat[row] = pose[:3], pose[3:]
        else:
            address = int(self.model.joint(name).qposadr[0])
            self._data.qpos[address : address + 7] = pose
        mujoco.mj_forward(self.model, self._data)

    def block_pos(self, name: str) -> np.ndarray:
        """True position (3,) of a block's centre [m, base frame]."""
        return self._data.xpos[int(self.model.body(name).id)].copy()

    def grip(self, opening: float) -> None:
        """Hand the fingers' servos a position [m]."""
        self._data.ctrl[self._ctrl[len(self.robot.joint_names) :]] = opening

    @property
    def touches_object(self) -> bool:
        """Whether the arm touches the cube."""
        pairs = self._data.contact.geom[: self._data.ncon]
        arm, cube = self._of_arm[pairs], self._of_object[pairs]
        return bool(((arm[:, 0] & cube[:, 1]) | (arm[:, 1] & cube[:, 0])).any())

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
                data.ctrl[self._ctrl[:n]] = self._pending.popleft()[1]
            mujoco.mj_step(self.model, data)

    def read(self) -> JointReading:
        """Read the encoders, with their noise and zero errors, in the order of `joint_names`."""
        n = len(self.robot.joint_names)
        q = self._data.qpos[self._qpos] + self._offset
        q[:n] += self.hidden.arm.encoder_noise * self._rng.standard_normal(n)
        dq = self._data.qvel[self._dof].copy()
        dq[:n] += VELOCITY_NOISE * self._rng.standard_normal(n)
        return JointReading(self.joint_names, q, dq, self._data.qfrc_actuator[self._dof].copy())

    def snapshot(self) -> Snapshot:
        """Copy what a renderer needs."""
        return Snapshot(self._data.time, self._data.qpos.copy(), self.looks)

    @property
    def q(self) -> np.ndarray:
        """True joint positions (n,) [rad]: for judges and tests, no sensor knows them."""
        return self._data.qpos[self._qpos[: len(self.robot.joint_names)]].copy()

    @property
    def ee_pos(self) -> np.ndarray:
        """True position (3,) of the end effector [m, base frame]."""
        return self._data.site_xpos[self._ee_site].copy()

    @property
    def object_pos(self) -> np.ndarray:
        """True position (3,) of the cube's centre [m, base frame]."""
        return self._data.xpos[self._object_body].copy()

    @property
    def object_quat(self) -> np.ndarray:
        """True orientation (4,) of the cube, xyzw, in the base frame."""
        return np.roll(self._data.xquat[self._object_body], -1)

    @property
    def goal(self) -> np.ndarray:
        """The point (3,) above the cube that the end effector should reach [m, base frame]."""
        return self.object_pos + np.array([0.0, 0.0, ABOVE])
