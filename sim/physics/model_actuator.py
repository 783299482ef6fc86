"""The identified servo as the simulator's actuator: the arm moves as the compiled model does, and contacts stop it.

Every tick the model takes the arm's state from PyBullet and advances it under the servo. PyBullet's joints get the
torque that takes its own arm to the speed the model found, τ = M (v − q̇) / dt + h, and a velocity motor for what is
left: the motor alone stops at the solver's residual, which is all of a wrist's small correction, and the torque alone
shakes light wrists apart. The next tick starts from where the arm really is, so that an obstacle stops the model too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from robots.dynamics import ArmDynamics
from robots.model import RobotModel
from sim.physics.actuators import Actuator
from sim.physics.disturbances import Forces
from sim.physics.servo_model import ServoArm, SteppedArm
from sim.physics.world import World
from sim.randomization.servo_parameters import model_params


class ModelActuator(Actuator):
    """Servos with the terms of `sim.physics.servo_model`, as `sim2real identify` finds them."""

    def __init__(self, robot: RobotModel, world: World, ticks: int):
        """Read the arm's inertias once."""
        super().__init__(robot, world, ticks)
        self._dynamics = ArmDynamics.from_robot(robot)
        self._defaults = {param.name: param.nominal for param in model_params(robot)}

    def reset(self, q: np.ndarray, opening: float, p: Mapping[str, float]) -> None:
        """Hold the joints at `q` [rad]; read the servos' parameters of an episode."""
        p = {**self._defaults, **p}
        super().reset(q, opening, p)
        self._stiffness = np.array([p[f"servo_kp_{joint}"] for joint in self._robot.joint_names])
        # the command's way is the servo model's own delay on top of the action delay, in ticks
        self._delay += round(p["servo_delay"] * self._world.physics_hz)
        waiting = 3 + -(-self._delay // self._ticks)
        if waiting > len(self._due):
            self._due = np.zeros(waiting, np.int64)
            self._commands = np.zeros((waiting, self._world.n))
            self._commands[0] = q

    def _begin(self, world: World) -> None:
        self._stepped = SteppedArm(ServoArm.from_parameters(self._dynamics, self._p), self._motor)
        self._damping = world.joint_damping() + self._p["joint_damping"]  # PyBullet's, which the model's replaces
        # PyBullet cannot move a link's centre of mass: it is where it nominally is
        dynamics = world.dynamics
        self._bullet = dynamics.load.centred_as(dynamics.nominal_load).carrying(self._p["payload_mass"])
        self._last = self._motor.copy()

    def _offset(self, forces: Forces) -> np.ndarray:
        """What knocks do to the servos. Load and tilt bend the model itself: they must not bend the target, too."""
        if forces.on_ee is None:
            return self._gear
        return self._gear + forces.on_ee @ self._robot.chain.jacobian(self._filtered)[:3] / self._stiffness

    def _drive(self, target: list[float], opening: float, ticks: int) -> None:
        world = self._world
        world.read()
        goal, dt = np.array(target), 1.0 / world.physics_hz
        speeds = self._stepped.step(world.q, world.dq, goal, (goal - self._last) / dt, dt)
        self._last = goal
        M, h = self._bullet.terms(world.q, world.dq, world.gravity)
        tau = M @ (speeds - world.dq) / dt + h + self._damping * speeds
        world.drive_velocity(speeds.tolist(), self._torques)
        world.drive_torque(tau.tolist())
        if world.fingers:
            world.drive_fingers(opening, self._finger_gain, self._finger_force)
