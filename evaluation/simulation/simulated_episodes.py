"""Episodes of a policy or of a task's scripted expert in simulation, written as a LeRobot data set."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from policies.bundle import PolicyBundle
from policies.bundle.provenance import provenance
from policies.training.progress import Progress
from robots.datasets.layout import (
    ACTION,
    CAMERA,
    DONE,
    EXPERT_ACTION,
    GRIPPER,
    OBSERVATION,
    POLICY_ACTION,
    REWARD,
    STATE,
    SUCCESS,
    TRUNCATED,
    About,
    DatasetError,
    DatasetFeature,
    joint_names,
    video_feature,
)
from robots.datasets.writer import Facts, write_dataset
from robots.registry import load_robot
from robots.rig import Rig, load_rig
from robots.specs import ActionSpec, SpecError
from sim.env import ArmEnv
from sim.randomization.parameters import ParameterSpace
from sim.tasks import load_task

IMAGE = "image_"


@dataclass(frozen=True)
class SimulatedEpisode:
    """One episode of N steps."""

    columns: dict[str, np.ndarray]
    """Arrays (N, …) by the data set's keys."""
    pictures: dict[str, list[np.ndarray]]
    """N pictures of each camera, by the data set's keys."""
    facts: Facts
    """Success, seed and length."""


class EpisodeRunner:
    """Runs episodes of one policy in one environment."""

    def __init__(
        self,
        task: str,
        robot: str,
        space: str | ParameterSpace = "full",
        bundle: PolicyBundle | None = None,
        cameras: str | Rig | None = None,
    ):
        """Open the environment.

        Args:
            task: name of the task, or the file and class of one.
            robot: name of the arm, or an arm file.
            space: what varies.
            bundle: the policy; None for the task's expert.
            cameras: rig whose pictures are taken; None for the policy's, or none.

        Raises:
            SpecError: if task, arm and policy do not fit.
        """
        rig: str | Rig | None = cameras
        if bundle is not None and bundle.cameras:
            if cameras is not None:
                raise SpecError(f"policy '{bundle.name}' observes its own cameras; leave --cameras out")
            rig = Rig(bundle.name, tuple(bundle.cameras.values()))
        self._bundle, chosen = bundle, load_task(task)
        if bundle is not None and (bundle.action != chosen.action):
            raise SpecError(f"policy '{bundle.name}' commands other actions than task '{task}' takes; train it again")
        vectors = dict.fromkeys((*chosen.observations["state"], "q", *(bundle.observation.names if bundle else ())))
        if GRIPPER in chosen.action.names:
            vectors["opening"] = None
        names = [name for name in vectors if not name.startswith(IMAGE)]
        model = load_robot(robot)
        self._views = [] if rig is None else [f"{IMAGE}{camera.name}" for camera in load_rig(rig, model).cameras]
        self.env = ArmEnv(chosen, model, space, (*names, *self._views), cameras=rig)
        self._extra = [name for name in names if name not in ("q", "opening" if GRIPPER in self.action.names else "")]

    @property
    def action(self) -> ActionSpec:
        """What the policy commands."""
        return self.env.action_spec

    def features(self) -> dict[str, DatasetFeature]:
        """Return the features of the episodes' frames."""
        spec, joints = self.env.observation_spec, joint_names(self.env.robot.joint_names, GRIPPER in self.action.names)
        whole = DatasetFeature("float32", (len(joints),), joints)
        found = {STATE: whole, ACTION: whole}
        found |= {f"{OBSERVATION}{name}": DatasetFeature(spec[name].dtype, spec[name].shape) for name in self._extra}
        for name in self._views:
            height, width, _ = spec[name].shape
            found[CAMERA + name.removeprefix(IMAGE)] = video_feature(height, width)
        action = DatasetFeature("float32", (self.action.size,), tuple(self.action.names))
        found |= {POLICY_ACTION: action, EXPERT_ACTION: action, REWARD: DatasetFeature("float32", (1,))}
        return found | {key: DatasetFeature("bool", (1,)) for key in (DONE, TRUNCATED, SUCCESS)}

    def run(self, seed: int) -> SimulatedEpisode:
        """Run the episode of a seed; it ends with success, failure or the time limit."""
        env, bundle = self.env, self._bundle
        grips = GRIPPER in self.action.names
        shown, _ = env.reset(seed=seed)
        memory = bundle.fresh_memory() if bundle else None
        rows: dict[str, list] = {key: [] for key in self.features() if not key.startswith(CAMERA)}
        pictures: dict[str, list[np.ndarray]] = {CAMERA + name.removeprefix(IMAGE): [] for name in self._views}
        while True:
            expert = env.expert()
            seen = {name: shown[name] for name in bundle.observation.names} if bundle else {}
            action = expert if bundle is None else bundle.act(seen, memory)
            rows[STATE].append(np.append(shown["q"], shown["opening"]) if grips else shown["q"])
            for name in self._extra:
                rows[f"{OBSERVATION}{name}"].append(shown[name])
            for name in self._views:
                pictures[CAMERA + name.removeprefix(IMAGE)].append(shown[name])
            shown, reward, terminated, truncated, info = env.step(action)
            target, opening = env.resolver.target, env.resolver.opening
            rows[ACTION].append(target if opening is None else np.append(target, opening))
            rows[POLICY_ACTION].append(action)
            rows[EXPERT_ACTION].append(expert)
            for key, value in ((REWARD, reward), (DONE, terminated or truncated), (TRUNCATED, truncated)):
                rows[key].append(value)
            rows[SUCCESS].append(info["near"])
            if terminated or truncated:
                break
        columns = {key: np.asarray(rows[key], each.dtype) for key, each in self.features().items() if key in rows}
        for key, each in self.features().items():
            if key in columns and each.shape == (1,):
                columns[key] = columns[key].reshape(-1)
        facts = {"success": bool(info["is_success"]), "seed": seed, "seconds": len(rows[DONE]) * self.action.dt}
        return SimulatedEpisode(columns, pictures, facts)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


