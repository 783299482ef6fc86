"""Objects of hidden mass and friction, pushed and lifted by the virtual Panda: are they in the 90 % interval?

The arm is MuJoCo's, with its own inertias, friction, tool and encoder errors. It plays one motion twice: with the
object, and without it. Torques, fingers and a camera's places of the object are recorded with noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import mujoco
import numpy as np

from adaptation.contact.contact_log import ContactLog
from adaptation.contact.object_fit import ObjectEstimate, ObjectIdentification, identify_object
from adaptation.identification.joint_log import JointLog
from policies.scoring.intervals import wilson
from robots.model import RobotModel
from robots.registry import load_robot
from sim.virtual_arm.hidden_reality import HiddenReality
from sim.virtual_arm.mujoco_arm import MujocoArm

SEEDS, CALIBRATION = range(100, 130), range(5000, 5020)
"""Of the objects that judge, and of those that set the widening factors."""
RATE_HZ = 100.0
TORQUE_NOISE = 0.002
"""Standard deviation of a torque reading, over the joint's limit: 0.17 and 0.024 N·m, of the size of a real Panda's."""
PLACE_NOISE, SEEN_EVERY = 0.002, 3
"""Standard deviation of the object's place [m], and readings of the joints for one of the camera: 33 Hz."""
PLACE = np.array([0.47, 0.0])
"""Where the object stands at first [m, base frame]."""
AWAY = (0.30, 0.45)
"""Where it stands while the motion is played without it."""
MASSES, FRICTIONS, SIZES = (0.05, 0.8), (0.2, 0.9), (0.042, 0.06)
"""Ranges of the hidden objects: mass [kg], log-uniform; friction; edge [m]."""
HIGH, PUSH = 0.15, 0.10
"""Height of the hand between its jobs, and length of a push [m]."""
SLOW, FAST = 0.05, 0.2
"""Speeds of pushes and of all else [m/s]."""
HALF_FINGER = 0.012
"""Half the width of the closed fingers along a push [m]."""
LIFTS = 3


class _Recorder:
    """Moves the hand along straight lines, and records what sensors report."""

    def __init__(self, robot: RobotModel, hidden: HiddenReality, seed: int, place: Sequence[float]):
        self.robot, self.arm = robot, MujocoArm(robot, (), hidden, "push")
        self.arm.model.opt.cone = mujoco.mjtCone.mjCONE_ELLIPTIC  # a pyramid's coefficient is up to 8 % less than said
        self.arm.model.opt.impratio = 10.0
        self.arm.place((float(place[0]), float(place[1])), seed)
        position, _ = self.arm.scene.pose("object")
        self.arm.scene.place("object", position)  # square to the fingers
        self.rng = np.random.default_rng(seed)
        self.q = np.array(robot.home)
        self.R, self.p = robot.chain.pose(self.q)
        self.targets: list[tuple[np.ndarray, float]] = []
        self.rows: list[tuple] = []

    def step(self, q: np.ndarray, opening: float) -> None:
        """Send one command and read all sensors."""
        n, arm = len(q), self.arm
        reading = arm.read()
        tau = reading.tau[:n] + TORQUE_NOISE * np.array(self.robot.limits.tau) * self.rng.standard_normal(n)
        assert self.robot.gripper is not None
        gap = self.robot.gripper.opening_at(reading.q[n:].tolist()) + 1e-4 * self.rng.standard_normal()
        seen = arm.scene.pose("object")[0] + PLACE_NOISE * self.rng.standard_normal(3)
        self.rows.append((reading.q[:n], reading.dq[:n], tau, gap, seen))
        self.targets.append((q, opening))
        arm.command(q, (q - self.q) * RATE_HZ)
        arm.grip(opening)
        arm.advance(1 / RATE_HZ)
        self.q = q

    def go(self, goal: Sequence[float], opening: float, speed: float = FAST) -> None:
        """Move the hand straight to `goal` [m] at `speed` [m/s], slow at both ends."""
        start, goal = self.p, np.array(goal, float)
        duration = max(float(np.linalg.norm(goal - start)) / speed, 0.1) + RAMP
        for t in np.arange(1 / RATE_HZ, duration + 1e-9, 1 / RATE_HZ):
            self.p = start + _share(t, duration) * (goal - start)
            self.step(self.robot.chain.inverse(self.q, self.p, self.R, tolerance=1e-5), opening)

    def wait(self, seconds: float, opening: float) -> None:
        """Stand still."""
        for _ in range(round(seconds * RATE_HZ)):
            self.step(self.q, opening)

    def log(self, name: str) -> ContactLog:
        """Return the recording."""
        q, dq, tau, gap, seen = (np.array(column) for column in zip(*self.rows))
        t = np.arange(len(q)) / RATE_HZ
        command = np.array([target for target, _ in self.targets])
        log = JointLog(name, self.robot.joint_names, t, command, t, q, dq, tau)
        return ContactLog(log, gap, t[::SEEN_EVERY], seen[::SEEN_EVERY])


RAMP = 0.3
"""From rest to full speed, and back [s]."""


def _share(t: float, duration: float) -> float:
    """Return the share of a way that is done at `t`, with speeds that grow and fall over `RAMP`."""
    full = 1.0 / (duration - RAMP)
    if t < RAMP:
        return 0.5 * full * t * t / RAMP
    if t > duration - RAMP:
        return 1.0 - 0.5 * full * max(duration - t, 0.0) ** 2 / RAMP
    return full * (t - 0.5 * RAMP)


