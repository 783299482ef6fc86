"""What a task is: a scene, a goal, named reward terms, success, an expert and a state sampler, in one file.

Importing this needs no PyBullet: a task also runs in any other engine that offers a `Scene`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypedDict

import numpy as np

from robots.arms.reach import ReachMap, reach_map
from robots.camera import CameraModel
from robots.model import RobotModel
from robots.rig import AREA, RIGS, Rig, area_scale, load_rig
from robots.specs import ActionSpec, ArraySpec, SpecError
from sim.randomization.parameters import Param
from sim.scene import RigidBody, Shape, Vector
from sim.tasks.recipe import PerceptionRecipe, StateRecipe
from sim.tasks.state_samples import StateSample, sample_approach

GOAL = ArraySpec("goal", (3,), low=-2.0, high=2.0, unit="m", frame="base")
"""The array of a goal that is a point."""
OBJECT_POSE = (
    ArraySpec("object_pos", (3,), low=-10.0, high=10.0, unit="m", frame="base"),
    ArraySpec("object_quat", (4,), low=-1.001, high=1.001, frame="base"),
)
"""The arrays of where an object is and how it is turned; the bounds hold wherever it falls."""

CAMERAS = "cameras"
"""The observation of every task that holds the images of the rig's cameras, after what is `measured` and the
calibration of cameras that have a range of poses."""
DEFAULT_RIG = "front_side"
"""The rig where none is named."""
STRICT = 0.025
"""Distance from the goal that still counts as success where success is judged strictly [m]."""


class Scene(Protocol):
    """What a task reads and places; implemented by the PyBullet world and the MuJoCo virtual arm."""

    @property
    def table_height(self) -> float:
        """Height of the table's top [m]."""

    @property
    def ee_pos(self) -> np.ndarray:
        """(3,) true position of the end effector [m], base frame."""

    @property
    def ee_R(self) -> np.ndarray:
        """(3, 3) true rotation of the end effector in the base frame."""

    @property
    def robot(self) -> RobotModel:
        """The arm."""

    @property
    def opening(self) -> float:
        """Mean finger position [m]."""

    @property
    def ee_yaw(self) -> float:
        """How far the end effector is turned from home about the base's z [rad]."""

    def between(self, opening: float) -> np.ndarray:
        """Return the point (3,) that is midway between the fingers when they stand at `opening` [m], base frame [m]."""

    def place(self, name: str, position: Vector, quat: Vector = ...) -> None:
        """Put a body's origin at `position` [m] with orientation `quat` (xyzw), at rest."""

    def pose(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a body's origin (3,) [m] and orientation (4,) xyzw in the base frame."""

    def velocity(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a body's linear (3,) [m/s] and angular (3,) [rad/s] velocity."""

    def touching(self, name: str) -> bool:
        """Whether the arm touches a body."""


class ShiftedScene:
    """A scene in which some bodies seem to stand elsewhere; for experts that act on estimates."""

    def __init__(self, scene: Scene, names: Sequence[str], shift: np.ndarray):
        """Shift the bodies `names` of `scene` by `shift` (3,) [m]."""
        self._scene, self._names, self._shift = scene, names, shift

    def pose(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """As `Scene.pose`."""
        position, quat = self._scene.pose(name)
        return (position + self._shift if name in self._names else position), quat

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scene, name)


class Task(ABC):
    """One task. An instance belongs to one environment, and may keep what an episode needs."""

    name: ClassVar[str] = ""
    """Name in `TASKS`, on the command line and in manifests; of a task in a file, `load_task` sets `FILE.py:CLASS`."""
    action: ClassVar[ActionSpec]
    """What a policy commands."""
    cameras: tuple[CameraModel, ...] = tuple(make(AREA) for make in RIGS[DEFAULT_RIG])
    """What policies take of each camera's image; `fit` sets them to those of a rig."""
    time_limit: ClassVar[float]
    """Length of an episode [s], after which it is truncated."""
    hold_time: ClassVar[float] = 0.5
    """How long success must last [s]."""
    physics_hz: ClassVar[float] = 240.0
    """Physics ticks a second, a multiple of the action rate: what the task's contacts need."""
    workspace: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    """Smallest and largest x, y, z that the end effector must reach [m]; objects stand within its x and y."""
    params: ClassVar[tuple[Param, ...]] = ()
    """Parameters that only this task has, or ranges of common ones that it narrows."""
    observations: ClassVar[Mapping[str, tuple[str, ...]]]
    """Named sets of arrays that a policy can be given, beside `CAMERAS`."""
    measured: ClassVar[tuple[str, ...]] = ("q",)
    """What a camera policy is given beside the images."""
    privileged: ClassVar[tuple[ArraySpec, ...]] = (GOAL,)
    """Arrays of `state` that only simulation has."""
    recipes: ClassVar[Mapping[str, StateRecipe]] = {}
    """How a policy learns the task from state, by the arm that the recipe was tuned for."""

    perception: ClassVar[PerceptionRecipe] = PerceptionRecipe()
    """How a camera policy learns to locate what the task is about."""

    needs_gripper: ClassVar[bool] = False
    """Whether the arm must be able to grasp."""
    landmarks: ClassVar[tuple[str, ...]] = ("object",)
    """Bodies that a camera policy must locate; they always have a strong colour."""
    hues: ClassVar[Mapping[str, float]] = {}
    """How much of the colour circle, around its nominal hue, a landmark's hue varies over, from 0 to 1, where the hue
    tells which of two like ones it is; others have any hue."""
    named: ClassVar[tuple[str, ...]] = ()
    """Bodies that can be asked for by colour among several things, the handled one first; see `several_things`."""
    movable: ClassVar[tuple[str, ...]] = ("object",)
    """Bodies that may fall off the table."""
    moves_object: ClassVar[bool] = False
    """Whether the goal is the object's; otherwise it is the end effector's."""
    held_at_start: ClassVar[bool] = False
    """Whether an episode begins with the object between the fingers."""
    gap: ClassVar[float] = 0.10
    """Least distance between the object and where it goes when an episode begins [m]."""
    placed_body: ClassVar[str] = "object"
    """Body that the operator of a session places."""
    single_object: ClassVar[bool] = False
    """Whether the object stands alone, so that a session may place it anywhere in the workspace."""
    success_radius: ClassVar[float | None] = None
    """Distance to the goal that counts as success [m]; None where success is not one distance."""
    goal_size: ClassVar[int] = 3
    """Length of the goals."""

    sized: ClassVar[bool] = False
    """Whether what it handles is as much smaller as the table area of a small arm."""
    scale: float = 1.0
    """Factor of the lengths in `params` and of `gap`, which `fit` sets for an arm, if the task is `sized`."""

    reach: ReachMap | None = None
    """Where in the workspace the arm grasps, where it must: `fit` computes it, and places are drawn there."""

    exact: bool = True
    """Whether the expert relies on millimetres and on how an object is turned; False where the policy that imitates it
    locates objects to a centimetre, and not their turn."""
    exact_arrays: ClassVar[tuple[str, ...]] = ("object_quat",)
    """Arrays of the state that only an exact expert needs."""
    opening: ClassVar[float | None] = None
    """Finger position at the start [m], from where the fingers then close unless the action has a `gripper`;
    None for fingers that start, and stay, open."""

    expert_gains: ClassVar[tuple[float, ...]] = ()
    """Factors of the expert's gain to choose from in a parameter space; none where the gain is fixed."""
    expert_gain: float = 1.0
    """The factor that this instance's expert uses."""

    def fit(self, robot: RobotModel, rig: str | Rig | None = None) -> None:
        """Lay the workspace out for `robot`, by its table area if it states one, and set up its cameras.

        Args:
            robot: the arm.
            rig: its cameras: a named rig or file, see `load_rig`; None for those that the task has already.

        Raises:
            SpecError: if the arm's home is inside the table, or there is no such rig.
        """
        height = float(robot.chain.pose(np.array(robot.home))[1][2])
        if height <= 0:
            raise SpecError(
                f"at home the hand of robot '{robot.name}' is at z = {height:.3f} m, inside the table, whose top is at "
                "0; choose a home above the table"
            )
        if robot.table_area is not None:
            self.workspace = (*robot.table_area, self.workspace[2])
            self.scale = min(1.0, area_scale(robot.table_area)) if self.sized else 1.0
        self.reach = reach_map(robot, (self.workspace[0], self.workspace[1])) if self.needs_gripper else None
        if rig is not None or (type(self).cameras is Task.cameras and "cameras" not in vars(self)):
            self.cameras = load_rig(rig or robot.rig or DEFAULT_RIG, robot).cameras

    def arrays(self, observation: str | Sequence[str]) -> tuple[str, ...]:
        """Return the names of the arrays of an observation: `CAMERAS`, one of `observations`, or such names.

        Raises:
            SpecError: for an unknown observation, with the known ones.
        """
        if not isinstance(observation, str):
            return tuple(observation)
        if observation == CAMERAS:
            calibrations = (f"calibration_{camera.name}" for camera in self.cameras if camera.pose_range is not None)
            return (*self.measured, *calibrations, *(f"image_{camera.name}" for camera in self.cameras))
        if observation not in self.observations:
            known = ", ".join((*self.observations, CAMERAS))
            raise SpecError(f"task '{self.name}': unknown observation '{observation}'; known are {known}")
        return self.observations[observation]

    @abstractmethod
    def bodies(self, parameters: Mapping[str, float]) -> tuple[RigidBody, ...]:
        """Describe what stands on the table."""

    @abstractmethod
    def reset(self, scene: Scene, parameters: Mapping[str, float], rng: np.random.Generator) -> None:
        """Place every body and draw the goal; the arm already stands where it starts."""

    def refresh(self, scene: Scene) -> None:  # noqa: B027 - most tasks keep nothing
        """Read poses anew that `reset` has kept, after bodies were placed elsewhere."""

    @abstractmethod
    def desired_goal(self, scene: Scene) -> np.ndarray:
        """Return where the object, or the end effector, should get to."""

    def achieved_goal(self, scene: Scene) -> np.ndarray:
        """Return where it is; by default the centre (3,) [m] of the object if the task moves it, else the hand's."""
        return scene.pose("object")[0] if self.moves_object else scene.ee_pos

    def state(self, scene: Scene) -> dict[str, np.ndarray]:
        """Return the arrays of `privileged`, by name; by default the goal."""
        return {GOAL.name: self.desired_goal(scene)}

    @abstractmethod
    def is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Whether achieved goals (..., n) count as the desired ones (..., n); returns (...)."""

    def is_strict_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Whether achieved goals (..., n) count as the desired ones where success is strict: within `STRICT`."""
        return self.is_success(achieved, desired) & (distance(achieved, desired) < STRICT)

    @abstractmethod
    def reward_terms(self, achieved: np.ndarray, desired: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the terms whose sum is the dense reward, each (...), from goals (..., n); at most 0 in sum."""

    def shaping_terms(self, scene: Scene) -> dict[str, float]:
        """Compute further terms of the dense reward, which depend on more than the goals; at most 0 in sum."""
        return {}

    def is_released(self, scene: Scene) -> bool:
        """Whether the arm has let go of the object, where success needs that."""
        return True

    def is_failure(self, scene: Scene) -> bool:
        """Whether something happened that ends the episode without success: by default, a body left the table."""
        return any(scene.pose(name)[0][2] < scene.table_height - 0.05 for name in self.movable)

    @abstractmethod
    def expert(self, scene: Scene) -> np.ndarray:
        """Return a normalised action (float32) that solves the task from the true state."""

    def expert_from(self, scene: Scene, at: np.ndarray, goal: np.ndarray, held: bool | None = None) -> np.ndarray:
        """Return the expert's action for estimates: the object is taken to be `at`, and to go to `goal`, (3,) [m] each.

        Whether the object is `held` is measured at the fingers, or, if None, decided by where it is.

        By default, for tasks that move no object, everything that is located stands as far off as the goal.

        Raises:
            SpecError: if the task moves an object and its expert takes no estimates.
        """
        if self.moves_object:
            raise SpecError(f"the expert of task '{self.name}' needs the true state, and takes no estimated positions")
        return self.expert(ShiftedScene(scene, self.landmarks, goal - self.desired_goal(scene)))

    def landmark_places(self, thing: np.ndarray, stood: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Return where `landmarks` are (K, 3) [m, base frame], by what a demonstration tells; NaN where it does not.

        By default the first one is what is handled, and nothing is known of others.

        Args:
            thing: (3,) centre of what is handled.
            stood: (3,) where that stood on the table at first.
            goal: (3,) where it, or the end effector, should get to.
        """
        return np.array([thing, *[np.full(3, np.nan)] * (len(self.landmarks) - 1)])

    @property
    def samples_states(self) -> bool:
        """Whether `sample_state` fits the task, so that labelled renders can be drawn."""
        return not self.moves_object or type(self).sample_state is not Task.sample_state

    def sample_state(
        self, scene: Scene, robot: RobotModel, parameters: Mapping[str, float], rng: np.random.Generator
    ) -> StateSample:
        """Draw a state of an episode, in a scene that has just been reset; may place the object where it is then.

        By default the arm is on its way to the goal, and nothing is moved.

        Raises:
            SpecError: for a task that moves an object and has no sampler of its own.
        """
        if self.moves_object:
            raise SpecError(f"task '{self.name}' moves an object, but has no sample_state to draw renders from")
        return StateSample(sample_approach(robot, scene.ee_pos, self.desired_goal(scene), rng))

    def validate(self) -> None:
        """Check the class attributes against what they mean.

        Raises:
            SpecError: naming the attribute, its value and what was expected.
        """
        for name in ("action", "time_limit", "workspace", "observations"):
            if not hasattr(self, name):
                raise SpecError(f"task '{self.name}' has no '{name}'; see sim.tasks.task.Task for what it is")
        for name in ("time_limit", "hold_time", "physics_hz"):
            if not getattr(self, name) > 0:
                raise SpecError(f"task '{self.name}': {name} is {getattr(self, name)}, expected a positive number")
        if len(self.workspace) != 3 or not all(low <= high for low, high in self.workspace):
            raise SpecError(
                f"task '{self.name}': workspace is {self.workspace}, expected smallest and largest x, y and z [m]"
            )
        if not self.observations:
            raise SpecError(f"task '{self.name}': observations are empty; expected names of arrays by observation")
        for recipe in self.recipes.values():
            recipe.validate()


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distance over the last dimension of (..., n), faster than np.linalg.norm, most of all for one point."""
    if getattr(a, "ndim", 0) == 1 and getattr(b, "ndim", 0) == 1:
        return np.float64(math.dist(a.tolist(), b.tolist()))  # a list's floats cost a seventh of an array's
    d = np.asarray(a) - b
    return np.sqrt((d * d).sum(axis=-1))


class Material(TypedDict):
    """Fields of a `RigidBody` that parameters vary."""

    mass: float
    friction: float
    rolling_friction: float
    spinning_friction: float
    restitution: float
    inertia_scale: float
    com: tuple[float, float, float]


def material(parameters: Mapping[str, float]) -> Material:
    """Return what the `object_…` parameters make of the object."""
    p = parameters
    edge = p.get("object_size", 0.0)  # a peg has none: its centre of mass is in its middle
    return {
        "mass": p["object_mass"],
        "friction": p["object_friction"],
        "rolling_friction": p["object_rolling"],
        "spinning_friction": p["object_spinning"],
        "restitution": p["object_restitution"],
        "inertia_scale": p["object_inertia"],
        "com": (edge * p["object_com_x"], edge * p["object_com_y"], edge * p["object_com_z"]),
    }


SHAPES = "0 box, 1 upright cylinder, 2 ball."


def manipulated_body(parameters: Mapping[str, float]) -> RigidBody:
    """Return the object: `object_shape` 0 a box, 1 an upright cylinder as wide and high, 2 a ball."""
    size = cube_size(parameters)
    shape: Shape = (
        Shape("box", size),
        Shape("cylinder", (size[0] / 2, size[2])),
        Shape("sphere", (size[0] / 2,)),
    )[round(parameters.get("object_shape", 0.0))]
    return RigidBody("object", (shape,), **material(parameters), colour=(0.85, 0.15, 0.12))


def cube_size(parameters: Mapping[str, float]) -> tuple[float, float, float]:
    """Return the width, depth and height of the object [m]; a ball is as high as it is wide."""
    edge = parameters["object_size"]
    round_all_over = round(parameters.get("object_shape", 0.0)) == 2
    return edge, edge, edge if round_all_over else edge * parameters.get("object_aspect", 1.0)