def export_simulated(
    runner: EpisodeRunner,
    out: Path,
    seeds: Iterable[int],
    episodes: int,
    instruction: str,
    progress: Progress,
    successes: bool = False,
) -> dict[str, float]:
    """Write episodes into the new data set `out`; videos are encoded beside the simulation.

    Args:
        runner: of the episodes.
        out: folder of the data set.
        seeds: of the episodes, as many as are needed.
        episodes: how many are written.
        instruction: the task in words.
        progress: told after every episode.
        successes: whether failed ones are left out.

    Returns:
        `tried`, `succeeded`, and `seconds` of what was written.

    Raises:
        DatasetError, WriteError: if it cannot be written, or `seeds` end before there are enough.
    """
    env, found = runner.env, {"tried": 0.0, "succeeded": 0.0, "seconds": 0.0}
    about = About(env.robot.name, env.task.name, runner.action, "simulation", versions=provenance()["versions"])
    with (
        write_dataset(out, runner.action.rate_hz, runner.features(), about) as writer,
        ThreadPoolExecutor(1) as encoder,
    ):
        waiting: Future[None] | None = None
        number = 0
        for seed in seeds:
            if number == episodes:
                break
            episode = runner.run(seed)
            found["tried"] += 1
            found["succeeded"] += bool(episode.facts["success"])
            if successes and not episode.facts["success"]:
                continue
            if waiting is not None:
                waiting.result()
            waiting = encoder.submit(writer.add, episode.columns, instruction, episode.facts, episode.pictures)
            number += 1
            found["seconds"] += float(str(episode.facts["seconds"]))
            progress(number / episodes, f"{number} episodes")
        if waiting is not None:
            waiting.result()
        if number < episodes:
            raise DatasetError(
                f"{number} of {int(found['tried'])} episodes succeeded, {episodes} were to be written; take another "
                "policy, or failures too"
            )
    return found
