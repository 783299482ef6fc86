"""Labelled renders to train image encoders on: independent random states, not frames of episodes.

Each render has its own arm pose, object, appearance and camera; neighbouring frames of an episode resemble each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from robots.kinematics import KinematicsError
from robots.model import RobotModel
from robots.observation import ASKED_COLOURS, CALIBRATION
from robots.rig import Rig
from robots.specs import SpecError
from sim.env import ArmEnv
from sim.randomization.parameters import ParameterSpace
from sim.sensing.simulated_cameras import RenderConfig
from sim.tasks import fitted_task
from sim.tasks.state_samples import StateSample
from sim.tasks.task import CAMERAS
from sim.workers.pool import Workers, in_order
from sim.workers.worker_cache import WorkerCache

CHUNK = 250
"""Renders in a batch for a worker."""
MOST_DRAWS = 100
"""Draws of a state until the arm reaches one."""


@dataclass(frozen=True)
class SampledState:
    """A random state, as the environment that holds it observes it."""

    observation: dict[str, np.ndarray]
    """The environment's observation."""
    points: np.ndarray
    """(K, 3) keypoints [m, base frame], see `landmarks`."""
    T_base_ee: np.ndarray
    """(4, 4) true pose of the end effector."""
    goal: np.ndarray
    """(3,) where the end effector, or the object, should get to [m, base frame]."""
    others: np.ndarray
    """(m, 3) things that are not asked for [m, base frame]."""

    @property
    def opening(self) -> np.ndarray:
        """(1,) finger position [m], as measured; zero where it is not observed."""
        return self.observation.get("opening", np.zeros(1))

    @property
    def asked(self) -> tuple[np.ndarray, ...]:
        """The colours (k, 3) that are asked for, in [0, 1]; nothing where they are not observed."""
        return (self.observation[ASKED_COLOURS],) if ASKED_COLOURS in self.observation else ()


@dataclass(frozen=True)
class StateLabels:
    """Labels of random states without images, float32."""

    q: np.ndarray
    """(N, n) joint positions [rad], as measured."""
    points: np.ndarray
    """(N, K, 3) keypoints [m, base frame]."""
    goal: np.ndarray
    """(N, 3) where the end effector, or the object, should get to [m, base frame]."""
    opening: np.ndarray
    """(N, 1) finger position [m], as measured; zero for a policy that does not measure it."""
    T_base_ee: np.ndarray
    """(N, 4, 4) true poses of the end effector."""

    def __len__(self) -> int:
        return len(self.q)


@dataclass(frozen=True)
class LabelledRenders:
    """Images of one camera with their labels."""

    images: np.ndarray
    """(N, H, W, 3) uint8."""
    q: np.ndarray
    """(N, n) float32 joint positions [rad], as measured."""
    points: np.ndarray
    """(N, K, 3) float32 keypoints [m, base frame]."""
    pixels: np.ndarray
    """(N, K, 2) float32 keypoints in the image, x and y; NaN behind the camera."""
    goal: np.ndarray
    """(N, 3) float32 where the end effector, or the object, should get to [m, base frame]."""
    opening: np.ndarray
    """(N, 1) float32 finger position [m], as measured; zero for an arm without a gripper."""
    calibration: np.ndarray | None = None
    """(N, 16) float32, see `CameraModel.calibration`; None for a camera that always stands in the same place."""
    asked: np.ndarray | None = None
    """(N, k, 3) float32 colours that are asked for, in [0, 1]; None for a task that is not about one of several."""
    others: np.ndarray | None = None
    """(N, m, 2) float32 the other things in the image, as `pixels`; None likewise."""

    def __len__(self) -> int:
        return len(self.q)

    def __getitem__(self, rows: slice | np.ndarray) -> LabelledRenders:
        return LabelledRenders(**{name: array[rows] for name, array in self._arrays.items()})

    @classmethod
    def joined(cls, parts: Sequence[LabelledRenders]) -> LabelledRenders:
        """Concatenate, in order; all of cameras that always stand in the same place, or none."""
        return cls(**{name: np.concatenate([part._arrays[name] for part in parts]) for name in parts[0]._arrays})

    @property
    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in arrays.items() if array is not None}


