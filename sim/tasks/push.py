"""Push: move a cube on the table to a mark, without grasping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import numpy as np

from robots.model import RobotModel
from robots.specs import ActionSpec
from sim.randomization.parameters import Param, U
from sim.scene import RigidBody, box
from sim.tasks.motion import FINGER_SLANT, FINGERTIP, funnel, move, rise_first
from sim.tasks.places import sample_turn, sample_xy_apart
from sim.tasks.recipe import LOCATED, StateRecipe
from sim.tasks.state_samples import StateSample, anywhere, choose, joints_near
from sim.tasks.task import GOAL, OBJECT_POSE, Scene, Task, cube_size, distance, material

X_RANGE = (0.40, 0.60)
Y_RANGE = (-0.16, 0.16)
TOLERANCE = 0.03
MARK = 0.10
"""Edge of the mark [m]: as that of the pad for placing, so that some of it is seen while the cube stands on it."""
PUSH_STATES = {"behind": 0.45, "absent": 0.1, "way": 0.3, "anywhere": 0.15}
"""Shares of the hand's positions in `sample_state`: low behind the cube, low behind a place without one, on the way to
either, anywhere. Without `absent`, a policy learns to take the cube to be near the hand."""


class PushExpert(NamedTuple):
    """How an expert pushes."""

    above: float
    """How high over the cube's middle the hand still pushes [m]."""
    drift: float
    """How far aside the cube may be, in halves of its edge, before the expert starts over."""
    steering: float
    """Gain of the correction against that."""
    by_hand: bool
    """Whether the hand's position, which is measured, decides how far to push, not the cube's estimate."""
    done: float
    """Remaining way at which the expert stops [m], the cube's or, if `by_hand`, the hand's."""
    creep: float
    """Step beyond the remaining way [m], without which the cube would not arrive."""
    again: float
    """Distance from the mark at which a hand that has gone up comes down again [m]."""
    behind: float
    """Gap to the cube's corner when the hand comes down behind it [m]."""
    rise: float
    """How high over the cube's middle the hand goes at the end [m]; 0 to stay where it is."""
    half: float | None
    """Half of the cube's edge [m]; None for the true one."""


EXACT = PushExpert(
    above=0.012,
    drift=0.6,
    steering=1.5,
    by_hand=False,
    done=0.008,
    creep=0.012,
    again=0.008,
    behind=0.015,
    rise=0.0,
    half=None,
)
EASY = PushExpert(
    above=0.03,
    drift=2.0,
    steering=1.0,
    by_hand=True,
    done=0.004,
    creep=0.006,
    again=0.012,
    behind=0.025,
    rise=0.14,
    half=0.024,
)
"""For estimated positions that are 8 mm an axis off. From 8 cm over the cube two cameras locate it to 0.8 cm, from 5 to
8 cm to 1.4, hence `rise`."""
TOUCH = 0.005
"""Mean distance that a cube's turn adds to half its edge, between its middle and a finger [m]."""
CLOSE_BY = 0.04
"""Distance from the mark [m] within which the way is blended from the cube's estimate to the hand's position."""


