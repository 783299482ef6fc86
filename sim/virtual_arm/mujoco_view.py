"""The state of a MuJoCo model as a `sim.tasks.task.Scene`; the model is stepped elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robots.model import RobotModel
from robots.observation import ee_yaw
from sim.scene import RigidBody, Vector
from sim.virtual_arm.mujoco_gl import mujoco


class MujocoScene:
    """The bodies on the table by name, and the hand above them; all true values, none measured."""

    table_height = 0.0

    def __init__(self, robot: RobotModel, model: mujoco.MjModel, data: mujoco.MjData, bodies: Sequence[RigidBody]):
        """Look at `data` of a `model` that `sim.virtual_arm.mujoco_scene.build_scene` made with `bodies`."""
        self.robot, self._model, self._data = robot, model, data
        self._ids = {body.name: int(model.body(body.name).id) for body in bodies}
        self._free = {
            body.name: (int(model.joint(body.name).qposadr[0]), int(model.joint(body.name).dofadr[0]))
            for body in bodies
            if body.mass > 0
        }
        self._fixed = {body.name: int(model.body(body.name).mocapid[0]) for body in bodies if body.mass == 0}
        self._of_arm = ~np.isin(model.geom_bodyid, [0, *self._ids.values()])
        self._site = int(model.site("ee").id)
        fingers = robot.gripper.joint_names if robot.gripper is not None else ()
        self._fingers = [int(model.joint(name).qposadr[0]) for name in fingers]

    @property
    def ee_pos(self) -> np.ndarray:
        """(3,) position of the end effector [m], base frame."""
        return self._data.site_xpos[self._site].copy()

    @property
    def ee_R(self) -> np.ndarray:
        """(3, 3) rotation of the end effector in the base frame."""
        return self._data.site_xmat[self._site].reshape(3, 3).copy()

    @property
    def ee_yaw(self) -> float:
        """How far the end effector is turned from home about the base's z [rad]."""
        return float(ee_yaw(self.ee_R, self.robot)[0])

    @property
    def opening(self) -> float:
        """Half the gap between the fingers [m]."""
        gripper = self.robot.gripper
        return gripper.opening_at(self._data.qpos[self._fingers].tolist()) if gripper is not None else 0.0

    def between(self, opening: float) -> np.ndarray:
        """Return the point (3,) that is midway between the fingers when they stand at `opening` [m], base frame [m]."""
        return self.ee_pos + self.ee_R @ self.robot.between(opening)

    def place(self, name: str, position: Vector, quat: Vector = (0.0, 0.0, 0.0, 1.0)) -> None:
        """Put a body's origin at `position` [m] with orientation `quat` (xyzw), at rest."""
        x, y, z, w = quat
        if name in self._fixed:
            row = self._fixed[name]
            self._data.mocap_pos[row], self._data.mocap_quat[row] = position, (w, x, y, z)
        else:
            q, v = self._free[name]
            self._data.qpos[q : q + 7] = (*position, w, x, y, z)
            self._data.qvel[v : v + 6] = 0.0
        mujoco.mj_forward(self._model, self._data)

    def pose(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a body's origin (3,) [m] and orientation (4,) xyzw in the base frame."""
        row = self._ids[name]
        return self._data.xpos[row].copy(), np.roll(self._data.xquat[row], -1)

    def velocity(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a body's linear (3,) [m/s] and angular (3,) [rad/s] velocity."""
        if name in self._fixed:
            return np.zeros(3), np.zeros(3)
        v = self._free[name][1]
        return self._data.qvel[v : v + 3].copy(), self._data.qvel[v + 3 : v + 6].copy()

    def touching(self, name: str) -> bool:
        """Whether the arm touches a body."""
        pairs = self._data.contact.geom[: self._data.ncon]
        arm, body = self._of_arm[pairs], self._model.geom_bodyid[pairs] == self._ids[name]
        return bool(((arm[:, 0] & body[:, 1]) | (arm[:, 1] & body[:, 0])).any())

    def mocap(self) -> np.ndarray:
        """Return (k, 7) positions [m] and quaternions, w first, of what cannot move, in MuJoCo's order."""
        return np.hstack([self._data.mocap_pos, self._data.mocap_quat])
