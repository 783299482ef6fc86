"""Are the statistics right? Coverage, false positives under peeking, published figures, and SIGKILL.

    python benchmarks/statistics.py --quick --json statistics.json --data DIR

`--data` is a folder that holds `sim_real_success/real_vs_sim.json` (success of public policies per task, in
SIMPLER and on the robot); without it the published figures are not recomputed and their keys are null.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

# Python puts this file's folder first, where its own name hides the standard library's `statistics`.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from scipy import stats

from benchmarks.parts.record import heading, origin, save
from evaluation.session.session_folder import open_session
from evaluation.statistics.agreement import MIN_POLICIES, mean_maximum_rank_violation, measure_agreement, pearson
from evaluation.statistics.comparison import required_trials
from evaluation.statistics.sequential import log_evidence
from policies.scoring.intervals import wilson, wilson_bounds

ROOT = Path(__file__).resolve().parent.parent
SEED = 0
SESSIONS = 10_000
ALPHA = 0.05
KILLS_QUICK, KILLS = 60, 200

# A session whose arm is quick: registration, order of trials, store and resumption are the product's own. Each run is
# forked off a process that has imported everything, so that the kill falls into the session and not into imports.
RECORDER = """
import os, sys, time
from pathlib import Path
from evaluation.session.scheduler import TrialScheduler
from evaluation.session.protocol import PlannedPolicy, Protocol, PlacementArea
from evaluation.session.session_folder import begin_session
from evaluation.session.trials import Trial
policies = tuple(PlannedPolicy(name, digit * 64) for name, digit in (("a", "0"), ("b", "1"), ("c", "2")))
plan = Protocol("kill", "reach", policies, 3_000, 0, PlacementArea(0.4, 0.6, -0.2, 0.2), 0.03, 0.5, 3.0)
bundles = {policy.name: policy.bundle for policy in policies}
for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        os.write(1, b"%d\\n" % os.getpid())
        with begin_session(Path(sys.argv[1]), plan, "sim").store() as store:
            scheduler = TrialScheduler(plan, store)
            for t in scheduler.open():
                trial = Trial("kill", t.policy, bundles[t.policy], t.index, t.seed, t.index % 3 > 0, 1.0, t.initial)
                scheduler.record(trial)
                time.sleep(0.01)
                os.write(1, f"{t.policy} {t.index}\\n".encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.write(1, b"over\\n")
"""

console = Console(width=110)


@dataclass(frozen=True)
class Arguments:
    """Check the evaluation's statistics and its store."""

    quick: bool = False
    """At most a minute: fewer kills and fewer sequential sessions."""
    json: Path | None = None
    """Write the figures to this file."""
    data: Path | None = None
    """Folder that holds sim_real_success/."""


def share(hits: np.ndarray) -> str:
    rate = wilson(int(hits.sum()), hits.size)
    return f"{rate.estimate:.4f} ({rate.low:.4f}–{rate.high:.4f})"


def coverage(figures: dict) -> None:
    table = Table(title=f"Coverage of nominal 95 % intervals, {SESSIONS:,} sessions, rate ~ U(0, 1)")
    for column in ("trials", "Wilson (ours)", "Clopper–Pearson (scipy)", "Wald (textbook)"):
        table.add_column(column, justify="right")
    for n in (10, 30, 100):
        rng = np.random.default_rng([SEED, n])
        truth = rng.uniform(size=SESSIONS)
        k = rng.binomial(n, truth)
        half = stats.norm.ppf(0.975) * np.sqrt(k / n * (1 - k / n) / n)
        exact = np.array([stats.binomtest(i, n).proportion_ci(0.95, "exact") for i in range(n + 1)])[k].T
        bounds = (wilson_bounds(k, n), exact, (k / n - half, k / n + half))
        covered = [(low <= truth) & (truth <= high) for low, high in bounds]
        table.add_row(str(n), *(share(c) for c in covered))
        for name, c in zip(("wilson", "clopper_pearson", "wald"), covered):
            figures[f"{name}_coverage_{n}"] = float(c.mean())
    console.print(table)
    # The vectorised intervals against scipy's, one by one.
    worst = 0.0
    for n in (10, 30, 100):
        low, high = wilson_bounds(np.arange(n + 1), n)
        for k in range(n + 1):
            theirs = stats.binomtest(k, n).proportion_ci(0.95, "wilson")
            worst = max(worst, abs(theirs.low - low[k]), abs(theirs.high - high[k]))
    figures["wilson_against_scipy"] = float(worst)
    console.print(f"largest difference from scipy's Wilson intervals: {worst:.1e}")


def sequential(figures: dict, sessions: int, pairs: int = 300) -> None:
    table = Table(title=f"Two policies judged after each of {pairs} pairs, {sessions:,} sessions, level 5 %")
    for column in (
        "true rates",
        "decided (ours)",
        "median pairs",
        "decided (McNemar repeated)",
        "fixed n, 80 %",
    ):
        table.add_column(column, justify="right")
    for number, (p, q) in enumerate(((0.5, 0.5), (0.8, 0.8), (0.95, 0.95), (0.9, 0.6), (0.95, 0.4))):
        rng = np.random.default_rng([SEED, 1, number])
        x, y = rng.random((sessions, pairs)) < p, rng.random((sessions, pairs)) < q
        only_a, only_b = np.cumsum(x & ~y, axis=1), np.cumsum(y & ~x, axis=1)
        reached = log_evidence(only_a, only_a + only_b) >= -np.log(ALPHA)
        decided = reached.any(axis=1)
        naive = 2 * stats.binom.cdf(np.minimum(only_a, only_b), only_a + only_b, 0.5) <= ALPHA
        when = np.median(reached.argmax(axis=1)[decided] + 1) if decided.any() else float("nan")
        fixed = "–" if p == q else str(required_trials(p, q))
        table.add_row(f"{p} / {q}", share(decided), f"{when:.0f}", share(naive.any(axis=1)), fixed)
        if p == q:
            key = "sequential_false_positive"
            figures[key] = max(figures.get(key, 0.0), float(decided.mean()))
            key = "repeated_mcnemar_false_positive"
            figures[key] = max(figures.get(key, 0.0), float(naive.any(axis=1).mean()))
    console.print(table)


def published(figures: dict, path: Path | None) -> None:
    figures["mmrv_coke_can"] = figures["pearson_coke_can"] = None
    if path is None:
        console.print("published figures: not recomputed; give --data DIR")
        return
    table = Table(title="Simulated against real success, policies resampled; published figures beside ours")
    for column in ("task", "policies", "MMRV (95 %)", "published", "Pearson (95 %)", "published"):
        table.add_column(column, justify="right")
    agree = True
    for task, rates in json.loads(path.read_text()).items():
        simulated = list(rates["sim"].values())
        real = [rates["real"][policy] for policy in rates["sim"]]
        figures_of = {
            "mmrv": mean_maximum_rank_violation(simulated, real),
            "pearson": pearson(simulated, real),
        }
        shown = {measure: f"{value:.3f}" for measure, value in figures_of.items()}
        if len(real) >= MIN_POLICIES:
            result = measure_agreement(simulated, real, np.random.default_rng(SEED), resamples=500)
            for measure, interval in (("mmrv", result.mmrv), ("pearson", result.pearson)):
                shown[measure] += f" ({interval.low:.2f}–{interval.high:.2f})"
        short = task.removeprefix("google_robot_").removeprefix("pick_")
        table.add_row(
            short,
            str(len(real)),
            *(text for measure in figures_of for text in (shown[measure], f"{rates[measure]:.3f}")),
        )
        for measure, value in figures_of.items():
            figures[f"{measure}_{short}"] = value
            agree &= abs(value - rates[measure]) < 1e-4
    figures["published_reproduced"] = agree
    console.print(table)


def kills(figures: dict, number: int) -> None:
    """Kill a session at random moments, audit its store after each, and let the next one go on."""
    rng = random.Random(SEED)
    survived, acknowledged, began, started = 0, [], 0, time.perf_counter()
    schedule: list[tuple[str, int]] = []
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "session"
        recorder = subprocess.Popen(
            [sys.executable, "-c", RECORDER, str(out)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert recorder.stdin is not None
        assert recorder.stdout is not None
        for _ in range(number):
            recorder.stdin.write("go\n")
            recorder.stdin.flush()
            child = int(recorder.stdout.readline())
            # Before it has opened anything, while it resumes, and in the midst of its trials
            time.sleep(rng.uniform(0, 0.4))
            os.kill(child, signal.SIGKILL)
            before = len(acknowledged)
            while (line := recorder.stdout.readline()) != "over\n":
                policy, index = line.split()
                acknowledged.append((policy, int(index)))
            began += len(acknowledged) > before
            if not (out / "trials.sqlite").is_file():
                survived += not acknowledged
                continue
            session = open_session(out)
            with session.store() as store:
                stored = [(trial.policy, trial.index) for trial in store.trials()]
            schedule = schedule or [(t.policy, t.index) for t in session.protocol.schedule()]
            # Nothing lost, nothing twice, no gap: the next one went on where this one was killed.
            survived += stored == schedule[: len(stored)] and set(acknowledged) <= set(stored)
        recorder.stdin.close()
        recorder.wait()
    figures["kills_survived"], figures["kills"] = survived, number
    seconds = time.perf_counter() - started
    console.print(
        f"SIGKILL: {survived} of {number} kills survived, {began} of them amid trials; {len(acknowledged):,} trials "
        f"acknowledged, {len(acknowledged) - len(set(acknowledged))} of them twice, {seconds:.0f} s"
    )


def main() -> None:
    arguments = tyro.cli(Arguments)
    path = arguments.data / "sim_real_success" / "real_vs_sim.json" if arguments.data else None
    if path is not None and not path.is_file():
        sys.exit(f"'{path}' does not exist; --data names the folder that holds sim_real_success/")
    started = time.perf_counter()
    described = origin([SEED], ("scipy",))
    console.print(heading(described))
    figures: dict = {"quick": arguments.quick}
    coverage(figures)
    sequential(figures, 2_000 if arguments.quick else 20_000)
    published(figures, path)
    kills(figures, KILLS_QUICK if arguments.quick else KILLS)
    figures["wall_s"] = time.perf_counter() - started
    console.print(f"{figures['wall_s']:.0f} s in all")
    save(arguments.json, described, figures)


if __name__ == "__main__":
    main()