class Push(Task):
    """Success: the cube's centre within 3 cm of the mark's, for 0.5 s.

    It stays a box under `full`: the fingers tip upright cylinders over.
    """

    name = "push"
    action = ActionSpec("ee_delta", ("x", "y", "z"), (0.032, 0.032, 0.032), rate_hz=25.0)
    workspace = (X_RANGE, Y_RANGE, (0.02, 0.15))
    time_limit = 8.0
    hold_time = 0.5
    physics_hz = 150.0
    needs_gripper = True  # it pushes with closed fingers
    opening = 0.0
    landmarks = ("object", "mark")
    moves_object = True
    named = ("object",)
    success_radius = TOLERANCE
    params = (
        # *U(0.85, 1.15)
        Param("object_aspect", 1.0, "*", U(0.85, 1.15), "", "dynamics", "Its height over its width.", positive=True),
        # =U(0.04, 0.055)
        Param("object_size", 0.045, "=", U(0.04, 0.055), "m", "dynamics", "Edge of the cube.", positive=True),
    )
    observations: ClassVar = {
        "state": ("q", "dq", "ee_pos", "object_pos", "object_quat", "goal"),
        "robot": ("q", "dq", "ee_pos"),
    }
    privileged = (*OBJECT_POSE, GOAL)
    recipes: ClassVar = {
        "franka_panda": StateRecipe(
            rounds=12, round_steps=300, linger=0.5, gradient_steps=2_000, last_gradient_steps=8_000, batch=256
        )
    }

    perception: ClassVar = LOCATED

    def bodies(self, parameters: Mapping[str, float]) -> tuple[RigidBody, ...]:
        """A cube, and a mark that nothing touches."""
        cube = box(
            "object",
            cube_size(parameters),
            **material(parameters),
            colour=(0.85, 0.15, 0.12),
        )
        return cube, box("mark", (MARK, MARK, 0.001), solid=False, colour=(0.10, 0.55, 0.25))

    def reset(self, scene: Scene, parameters: Mapping[str, float], rng: np.random.Generator) -> None:
        """Put both somewhere, at least 0.1 m apart, the cube turned anyhow."""
        self._half = parameters["object_size"] / 2
        xy = sample_xy_apart(rng, *self.workspace[:2], self.gap, 2)
        height = scene.table_height + cube_size(parameters)[2] / 2
        scene.place("object", (*xy[0], height), sample_turn(rng))
        scene.place("mark", (*xy[1], scene.table_height + 0.0005))
        self._goal = np.array([*xy[1], height])

    def desired_goal(self, scene: Scene) -> np.ndarray:
        """Centre of a cube that stands on the mark (3,) [m]."""
        return self._goal

    def state(self, scene: Scene) -> dict[str, np.ndarray]:
        """The cube's pose and the goal."""
        position, quat = scene.pose("object")
        return {"object_pos": position, "object_quat": quat, "goal": self._goal}

    def landmark_places(self, thing: np.ndarray, stood: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """The cube, and the mark on the table under the goal."""
        return np.array([thing, (*goal[:2], 0.0)])

    def is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Whether the cube is within 3 cm of the goal; leading dimensions are kept."""
        return distance(achieved, desired) < TOLERANCE

    def reward_terms(self, achieved: np.ndarray, desired: np.ndarray) -> dict[str, np.ndarray]:
        """The cube's distance from the goal [m], and a term that is steep close to it."""
        d = distance(achieved, desired)
        return {"distance": -d, "precision": -0.5 * np.tanh(d / TOLERANCE)}

    def shaping_terms(self, scene: Scene) -> dict[str, float]:
        """Half the distance from the fingers to the point behind the cube [m], until it is there."""
        position = scene.pose("object")[0]
        if self.is_success(position, self._goal):
            return {"approach": 0.0}
        behind = self._behind(position, self._goal, self._half, EXACT.behind)
        return {"approach": -0.5 * float(distance(scene.ee_pos, behind))}

    def _behind(self, at: np.ndarray, goal: np.ndarray, half: float, clear: float) -> np.ndarray:
        """Where to push a cube of half edge `half` from, `at` to `goal`, `clear` of its corners (3,) [m]."""
        way = goal[:2] - at[:2]
        way /= max(np.linalg.norm(way), 1e-6)
        return np.array([*(at[:2] - way * (1.42 * half + FINGERTIP + clear)), at[2]])

    def expert(self, scene: Scene) -> np.ndarray:
        """Push by the true positions; see `expert_from`."""
        return self.expert_from(scene, scene.pose("object")[0], self._goal)

    def sample_state(
        self, scene: Scene, robot: RobotModel, parameters: Mapping[str, float], rng: np.random.Generator
    ) -> StateSample:
        """Draw a state of pushing, see `PUSH_STATES`; in six of ten the cube is placed around the mark."""
        goal = self.desired_goal(scene)
        at, quat = scene.pose("object")
        (x_low, x_high), (y_low, y_high) = self.workspace[:2]
        if rng.random() < 0.6:  # at any distance from the mark, on it as well
            angle, far = rng.uniform(-np.pi, np.pi), 0.25 * rng.random()
            xy = goal[:2] + far * np.array([np.cos(angle), np.sin(angle)])
            at = np.array([*np.clip(xy, (x_low - 0.05, y_low - 0.05), (x_high + 0.05, y_high + 0.05)), at[2]])
            scene.place("object", tuple(at), tuple(quat))
        kind = choose(PUSH_STATES, rng)
        pushed = at
        if kind == "absent" or (kind == "way" and rng.random() < 0.3):
            pushed = np.array([rng.uniform(x_low, x_high), rng.uniform(y_low, y_high), at[2]])
        way = goal[:2] - pushed[:2]
        ahead = way / max(float(np.linalg.norm(way)), 0.01)
        p = np.array([*(pushed[:2] - ahead * rng.uniform(0.02, 0.07)), at[2]])
        if kind == "way":
            p = scene.ee_pos + rng.random() * (p - scene.ee_pos) + rng.normal(0.0, 0.03, 3)
        elif kind == "anywhere":
            p = anywhere(robot, rng)
        else:
            p += rng.normal(0.0, (0.01, 0.01, 0.004)) + np.array([0.0, 0.0, rng.choice((0.0, 0.04 * rng.random()))])
        return StateSample(joints_near(robot, p, rng))

    def expert_from(self, scene: Scene, at: np.ndarray, goal: np.ndarray, held: bool | None = None) -> np.ndarray:
        """Come down behind the cube, push it straight at the mark, steer by its drift; start over when it slips.

        Where it need not be exact, it starts over less readily, because an estimated drift is often an error of the
        estimate and starting over takes two seconds; it stops by the hand's position; and it goes up from a cube
        that is on the mark, because a camera locates the cube better without the hand beside it.
        """
        how = EXACT if self.exact else EASY
        half = self._half if how.half is None else how.half
        hand = scene.ee_pos
        low = hand[2] < at[2] + how.above
        left = float(distance(at[:2], goal[:2]))
        seen = min(1.0, left / CLOSE_BY) if how.by_hand else 1.0
        way = goal[:2] - seen * at[:2] - (1.0 - seen) * hand[:2]
        ahead = way / max(float(np.hypot(*way)), 1e-6)
        side = np.array([-ahead[1], ahead[0]])
        to_cube = at[:2] - hand[:2]
        gap, drift = float(to_cube @ ahead), float(to_cube @ side)
        astray = abs(drift) >= how.drift * half
        touching = half + FINGERTIP + FINGER_SLANT * abs(float(ahead[1])) + TOUCH
        rest = float((goal[:2] - hand[:2]) @ ahead) - touching if how.by_hand else left
        arrived = rest < how.done and not (how.by_hand and astray)
        if (low and arrived) or (not low and left < how.again):
            up = max(0.0, at[2] + how.rise - hand[2]) if how.rise > 0 else 0.0
            return move(self.action, np.array([0.0, 0.0, up]))
        if low and 0 < gap < 2.5 * half + 0.04 and not astray:
            speed = min(0.05, max(rest, 0.0) + how.creep)
            step = ahead * speed + side * how.steering * drift
            return move(self.action, np.array([*step, at[2] - hand[2]]), limit=0.5)
        behind = self._behind(at, goal, half, how.behind) - hand
        aside = float(np.hypot(*behind[:2]))
        up = at[2] + (half + 0.05) * funnel(aside - 0.008) - hand[2]
        return move(self.action, np.array([*(rise_first(up) * behind[:2]), up]))
