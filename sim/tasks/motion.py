"""How scripted experts move: steps towards a point, square alignment with a cube, picking a cube up."""

from __future__ import annotations

import math

import numpy as np

from robots.specs import ActionSpec
from sim.tasks.task import Scene

GAIN = 0.15
"""Share of the remaining way that one action asks for. Two actions' delay, lag and a slow joint controller add up to
0.2 s under `full`: at 25 actions a second 0.4 circles the goal, 0.15 keeps a phase margin of 47°."""
OPEN, CLOSE = 1.0, -1.0
"""Values of an action's `gripper` element."""
HOVER = 0.08
"""How far above a cube the fingers wait while they move over it [m]."""
LOWER = 0.005
"""How far under a cube's middle the fingers grasp it where they need not be exact [m]: fingers that close too high, by
an estimate that is 6 mm off, close on nothing."""

FINGERTIP = 0.012
"""Half the width of the Panda's closed fingers along x [m]."""
FINGER_SLANT = 0.0095
"""By how much more they extend along y, where a cube's upper edge meets them [m]: their outer sides slant, from 15 mm
aside at the tips to 25 mm over a cube."""
FREE = 0.004
"""Gap that is left between a fixed jaw and a cube that is as far off as the fingers still close on [m]."""
AHEAD = 0.004
"""How far a single moving jaw is commanded ahead of where it is, until it touches a cube [m]."""
TOUCHING = 0.003
"""By how much the opening of fingers on a cube may be more than half of it [m]."""
LEFT = 0.006
"""Gap between a fixed jaw and a cube that it has let go, before the hand rises [m]."""
NOTHING = 0.6
"""Share of a cube's half edge up to which a finger that has closed that far holds nothing."""


def move(
    spec: ActionSpec,
    step: np.ndarray,
    yaw: float = 0.0,
    gripper: float = OPEN,
    limit: float = 1.0,
    gain: float = GAIN,
) -> np.ndarray:
    """Return the action (float32) that goes a share `gain` of `step` (3,) [m] and `yaw` [rad], at most `limit`."""
    action = np.zeros(spec.size, np.float32)
    scaled = gain * step / np.array(spec.scale[:3])
    action[:3] = scaled * min(1.0, limit / max(np.abs(scaled).max(), 1e-9))
    if "yaw" in spec.names:
        index = spec.names.index("yaw")
        action[index] = np.clip(gain * yaw / spec.scale[index], -1.0, 1.0)
    if spec.names[-1] == "gripper":
        action[-1] = gripper
    return action


def yaw_of(quat: np.ndarray) -> float:
    """Rotation about z [rad] of a quaternion xyzw."""
    x, y, z, w = quat
    return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def square_turn(scene: Scene, quat: np.ndarray) -> float:
    """Smallest turn [rad] that sets the fingers square to a cube's sides."""
    angle = yaw_of(quat) - scene.ee_yaw
    quarter = math.pi / 2
    turn = (angle + quarter / 2) % quarter - quarter / 2
    if abs(scene.ee_yaw + turn) > math.pi / 3:  # rather a quarter turn the other way than the wrist's end
        turn -= math.copysign(quarter, scene.ee_yaw + turn)
    return turn


def is_held(scene: Scene, position: np.ndarray, quat: np.ndarray, half: float) -> bool:
    """Whether the fingers have closed on a cube of half edge `half` [m] at `position`, turned by `quat` (xyzw).

    One that is not square to them is wider.
    """
    turn = yaw_of(quat) - scene.ee_yaw
    width = half * (abs(math.cos(turn)) + abs(math.sin(turn)))
    away = position - scene.between(scene.opening)
    return NOTHING * half < scene.opening < width + TOUCHING and float(np.abs(away).max()) < 0.02


def way_to_grasp(scene: Scene, position: np.ndarray, half: float, clear: float) -> np.ndarray:
    """Return the way (3,) [m] of the hand that brings a cube at `position`, of half edge `half` [m], between the jaws:
    midway, where both move. A fixed jaw stays `clear` [m] away from it until the other one closes.
    """
    return position - scene.between(min(max(scene.opening, half), half + clear))


def closing(scene: Scene, half: float) -> float:
    """Return the `gripper` element that closes on a cube of half edge `half` [m]: at once, where both jaws move.

    A single moving jaw closes as fast as the hand can follow to keep the cube midway: else it meets the cube first and
    pushes it away.
    """
    gripper = scene.robot.gripper
    if gripper is None or gripper.centred is None or scene.opening < half + TOUCHING:
        return CLOSE
    return max(CLOSE, 2.0 * gripper.share(scene.opening - AHEAD) - 1.0)


def funnel(aside: float) -> float:
    """Share of the full height to keep `aside` [m] of the way down: 0 over it, 1 from 4 cm on.

    Continuous, because a policy that imitates a switch between the two hovers at it.
    """
    return min(1.0, max(0.0, aside / 0.04))


def rise_first(up: float) -> float:
    """Share of the way aside to take while `up` [m] are left to rise: none from 5 cm on."""
    return min(1.0, max(0.0, (0.05 - up) / 0.03))


def leave(scene: Scene, position: np.ndarray, half: float) -> np.ndarray:
    """Return the horizontal way (3,) [m] that takes a fixed jaw `LEFT` away from a cube that has been let go, before
    the hand rises; 0 where both jaws move.
    """
    jaw = scene.between(1.0) - scene.between(0.0)
    away = min(float((position - scene.between(half)) @ jaw) - LEFT, 0.0) * jaw
    return np.array([away[0], away[1], 0.0])


def pick(
    spec: ActionSpec, scene: Scene, position: np.ndarray, quat: np.ndarray, half: float, exact: bool = True
) -> np.ndarray:
    """Return the action that comes closer to holding a cube at `position`, turned by `quat` (xyzw): over it, square to
    it, down, close. Fingers that have closed on nothing go up and open, because the estimate was wrong.

    If it need not be `exact`, the hand keeps its turn, and the closing fingers turn the cube. They also close from
    further aside, and lower: a policy that imitates this from images, 7 mm off, would wait for less in vain.
    """
    close = 0.008 if exact else 0.013
    way = way_to_grasp(scene, position, half, close + FREE)
    if not exact:
        way[2] -= LOWER
    aside = math.hypot(way[0], way[1])
    turn = square_turn(scene, quat) if exact else 0.0
    wanted = HOVER * funnel(max(aside - close, 0.1 * (abs(turn) - 0.1)))
    if wanted > 0.0 or way[2] < -close:
        up = way[2] + wanted
        return move(spec, np.array([*(rise_first(up) * way[:2]), up]), turn, OPEN, limit=0.6 if wanted == 0 else 1.0)
    if scene.opening < NOTHING * half:
        return move(spec, np.array([0.0, 0.0, HOVER]), 0.0, OPEN)
    return move(spec, way, 0.0, closing(scene, half))


def carry(spec: ActionSpec, scene: Scene, position: np.ndarray, goal: np.ndarray, lift: float) -> np.ndarray:
    """Return the action that brings what is held from `position` over `goal` at height `lift` [m] above, then down."""
    way = goal - position
    aside = math.hypot(way[0], way[1])
    up = way[2] + lift * funnel(aside - 0.01)
    return move(spec, np.array([*(rise_first(up) * way[:2]), up]), gripper=CLOSE, limit=0.6)
