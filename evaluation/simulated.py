"""Trials of a bundle in simulation: the figure that the lab's is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from evaluation.report import write_report
from evaluation.report_data import PolicyCard, ReportData
from evaluation.results import results_table, write_summary
from evaluation.trials import Trial, TrialStore
from policies.bundle import PolicyBundle
from sim.env import ArmEnv
from sim.parameters import ParameterSpace

HELD_OUT_SEEDS = 1_000_000_000
"""Evaluation seeds start here; training never gets there."""


def run_simulated(
    bundle: PolicyBundle,
    space: str | ParameterSpace,
    trials: int,
    seed: int = 0,
    session: str = "simulation",
    progress: Callable[[float], None] = lambda share: None,
) -> list[Trial]:
    """Try `bundle` in its own task under `space`, on seeds that training never used.

    Raises:
        SpecError: if the bundle's observation is not the task's `camera` or `state` observation.
    """
    observation = "camera" if bundle.cameras else "state"
    env = ArmEnv(bundle.task, bundle.robot.name, space, observation)
    results = []
    for index in range(trials):
        trial_seed = HELD_OUT_SEEDS + 10_000 * seed + index
        seen, info = env.reset(seed=trial_seed)
        parameters = info["parameters"]
        steps, done = 0, False
        while not done:
            seen, _, terminated, truncated, info = env.step(bundle.act(seen))
            steps += 1
            done = terminated or truncated
        achieved, desired = env.task.achieved_goal(env.world), env.task.desired_goal(env.world)
        duration = steps * bundle.action.dt
        results.append(
            Trial(
                session=session,
                policy=bundle.name,
                bundle=bundle.hash,
                index=index,
                seed=trial_seed,
                success=bool(info["is_success"]),
                duration=duration,
                final_distance=float(np.linalg.norm(achieved - desired)),
                time_to_success=duration if info["is_success"] else None,
                parameters=parameters,
            )
        )
        progress((index + 1) / trials)
    env.close()
    return results


def evaluate_in_simulation(
    bundles: Mapping[str, Path],
    space: str,
    trials: int,
    seed: int,
    out: Path,
    progress: Callable[[str, float, str], None],
) -> ReportData:
    """Try every bundle and write `trials.sqlite`, `report.html` and `summary.json` into `out`.

    Trials that the store holds already are not run again.
    """
    session = f"simulation {space} {seed}"
    out.mkdir(parents=True, exist_ok=True)
    with TrialStore(out / "trials.sqlite") as store:
        for name, path in bundles.items():
            bundle = PolicyBundle.load(path)
            if len(store.done(session, name)) < trials:
                done = store.done(session, name)
                report = partial(_report, progress, name)
                for trial in run_simulated(bundle, space, trials, seed, session, report):
                    if trial.index not in done:
                        store.add(trial)
        recorded = store.trials(session)
    data = ReportData(
        title="Evaluation in simulation",
        trials=recorded,
        policies=tuple(PolicyCard(name, name) for name in bundles),
        setting=f"{trials} episodes a policy on seeds that training never used, randomised: {space}.",
    )
    write_report(out / "report.html", data)
    write_summary(out / "summary.json", data.summary())
    Console().print(results_table(data.results, data.title))
    return data


def _report(progress: Callable[[str, float, str], None], name: str, share: float) -> None:
    progress(name, share, "")
