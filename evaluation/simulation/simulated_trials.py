"""Trials of a bundle in simulation, to compare those on an arm with.

They follow the same protocol as trials on an arm, from the same places, and end in the same store. A trial is
a pure function of its plan, so it may be computed anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.console import Console

from evaluation.report.data import PolicyCard, ReportData
from evaluation.report.page import write_report
from evaluation.report.video import save_video
from evaluation.session.protocol import PlannedTrial, Protocol
from evaluation.session.results import results_table, write_summary
from evaluation.session.scheduler import AT_RESET, TrialScheduler
from evaluation.session.session_folder import SessionFolder, begin_session
from evaluation.session.task_protocol import task_protocol
from evaluation.session.trial_outcome import TrialOutcome
from evaluation.session.trials import Trial
from evaluation.simulation.visibility_tables import cause_figures, printed, visibility_tables
from policies.bundle import PolicyBundle
from policies.bundle.things import Things
from policies.scoring.failure_causes import EpisodeWatch, segmented
from policies.training.progress import StageProgress
from robots.host.locks import FolderLock
from robots.rig import Rig
from robots.specs import SpecError
from sim.env import ArmEnv
from sim.randomization.parameters import ParameterSpace
from sim.tasks import load_task
from sim.tasks.several_things import SeveralThings

HELD_OUT_SEEDS = 1_000_000_000
"""Evaluation seeds start here; training never gets there."""


def asked_parameters(bundle: PolicyBundle, thing: str) -> dict[str, float]:
    """Return the parameters of episodes in which `bundle` is asked for `thing`; none where it is not.

    Raises:
        SpecError: if it cannot be asked for it.
    """
    if not thing:
        return {}
    task = load_task(bundle.task)
    if not isinstance(task, SeveralThings):
        raise SpecError(f"policy '{bundle.name}' is about one thing, and cannot be asked for '{thing}'")
    return task.asking((bundle.things or Things(task.named, task.references)).named(thing))


class SimulatedArm:
    """One bundle in its own task under one parameter space."""

    def __init__(
        self,
        bundle: PolicyBundle,
        protocol: Protocol,
        space: str | ParameterSpace,
        *,
        film: bool = False,
    ):
        """Prepare to run trials of `protocol`.

        `film` keeps the frames of each. Each is about what the protocol asks for or, among several things, about any.

        Raises:
            SpecError: if the bundle cannot be asked for it.
        """
        self._bundle, self._protocol, self._space = bundle, protocol, space
        self._asked = asked_parameters(bundle, protocol.thing)
        self.frames: list[np.ndarray] = []
        """Of the last trial, if filmed."""
        self._film = film

    def run(self, planned: PlannedTrial, attempt: int = 0) -> Trial:
        """Carry out one trial in an environment of its own.

        A fresh one costs a fraction of a trial, and makes the row independent of whatever ran before it: physics
        engines keep hidden state.

        Raises:
            SpecError: if the bundle observes what the task does not have.
        """
        task = load_task(self._bundle.task)
        # TrialOutcome ends the trial; the environment must not end before it
        endless = {"time_limit": self._protocol.timeout + 1.0, "hold_time": self._protocol.timeout + 2.0}
        for name, value in endless.items():
            setattr(task, name, value)
        cameras = tuple(self._bundle.cameras.values())
        rig = Rig(self._bundle.name, cameras) if cameras else None
        names, look = self._bundle.observation.names, "rgb_array" if self._film else None
        names = (*names, *segmented(tuple(self._bundle.cameras)))
        env = ArmEnv(task, self._bundle.arm, self._space, names, cameras=rig, render_mode=look)
        try:
            return self._run(env, planned, attempt)
        finally:
            env.close()

    def _run(self, env: ArmEnv, planned: PlannedTrial, attempt: int) -> Trial:
        bundle, protocol, dt = self._bundle, self._protocol, self._bundle.action.dt
        task, body = env.task, env.task.placed_body
        # objects that depend on each other are drawn from the trial's seed; the row records where they stand
        places = {body: (planned.initial["x"], planned.initial["y"])} if task.single_object else {}
        shown, info = env.reset(
            seed=HELD_OUT_SEEDS + planned.seed, options={"places": places, "parameters": self._asked}
        )
        watch = EpisodeWatch(env) if bundle.cameras else None
        if watch:
            watch.begin(shown)
        parameters = info["parameters"]
        x, y = env.world.pose(body)[0][:2]
        own_rule = protocol.success_radius == task.success_radius
        outcome = TrialOutcome.of(protocol)

        def look(t: float, near: bool | None) -> None:
            achieved, desired = task.achieved_goal(env.world), task.desired_goal(env.world)
            if near is None:
                near = bool(task.is_success(achieved, desired)) and task.is_released(env.world)
            distance = float(np.linalg.norm(achieved - desired))
            outcome.add(t, distance, near if own_rule else distance < outcome.radius and task.is_released(env.world))

        look(0.0, None)
        outcome.start(0.0)
        self.frames = []
        self._take_picture(env)
        steps, ended, memory, stopped = 0, False, bundle.fresh_memory(), ""
        while not (outcome.over or ended):
            try:
                seen = {name: shown[name] for name in bundle.observation.names}
                if unusual := bundle.inputs.reason(seen):
                    raise SpecError(unusual)
                shown, _, ended, truncated, info = env.step(bundle.act(seen, memory))
            except SpecError as error:  # on a robot the policy node would have stopped the arm here
                stopped = f"the policy left its specification: {error}"
                break
            steps += 1
            look(steps * dt, bool(info["near"]))
            if watch:
                watch.step(shown, bool(info["near"]))
            ended = ended or truncated
            self._take_picture(env)
        at_reset = outcome.at_goal_from_start
        found = watch.record(bool(stopped)) if watch else None
        return Trial(
            session=protocol.name,
            policy=planned.policy,
            bundle=bundle.hash,
            index=planned.index,
            seed=planned.seed,
            success=outcome.success,
            duration=outcome.duration,
            initial={"x": float(x), "y": float(y)},
            final_distance=outcome.distance,
            time_to_success=outcome.time_to_success,
            hold=outcome.hold,
            automatic=outcome.success,
            void=at_reset,
            void_reason=f"{AT_RESET}: the goal was reached before the policy moved" if at_reset else "",
            attempt=attempt,
            parameters=parameters,
            observed={"visible": found.visible, "contrast": found.contrast} if found else {},
            cause=found.cause if found and not outcome.success else "",
            stopped=stopped or ("the task was failed for good" if ended and not outcome.over else ""),
        )

    def _take_picture(self, env: ArmEnv) -> None:
        picture = env.render() if self._film else None
        if picture is not None:
            self.frames.append(picture)


def film_failures(folder: SessionFolder, bundles: Mapping[str, Path], space: str, each: int = 2) -> None:
    """Run the first failures of each policy again, and one success, and save them as videos.

    Trials in simulation are deterministic; one whose outcome differs is not saved.
    """
    with folder.store() as store:
        trials = store.trials(folder.protocol.name)
    planned = {(t.policy, t.index): t for t in folder.protocol.schedule()}
    for policy, path in bundles.items():
        rows = [t for t in trials if t.policy == policy and not t.void]
        chosen = [t for t in rows if not t.success][:each] + [t for t in rows if t.success][:1]
        chosen = [t for t in chosen if (policy, t.index) not in folder.videos()]
        if not chosen:
            continue
        bundle = PolicyBundle.load(path)
        arm = SimulatedArm(bundle, folder.protocol, space, film=True)
        for trial in chosen:
            again = arm.run(planned[policy, trial.index])
            if again.success == trial.success:
                stamps = [i * bundle.action.dt for i in range(len(arm.frames))]
                save_video(arm.frames, stamps, folder.path / f"video_{policy}_{trial.index}.npz")


def evaluate_in_simulation(
    bundles: Mapping[str, Path],
    space: str | ParameterSpace,
    trials: int,
    seed: int,
    out: Path,
    progress: StageProgress,
    strict: bool = False,
    thing: str = "",
) -> ReportData:
    """Try every bundle, asked for `thing` if given, and write `trials.sqlite`, `report.html` and `summary.json`.

    `space` is what varies: a preset, a file, or a parameter space, whose name the plan and the report have.

    Trials that the store holds already are not run again.
    """
    loaded = {name: PolicyBundle.load(path) for name, path in bundles.items()}
    varied = Path(space).stem if isinstance(space, str) else space.name
    protocol = task_protocol(loaded, trials, seed, f"simulation {varied} {seed}", strict, thing)
    folder = begin_session(out, protocol, "sim", {"space": varied})
    with FolderLock(out), folder.store() as store:
        scheduler = TrialScheduler(protocol, store)
        for name, bundle in loaded.items():
            arm = SimulatedArm(bundle, protocol, space)
            mine = [t for t in scheduler.open() if t.policy == name]
            for done, planned in enumerate(mine, start=1):
                for attempt in range(scheduler.attempt(planned), scheduler.attempt(planned) + 2):
                    trial = arm.run(planned, attempt)
                    scheduler.record(trial)
                    if not trial.void:
                        break
                progress(name, done / len(mine), "")
        recorded = store.trials(protocol.name)
    data = ReportData(
        title="Evaluation in simulation",
        trials=recorded,
        policies=tuple(PolicyCard(name, name, inference=protocol.inference) for name in bundles),
        setting=f"{trials} trials of {protocol.task} a policy on seeds that training never used, randomised: {varied}."
        f"{protocol.asked}",
        success_radius=protocol.success_radius,
        tables=visibility_tables(recorded),
    )
    write_report(out / "report.html", data)
    write_summary(out / "summary.json", {**data.summary(), **cause_figures(recorded)})
    Console().print(results_table(data.results, data.title), *map(printed, data.tables))
    return data