def contact_logs(mass: float, friction: float, size: float, seed: int) -> list[ContactLog]:
    """Return the recordings of one object: pushed there and back, lifted, and the same motion without it."""
    robot = load_robot("franka_panda")
    assert robot.gripper is not None
    scene = replace(HiddenReality().scene, object_mass=mass, object_friction=friction, object_size=size)
    hidden = replace(HiddenReality(), scene=scene)
    opened, closed = robot.gripper.opened, robot.gripper.closed
    with_it = _Recorder(robot, hidden, seed, PLACE)
    low, gap = max(0.5 * size, 0.015), size / 2 + HALF_FINGER + 0.02
    for sign in (1.0, -1.0, 1.0, -1.0):  # from behind, and back
        x, y, _ = with_it.arm.scene.pose("object")[0]
        with_it.go((x - sign * gap, y, HIGH), closed)
        with_it.go((x - sign * gap, y, low), closed)
        with_it.go((x - sign * gap + sign * (PUSH + 0.02), y, low), closed, SLOW)
        with_it.go((x - sign * gap + sign * PUSH, y, low), closed, SLOW)
        with_it.go((x - sign * gap + sign * PUSH, y, HIGH), closed)
    x, y, _ = with_it.arm.scene.pose("object")[0]
    with_it.go((x, y, HIGH), opened)
    with_it.go((x, y, low), opened)
    with_it.wait(0.6, closed)
    for _ in range(LIFTS):
        with_it.go((x, y, HIGH + 0.05), closed)
        with_it.go((x - 0.05, y + 0.10, HIGH), closed)
        with_it.go((x, y, low + 0.04), closed)
    with_it.go((x, y, low + 0.001), closed)
    with_it.wait(0.4, opened)
    with_it.go((x, y, HIGH), opened)
    alone = _Recorder(robot, hidden, seed + 1_000_000, AWAY)
    for q, opening in with_it.targets:
        alone.step(q, opening)
    return [with_it.log("with"), alone.log("without")]


def draw_object(seed: int) -> tuple[float, float, float]:
    """Return mass [kg], friction and edge [m] of a hidden object."""
    rng = np.random.default_rng(seed)
    mass = float(np.exp(rng.uniform(*np.log(MASSES))))
    return mass, float(rng.uniform(*FRICTIONS)), float(rng.uniform(*SIZES))


def contact(quick: bool, calibrate: bool) -> dict:
    """Identify the hidden objects and return the figures; with `calibrate` other objects, and the widening factors."""
    robot = load_robot("franka_panda")
    seeds = list(CALIBRATION if calibrate else SEEDS)
    rows: list[Row] = []
    for seed in seeds[:3] if quick else seeds:
        mass, friction, size = draw_object(seed)
        logs = contact_logs(mass, friction, size, seed)
        found = identify_object(robot, logs, widening=(1.0, 1.0)) if calibrate else identify_object(robot, logs)
        rows.append((mass, friction, found))
        print(f"  object {seed}: mass {mass:.3f} kg, friction {friction:.2f}, edge {1e3 * size:.0f} mm")
        for each in found.estimates:
            print(f"    {each.text()}", flush=True)
    return _factors(rows) if calibrate else _figures(rows)


Row = tuple[float, float, ObjectIdentification]
"""True mass and friction of an object, and what was identified."""


def _told(rows: Sequence[Row], name: str) -> list[tuple[ObjectEstimate, float]]:
    """Return the estimates of a quantity where it is determined, each with the truth."""
    pairs = [(found.mass, mass) if name == "object_mass" else (found.friction, mu) for mass, mu, found in rows]
    return [(estimate, truth) for estimate, truth in pairs if estimate.told]


def _figures(rows: Sequence[Row]) -> dict:
    figures: dict = {"contact_objects": len(rows)}
    for name in ("object_mass", "object_friction"):
        told = _told(rows, name)
        relative = np.array([abs(each.value - truth) / truth for each, truth in told])
        inside = sum(each.low <= truth <= each.high for each, truth in told)
        width = np.array([(each.high - each.low) / each.value for each, _ in told])
        short = name.removeprefix("object_")
        figures[f"contact_{short}_told"] = len(told) / len(rows)
        if not told:
            continue
        rate = wilson(inside, len(told))
        figures |= {
            f"contact_{short}_error": float(np.median(relative)),
            f"contact_{short}_error_p90": float(np.quantile(relative, 0.9)),
            f"contact_{short}_width": float(np.median(width)),
            f"contact_{short}_in_90": rate.estimate,
            f"contact_{short}_in_90_95": [rate.low, rate.high],
        }
        print(
            f"contact, {name}: told of {len(told)} of {len(rows)} objects; error median "
            f"{100 * np.median(relative):.1f} %, 90 % within {100 * np.quantile(relative, 0.9):.1f} %; truth in the "
            f"90 % interval {inside} of {len(told)} [{100 * rate.low:.0f}, {100 * rate.high:.0f}] %; the interval is "
            f"{100 * np.median(width):.0f} % of the value wide (median)"
        )
    return figures


def _factors(rows: Sequence[Row]) -> dict:
    """Factors on the standard deviations with which 90 % of the truths lie inside (conformal scores)."""
    found = {}
    for name in ("object_mass", "object_friction"):
        scores = []
        for each, truth in _told(rows, name):
            half = each.high - each.value if truth > each.value else each.value - each.low
            scores.append(abs(each.value - truth) / half)
        rank = min(int(np.ceil(0.9 * (len(scores) + 1))), len(scores))
        found[name] = round(float(np.sort(scores)[rank - 1]), 2)
        print(f"  {name:16} {found[name]:5.2f}  ({len(scores)} objects)")
    return {"contact_widening": found}
