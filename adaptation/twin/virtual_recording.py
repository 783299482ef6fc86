"""A motion that the virtual arm plays, as its encoders and motors report it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from adaptation.identification.joint_log import JointLog
from robots.host.writing import write_arrays
from robots.model import RobotModel
from sim.virtual_arm.engines import make_virtual_arm
from sim.virtual_arm.hidden_reality import HiddenReality

ASIDE = (0.5, 0.3)
"""Where the object stands, out of the arm's way [m, base frame]."""


def play_on_virtual_arm(
    robot: RobotModel, hidden: HiddenReality, t: np.ndarray, q: np.ndarray, name: str, seed: int = 0
) -> JointLog:
    """Play the motion `q` (T, n) [rad] at `t` [s], evenly spaced, in MuJoCo; `seed` is that of the encoders' noise."""
    arm = make_virtual_arm("mujoco", robot, (), hidden)
    arm.place(ASIDE, seed)
    n, dt = len(robot.joint_names), float(t[1] - t[0])
    found = np.empty((3, *q.shape))
    for i, target in enumerate(q):
        reading = arm.read()
        found[:, i] = reading.q[:n], reading.dq[:n], reading.tau[:n]
        arm.command(target)
        arm.advance(dt)
    return JointLog(name, robot.joint_names, t, q, t, *found)


def save_log(path: Path, log: JointLog) -> None:
    """Write a recording as the .npz that `log_files.read_log` reads."""
    arrays = {"t": log.t, "q": log.q, "t_cmd": log.t_command, "q_cmd": log.command, "dq": log.dq, "tau": log.tau}
    found = {name: values for name, values in arrays.items() if values is not None and len(values)}
    write_arrays(path, {**found, "joint_names": np.array(log.joint_names)})
