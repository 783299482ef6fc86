"""How stiff are a real SO-101's servos, and what of their errors at rest is gravity? Its public logs tell.

    python benchmarks/identifying/servo_sag.py --data FOLDER

FOLDER holds so101/logs. At rest, where neither command nor joint has moved by 10 mrad for half a second, a joint is
behind its command by gravity's torque, of the vendor's URDF, over its stiffness, and by what friction leaves: one
stiffness is fitted to all joints by least squares. It is what `drives.stiffness` of the arm file says.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import tyro

from policies.runtime.loop_limits import LoopLimits
from robots.dynamics import ArmDynamics, GravitySag
from robots.registry import load_robot

STILL, LONG = 0.01, 0.5
"""Motion [rad] below which a joint rests, and for how long [s]."""
SPACING = 10
"""Samples between two that are taken: neighbours are nearly the same."""


@dataclass(frozen=True)
class Config:
    """What to measure."""

    data: Path
    """Folder that holds so101/logs."""


def at_rest(path: Path, joints: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and errors (N, joints) [rad] of a log's samples at rest."""
    log = np.load(path)
    q = log["q"][:, :joints]
    commands = np.stack([np.interp(log["t"], log["t_cmd"], log["q_cmd"][:, j]) for j in range(joints)], axis=1)
    width = round(LONG / float(np.median(np.diff(log["t"]))))
    rows = [
        k
        for k in range(width, len(q), SPACING)
        if max(np.ptp(each[k - width : k + 1], axis=0).max() for each in (commands, q)) < STILL
    ]
    return q[rows], (commands - q)[rows]


def main(config: Config) -> None:
    """Measure and print."""
    robot = load_robot("so101")
    dynamics, still = ArmDynamics.from_robot(robot), np.zeros(len(robot.joint_names))
    found = []
    for path in sorted((config.data / "so101" / "logs").glob("*.npz")):
        q, errors = at_rest(path, len(still))
        if len(q):
            torques = np.array([dynamics.terms(row, still)[1] for row in q])
            found.append((q, errors, torques))
            print(f"{path.stem:24} {len(q):4} at rest, {(torques**2).sum() / (torques * errors).sum():5.1f} N·m/rad")
    q, errors, torques = (np.concatenate(each) for each in zip(*found))
    stiffness = float((torques**2).sum() / (torques * errors).sum())
    print(f"{'all':24} {len(q):4} at rest, {stiffness:5.1f} N·m/rad")
    assert robot.drives is not None
    sag = GravitySag(replace(robot, drives=replace(robot.drives, stiffness=stiffness)))
    beyond = np.minimum(np.abs(errors), np.abs(errors - [sag.at(row) for row in q]))
    most = LoopLimits().rest_lead
    for name, each in (("behind the command", np.abs(errors)), ("that and gravity aside", beyond)):
        share = (each.max(axis=1) > most).mean()
        print(f"{name}: 90 % within {np.percentile(each.max(axis=1), 90):.3f} rad, ", end="")
        print(f"{100 * share:.1f} % beyond {most} rad, greatest {each.max():.3f} rad")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
