"""A report with every section, of trials that were made up to fill them."""

from __future__ import annotations

import numpy as np

from evaluation.report.aggregates import aggregate
from evaluation.report.data import CameraSamples, DataTable, DomainDifference, PolicyCard, ReportData
from evaluation.report.failure_analysis import analyse_failures
from evaluation.report.images import clip
from evaluation.report.sim_to_real import compare_sim_to_real
from evaluation.session.protocol import PlacementArea, PlannedPolicy, Protocol
from evaluation.session.results import policy_results
from evaluation.session.trials import LatencySummary, Trial
from policies.scoring.intervals import wilson

POLICIES = ("baseline-0", "baseline-1", "adapted-0", "adapted-1")


def sample_trials(seed: int = 0, number: int = 40) -> tuple[Trial, ...]:
    """Trials of policies that fail where friction is high, the adapted ones less."""
    rng = np.random.default_rng(seed)
    trials = []
    for index in range(number):
        x, y, friction = rng.uniform(0.4, 0.6), rng.uniform(-0.2, 0.2), rng.uniform(0.2, 1.2)
        for k, policy in enumerate(POLICIES):
            success = bool(rng.random() < (0.95 if friction < 0.6 + 0.1 * k else 0.2))
            trials.append(
                Trial(
                    session="sample",
                    policy=policy,
                    bundle=str(k) * 64,
                    index=index,
                    seed=index,
                    success=success,
                    duration=3.0,
                    initial={"x": x, "y": y},
                    final_distance=0.01 if success else 0.08,
                    time_to_success=1.5 if success else None,
                    parameters={"friction": friction, "mass": rng.uniform(0.5, 2.0)},
                    latency=LatencySummary.of(rng.gamma(4.0, 0.0005, 60), deadline=0.05),
                    interventions={"velocity": 2} if not success else {},
                )
            )
    return tuple(trials)


def sample_protocol() -> Protocol:
    """The plan of those trials."""
    policies = tuple(PlannedPolicy(p, str(k) * 64, p.split("-")[0]) for k, p in enumerate(POLICIES))
    return Protocol("sample", "reach", policies, 40, 0, PlacementArea(0.4, 0.6, -0.2, 0.2), 0.03, 0.5, 3.0)


def full_report() -> ReportData:
    """Every section filled."""
    trials, rng = sample_trials(), np.random.default_rng(1)
    results = policy_results(trials, POLICIES)
    frames = [np.full((48, 64, 3), 30 * i, np.uint8) for i in range(6)]
    simulated = {str(k) * 64: wilson(20 + 4 * k, 40) for k in range(len(POLICIES))}
    real = {str(k) * 64: (r.policy, r.rate) for k, r in enumerate(results)}
    return ReportData(
        title="Session sample",
        trials=trials,
        policies=tuple(PolicyCard(p, p, "made up") for p in POLICIES),
        setting="Task reach on the virtual arm.",
        date="2026-01-01",
        success_radius=0.03,
        loop_period=0.05,
        registered={"plan": "4 policies × 40 trials", "registered": "2026-01-01"},
        deviations=("2 void and repeated: the cable caught.",),
        failure_factors=analyse_failures(results),
        transfer=compare_sim_to_real(simulated, real, rng),
        aggregates=aggregate([(sample_protocol(), results)], rng),
        clips=(clip(frames, 10.0, "Failure of baseline-0", "An arm that stops short"),),
        camera=(CameraSamples("Simulation", "drawn", (frames[1],)), CameraSamples("Arm", "taken", (frames[2],))),
        differences=(DomainDifference("engine", "PyBullet", "MuJoCo"),),
        tables=(DataTable("More", "A table.", ("Name", "Value"), (("a", "1"),)),),
        wall_time=120.0,
        made={"machine": "somebody's", "seed": "0"},
        commands=("sim2real report sample",),
        shortcomings=("Nothing of it was measured.",),
    )
