"""The loop closed: an arm is recorded, identified, and policies are trained on what was found, on `mild` and on `full`.

The arm is the virtual one (MuJoCo), made late, slow and loaded. It plays two excitation motions; `identify` makes a
space of them; reaching policies are trained in that space and in the two presets, the same recipe and the expert's
gain chosen in each space alike (`--tune-expert`); all are judged on the virtual arm with the true hidden parameters.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from adaptation.identification.excitation import ExciteConfig, find_excitation
from adaptation.identification.fit import FitConfig
from adaptation.identification.joint_log import JointLog
from adaptation.identification.pipeline import IdentifyConfig, base_space, identify_arm
from adaptation.twin.virtual_recording import play_on_virtual_arm
from policies.bundle import PolicyBundle
from policies.imitation.recipes import state_recipe
from policies.imitation.state_run import StateRunConfig, resume_state, train_state
from policies.scoring.intervals import wilson
from policies.scoring.mujoco import episodes_in_mujoco
from robots.registry import load_robot
from sim.virtual_arm.hidden_reality import HiddenArm, HiddenReality

ROBOT, TASK = "franka_panda", "reach"
LATE = HiddenReality(
    arm=replace(
        HiddenArm(),
        command_delay=0.10,
        kd=tuple(2 * v for v in HiddenArm().kd),
        friction=tuple(2 * v for v in HiddenArm().friction),
        tool_mass=0.5,
    )
)
"""An arm behind a slow interface, with soft, heavily damped servos, twice the friction and a tool nobody entered."""
RATE_HZ = 100.0
SPACES = ("identified", "mild", "full")
LOOP_FIT = FitConfig(delays=6, leads=2, screen=8, descent=4, kept=1, rounds=2, evaluations=0, iterations=8)
FIRST_EPISODE = 1_700_000_000
"""Seeds of the judge's episodes: no training, validation or other judge uses them."""


def record(seed: int, duration: float) -> JointLog:
    """What the virtual arm does under one excitation motion, as its encoders report it."""
    robot = load_robot(ROBOT)
    motion = find_excitation(robot, ExciteConfig(duration=duration, rate_hz=RATE_HZ, tries=10, seed=seed))
    return play_on_virtual_arm(robot, LATE, motion.t, motion.q, f"motion {seed}", seed)


def loop(quick: bool, seeds: int, folder: Path | None = None) -> dict:
    """Record, identify, train in three spaces, judge; return the figures."""
    with tempfile.TemporaryDirectory() as scratch:
        return _loop(quick, seeds, folder or Path(scratch))


def _loop(quick: bool, seeds: int, folder: Path) -> dict:
    folder.mkdir(parents=True, exist_ok=True)
    space = folder / "identified.json"
    if not space.is_file():
        robot = load_robot(ROBOT)
        logs = [record(seed, 26.0 if quick else 40.0) for seed in (0, 1)]
        found = identify_arm(robot, logs, IdentifyConfig(window=8.0, fit=LOOP_FIT, gravity_compensation=True))
        figures = found.figures()
        found.posterior.space(base_space(TASK, robot, "mild"), "identified").to_json(space)
        best = found.posterior.best
        print(
            f"loop: identified from two motions in {found.seconds:.0f} s; on the one kept out "
            f"{1e3 * figures['rmse_before']:.1f} mrad before, {1e3 * figures['rmse_after']:.1f} after; delay "
            f"{1e3 * best['servo_delay']:.0f} ms (true: {1e3 * LATE.arm.command_delay:.0f})",
            flush=True,
        )
    episodes = 20 if quick else 100
    rows: dict[str, list[dict]] = {name: [] for name in SPACES}
    for seed in range(seeds):  # seed by seed: what is there when it is stopped is balanced
        for name in SPACES:
            rows[name].append(_policy(folder, name, seed, space, episodes))
    return {"loop": {name: _summary(name, each, episodes) for name, each in rows.items()}}


def _policy(folder: Path, name: str, seed: int, space: Path, episodes: int) -> dict:
    out = folder / f"{name}_{seed}"
    result = folder / f"{name}_{seed}.json"
    if result.is_file():
        return json.loads(result.read_text())
    if (out / "config.json").is_file() and not (out / "metrics.json").is_file():
        resume_state(out, lambda *_: None)
    if not out.exists():
        config = StateRunConfig(
            out,
            TASK,
            ROBOT,
            randomise=str(space) if name == "identified" else name,
            seed=seed,
            workers=1,
            evaluation_episodes=32,
            tune_expert=True,
            recipe=state_recipe(TASK, ROBOT),
        )
        train_state(config, lambda *_: None)
    bundle = PolicyBundle.load(out / "best")
    distances, near = episodes_in_mujoco(bundle, episodes, FIRST_EPISODE + 1000 * seed, LATE)
    held = 10  # actions: the task's hold time, 0.5 s
    row = {
        "gain": json.loads((out / "expert.json").read_text())["gain"],
        "successes": int(near[:, -held:].all(axis=1).sum()),
        "settling_error_mm": float(1e3 * distances[:, -held:].mean()),
        "mean_error_mm": float(1e3 * distances.mean()),
        "settling_time_s": float(np.mean([_settled(d) for d in distances])),
    }
    result.write_text(json.dumps(row) + "\n")
    print(f"  {name}, seed {seed}: {row}", flush=True)
    return row


def _settled(distance: np.ndarray, within: float = 0.01, period: float = 0.05) -> float:
    """Time [s] after which the distance (T,) [m] stays below `within`; the whole episode if it never does."""
    outside = np.flatnonzero(distance >= within)
    return period * (outside[-1] + 1 if len(outside) else 0)


def _summary(name: str, rows: list[dict], episodes: int) -> dict:
    """Means over seeds, with 95 % intervals whose unit is the seed (success: Wilson over all episodes beside it)."""
    won = sum(row["successes"] for row in rows)
    rate = wilson(won, episodes * len(rows))
    found = {"success": rate.estimate, "success_95": [rate.low, rate.high]}
    for key in ("settling_error_mm", "settling_time_s", "mean_error_mm"):
        values = np.array([row[key] for row in rows])
        found[key] = float(values.mean())
        found[f"{key}_95"] = float(2.776 * values.std(ddof=1) / np.sqrt(len(values))) if len(values) == 5 else None
    found["gains"] = [row["gain"] for row in rows]
    half = found["settling_error_mm_95"]
    print(
        f"loop, trained on {name}: success {found['success']:.3f} [{rate.low:.3f}, {rate.high:.3f}] of "
        f"{episodes * len(rows)}; error over the last half second {found['settling_error_mm']:.1f}"
        f"{f' ± {half:.1f}' if half is not None else ''} mm, settled to 1 cm after {found['settling_time_s']:.2f} s, "
        f"{len(rows)} seeds (expert's gain {', '.join(f'{p:g}' for p in found['gains'])})"
    )
    return found