def sample_renders(
    task: str,
    robot: str,
    space: ParameterSpace,
    count: int,
    seed: int,
    workers: Workers,
    progress: Callable[[float], None] = lambda share: None,
    *,
    cameras: str | Rig | None = None,
    household: Path | None = None,
) -> tuple[LabelledRenders, ...]:
    """Draw `count` independent states of `task` under `space`; the same ones whatever the workers.

    Args:
        task: name of a task.
        robot: name of an arm.
        space: what varies.
        count: number of states.
        seed: of everything random.
        workers: processes that draw them.
        progress: called with the share that is done.
        cameras: the rig, as `ArmEnv` takes it.
        household: folder of meshes that stand about, see `RenderConfig`.

    Returns:
        Renders of each of the rig's cameras, in order; row i of all is of the same moment.
    """
    chunks = -(-count // CHUNK)
    seeds = np.random.SeedSequence(seed).generate_state(chunks).tolist()
    batches = [(task, robot, space, cameras, household, each) for each in seeds]
    parts = in_order(workers, draw_batch, batches, lambda done: progress(done / chunks))
    return tuple(LabelledRenders.joined(each)[:count] for each in zip(*parts))


def draw_renders(env: ArmEnv, count: int, seed: int) -> tuple[LabelledRenders, ...]:
    """Draw renders from one environment, of each image of its observation; row i of all shows the same state."""
    images = [array.name for array in env.observation_spec.arrays if array.is_image]
    shared, seen = [], []
    for state in sample_states(env, count, seed):
        shared.append((state.observation["q"], state.points, state.goal, state.opening, *state.asked))
        cameras = [env.camera(image.removeprefix("image_")) for image in images]
        pixels = [camera.project(state.points, state.T_base_ee) for camera in cameras]
        others = [camera.project(state.others, state.T_base_ee) if len(state.others) else None for camera in cameras]
        calibrations = [state.observation.get(f"{CALIBRATION}{camera.name}") for camera in cameras]
        seen.append(list(zip((state.observation[image] for image in images), pixels, calibrations, others)))
    q, points, goals, openings, *asked = (np.stack(column).astype(np.float32) for column in zip(*shared))
    return tuple(
        LabelledRenders(
            np.stack(images),
            q,
            points,
            np.stack(pixels).astype(np.float32),
            goals,
            openings,
            None if calibrations[0] is None else np.stack(calibrations),
            asked[0] if asked else None,
            None if others[0] is None else np.stack(others).astype(np.float32),
        )
        for images, pixels, calibrations, others in (zip(*column) for column in zip(*seen))
    )


def sample_states(env: ArmEnv, count: int, seed: int) -> Iterator[SampledState]:
    """Draw `count` independent states of the environment's task, each in a new episode, by the task's state sampler.

    While a state is yielded the environment holds it.
    """
    rng = np.random.default_rng(seed)
    env.begin(seed=seed)
    for _ in range(count):
        state = begin_state(env, rng)
        goal = env.task.desired_goal(env.world)
        observation = env.place_arm(state.q, state.opening)
        others = [env.world.pose(name)[0] for name in env.task.movable if name not in env.task.landmarks]
        yield SampledState(observation, *landmarks(env), goal, np.array(others).reshape(-1, 3))


def begin_state(env: ArmEnv, rng: np.random.Generator) -> StateSample:
    """Begin an episode and draw a state that the arm reaches; the caller places the arm.

    Raises:
        SpecError: if the arm reaches none of `MOST_DRAWS` states.
    """
    for _ in range(MOST_DRAWS):
        env.begin()
        try:
            return env.task.sample_state(env.world, env.robot, env.parameters, rng)
        except KinematicsError as error:
            reason = str(error)
    raise SpecError(
        f"task '{env.task.name}': robot '{env.robot.name}' reaches none of {MOST_DRAWS} states drawn for labelled "
        f"renders ({reason}); choose a table_area that it reaches"
    )


def sample_geometry(
    task: str, robot: RobotModel, space: ParameterSpace, count: int, seed: int, cameras: str | Rig | None = None
) -> StateLabels:
    """Draw labels of `count` independent states without images; arguments as in `sample_renders`."""
    env = ArmEnv(task, robot, space, fitted_task(task, robot, cameras).measured, cameras=cameras)
    rows = [
        (state.observation["q"], state.points, state.goal, state.opening, state.T_base_ee)
        for state in sample_states(env, count, seed)
    ]
    env.close()
    return StateLabels(*(np.stack(column).astype(np.float32) for column in zip(*rows)))


def landmarks(env: ArmEnv) -> tuple[np.ndarray, np.ndarray]:
    """Return the points (K, 3) [m] that a camera policy locates, and T_base_ee (4, 4).

    The task's bodies come first, then the arm's landmarks.
    """
    robot, world = env.robot, env.world
    poses = robot.link_poses(world.q, world.opening)
    arm = [poses[robot.tree.links.index(link), :3, 3] for link in robot.landmarks]
    bodies = [world.pose(name)[0] for name in env.task.landmarks]
    return np.array([*bodies, *arm]), poses[robot.tree.links.index(robot.ee_link)]


def draw_batch(
    task: str, robot: str, space: ParameterSpace, cameras: str | Rig | None, household: Path | None, seed: int
) -> tuple[LabelledRenders, ...]:
    """Draw `CHUNK` renders in a worker; see `sample_renders`."""
    return draw_renders(_environment((task, robot, space, cameras, household)), CHUNK, seed)


def _open(description: tuple[str, str, ParameterSpace, str | Rig | None, Path | None]) -> ArmEnv:
    task, robot, space, cameras, household = description
    return ArmEnv(task, robot, space, CAMERAS, cameras=cameras, rendering=RenderConfig(household=household))


_environment = WorkerCache(_open, ArmEnv.close)
