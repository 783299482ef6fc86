"""Identify an arm from recordings: check, split, fit, and evaluate on held-out motions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from adaptation.identification.bands import DRAWS, band_ends, scaled_to, scores, speeds
from adaptation.identification.dropo import dropo
from adaptation.identification.fit import FitConfig, Progress, fit_servo
from adaptation.identification.joint_log import JointLog, LogError
from adaptation.identification.log_inspection import Inspection, inspect
from adaptation.identification.posterior import Posterior, posterior, term_of
from adaptation.identification.replay import SETTLE, Replay, ReplayWindow, replay_windows
from adaptation.identification.simulation_based import check_installed, simulation_based
from adaptation.identification.uniform_log import UniformLog, resample_log
from robots.model import RobotModel
from sim.physics.servo_model import JOINT_TERMS
from sim.randomization.parameters import ParameterSpace
from sim.randomization.servo_parameters import prior

REPLACED = (
    "action_delay_steps",
    "actuator_lag",
    "backlash",
    "command_quantum",
    "joint_damping",
    "joint_friction",
    "joint_stiffness",
    "position_gain",
    "servo_dead_band",
    "torque_scale",
    "arm_inertia_scale",
)
"""Parameters of the catalogue that the identified servo parameters replace."""
REPLACED_PREFIXES = ("gear_offset_", "link_mass_", "link_com_")
"""Prefixes of those with one parameter for each joint."""


@dataclass(frozen=True)
class IdentifyConfig:
    """Configuration of an identification."""

    window: float = 20.0
    """Length of the fitted windows [s]; errors do not accumulate beyond it."""
    most_windows: int = 8
    """Largest number of fitted windows, evenly spread over the recordings."""
    held_out: float = 0.5
    """Share of the recordings that is held out for evaluation; of a single recording, its last part."""
    fit: FitConfig = field(default_factory=FitConfig)
    """Search budget."""
    gravity_compensation: bool = False
    """Whether the arm's controller compensates gravity, as of industrial arms."""
    method: str = "laplace"
    """Kind of the posterior: one of `METHODS`."""
    workers: int = 2
    """Threads."""
    seed: int = 0
    """Of the split and of everything random."""

    def validate(self) -> None:
        """Raise ValueError for values out of range."""
        self.fit.validate()
        if not self.window > 2 * SETTLE or self.most_windows < 2:
            raise ValueError(
                f"window ({self.window} s) must be longer than {2 * SETTLE} s, most_windows ({self.most_windows}) "
                "at least 2"
            )
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out is {self.held_out}, expected between 0 and 1, both excluded")
        if self.method not in METHODS:
            raise ValueError(f"unknown method '{self.method}'; known are {', '.join(METHODS)}")
        if self.method == "sbi":
            check_installed()
        if self.workers < 1:
            raise ValueError(f"workers is {self.workers}, expected at least 1")


@dataclass(frozen=True)
class HeldOutReplay:
    """One held-out recording, measured and replayed over its whole length."""

    name: str
    """Of the recording."""
    t: np.ndarray
    """(T,) [s]."""
    command: np.ndarray
    """(T, n) [rad]."""
    measured: np.ndarray
    """(T, n) [rad]."""
    before: np.ndarray
    """(T, n) replayed with the prior's nominal values [rad]."""
    after: np.ndarray
    """(T, n) replayed with the best candidate [rad]."""
    low: np.ndarray
    """(T, n) lower end of the band [rad]."""
    high: np.ndarray
    """(T, n) upper end."""

    @property
    def rmse_before(self) -> np.ndarray:
        """(n,) [rad]."""
        return np.sqrt(np.mean((self.before - self.measured) ** 2, axis=0))

    @property
    def rmse_after(self) -> np.ndarray:
        """(n,) [rad]."""
        return np.sqrt(np.mean((self.after - self.measured) ** 2, axis=0))

    @property
    def inside(self) -> np.ndarray:
        """(n,) share of the measured samples within the band."""
        return np.mean((self.measured >= self.low) & (self.measured <= self.high), axis=0)


@dataclass(frozen=True)
class Identification:
    """Result of an identification."""

    robot: str
    """Name of the arm."""
    joint_names: tuple[str, ...]
    """Order of all joint arrays."""
    inspections: tuple[Inspection, ...]
    """Checks of all recordings."""
    trained_on: tuple[str, ...]
    """Fitted recordings."""
    evaluated_on: tuple[str, ...]
    """Held-out recordings."""
    posterior: Posterior
    """Posterior of the parameters."""
    replays: tuple[HeldOutReplay, ...]
    """One for each held-out recording."""
    left_out: tuple[str, ...]
    """Joints and quantities that the recordings do not identify."""
    seconds: float
    """Duration of the fit [s]."""
    candidates: int
    """Number of replays of the fit."""
    steps_per_s: float
    """Simulated time steps a second during the fit, of all threads."""
    quick: bool = False
    """Whether the search had the budget of a first look only."""

    @property
    def untold(self) -> tuple[str, ...]:
        """Terms that the recordings do not tell, with the number of joints of which they do not."""
        known = self.posterior.known
        terms = [term_of(name) for name, each in known.items() if not each]
        every = [term_of(name) for name in known]
        return tuple(
            term if every.count(term) == 1 else f"{term} ({terms.count(term)} of {every.count(term)} joints)"
            for term in dict.fromkeys(terms)
        )

    def figures(self) -> dict:
        """Return the report's figures as plain JSON types."""
        after = np.array([j.rmse_after for j in self.replays])
        before = np.array([j.rmse_before for j in self.replays])
        inside = np.array([j.inside for j in self.replays])
        return {
            "robot": self.robot,
            "trained_on": list(self.trained_on),
            "evaluated_on": list(self.evaluated_on),
            "left_out": list(self.left_out),
            "quick": self.quick,
            "rmse_before": float(before.mean()),
            "rmse_after": float(after.mean()),
            "rmse_by_joint": dict(zip(self.joint_names, after.mean(axis=0).tolist())),
            "rmse_by_recording": {j.name: float(j.rmse_after.mean()) for j in self.replays},
            "coverage_90": float(inside.mean()),
            "coverage_by_joint": dict(zip(self.joint_names, inside.mean(axis=0).tolist())),
            "seconds": self.seconds,
            "candidates": self.candidates,
            "sim_steps_per_s": self.steps_per_s,
            "interval_90": {k: list(v) for k, v in self.posterior.interval().items()},
            "known": self.posterior.known,
        }


def identify_arm(
    robot: RobotModel,
    logs: Sequence[JointLog],
    config: IdentifyConfig,
    progress: Progress | None = None,
    space: ParameterSpace | None = None,
    judged: Collection[str] = (),
    start: np.ndarray | None = None,
) -> Identification:
    """Identify `robot` from recordings of it.

    Args:
        robot: the arm.
        logs: with commands.
        config: of the fit.
        progress: called with the share that is done.
        space: the prior, by default `prior`'s; of torques, `TorqueIdentification.space`.
        judged: names of the recordings that are held out; a share drawn at random by default.
        start: (d,) candidate in the unit cube that the search begins at, as of a fit to fewer recordings.

    Raises:
        LogError: with all reasons, if a recording is unusable, or if those left for the fit are none.
    """
    config.validate()
    ordered = [log.in_order(robot) for log in logs]
    inspections = [inspect(log, robot) for log in ordered]
    refused = [f"log '{i.log}': {f.text}" for i in inspections for f in i.refused]
    if refused:
        raise LogError("; ".join(refused))
    uniform = [resample_log(log, inspection) for log, inspection in zip(ordered, inspections)]
    if judged:
        train, test = ([log for log in uniform if (log.name in judged) == held] for held in (False, True))
        if not train or not test:
            raise LogError(f"of {len(logs)} logs {len(test)} are held out; expected at least one on either side")
    else:
        train, test = split_recordings(uniform, config.held_out, config.seed)
    chosen = spread(replay_windows(train, config.window), config.most_windows)
    used = np.any([w.log.joint_used for w in chosen], axis=0)
    fixed, left_out = _not_identifiable(robot, used, [i for i in inspections if i.log in {log.name for log in train}])
    space = space or prior(robot, config.gravity_compensation)
    replay = Replay(robot, chosen, config.workers)
    found = fit_servo(replay, space, config.fit, fixed, progress, start)
    result = posterior(found, space, used, tuple(speeds(replay, space.at(found.u), found.errors)))
    result = METHODS[config.method](replay, space, found, result, used, np.random.default_rng(config.seed))
    result = scaled_to(replay, found, result, used, np.random.default_rng(config.seed))
    return Identification(
        robot.name,
        robot.joint_names,
        tuple(inspections),
        tuple(dict.fromkeys(log.name for log in train)),
        tuple(dict.fromkeys(log.name for log in test)),
        result,
        replay_held_out(robot, replay_windows(test), result, config.seed, config.workers),
        left_out,
        found.seconds,
        found.candidates,
        found.simulator_steps / found.seconds,
        found.quick,
    )


def _laplace(replay, space, found, result, used, rng) -> Posterior:
    return result


def _dropo(replay, space, found, result, used, rng) -> Posterior:
    return dropo(found, result, used)


METHODS: dict[str, Callable[..., Posterior]] = {"laplace": _laplace, "dropo": _dropo, "sbi": simulation_based}
"""Name to a function of the fit and its Gauss–Newton posterior that returns the reported posterior."""


def split_recordings(
    logs: Sequence[UniformLog], held_out: float, seed: int
) -> tuple[list[UniformLog], list[UniformLog]]:
    """Split recordings at random by name and seed; a single one by time."""
    if len(logs) == 1:
        log = logs[0]
        cut = round(len(log.q) * (1 - held_out))
        return [_piece(log, 0, cut)], [_piece(log, cut, len(log.q))]
    ordered = sorted(logs, key=lambda log: log.name)
    order = np.random.default_rng(seed).permutation(len(ordered))
    kept = min(max(1, round(len(ordered) * (1 - held_out))), len(ordered) - 1)
    return [ordered[i] for i in order[:kept]], [ordered[i] for i in order[kept:]]


def spread(chosen: Sequence[ReplayWindow], most: int) -> tuple[ReplayWindow, ...]:
    """Return at most `most` of the windows, evenly spread."""
    if len(chosen) <= most:
        return tuple(chosen)
    return tuple(chosen[i] for i in np.unique(np.linspace(0, len(chosen) - 1, most).round().astype(int)))


def replay_held_out(
    robot: RobotModel, chosen: Sequence[ReplayWindow], result: Posterior, seed: int, workers: int = 2
) -> tuple[HeldOutReplay, ...]:
    """Replay `chosen` open loop from their first sample, with draws of the posterior for the band."""
    rng = np.random.default_rng(seed)
    replay = Replay(robot, chosen, workers)
    draws = result.draws(rng, DRAWS)
    nominal, best = result.prior.nominal(), result.best
    errors = replay.batch([nominal, best, *draws])
    scale = np.ones(len(result.error_floor)) if result.band is None else result.band
    found = []
    for i, w in enumerate(chosen):
        skip = w.steps - len(errors[0][i])
        measured = w.q[skip:]
        before, after, *drawn = (e[i] + measured for e in errors)
        std = result.error_floor + result.error_slope * np.abs(np.gradient(after, w.log.period, axis=0))
        noise = scores(rng, len(drawn), measured.shape[1])
        low, high = (after + scale * end for end in band_ends(np.array(drawn), after, std, noise))
        stretch = slice(w.start + skip, w.start + w.steps)
        t = w.log.period * np.arange(len(measured))
        found.append(HeldOutReplay(w.log.name, t, w.log.command[stretch], measured, before, after, low, high))
    return tuple(found)


def _not_identifiable(
    robot: RobotModel, used: np.ndarray, inspections: Sequence[Inspection]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the parameters that stay at their prior, and descriptions for the report."""
    fixed = [f"servo_{term}_{joint}" for joint, use in zip(robot.joint_names, used) if not use for term in JOINT_TERMS]
    words = [f"servo of {joint}" for joint, use in zip(robot.joint_names, used) if not use]
    if all(i.delay_unknown for i in inspections):
        fixed.append("servo_delay")
        words.append("command delay")
    return tuple(fixed), tuple(words)


def _piece(log: UniformLog, start: int, stop: int) -> UniformLog:
    inside = [
        (max(a, start) - start, min(b, stop) - start) for a, b in log.segments if min(b, stop) - max(a, start) > 1
    ]
    return UniformLog(log.name, log.period, log.command[start:stop], log.q[start:stop], tuple(inside), log.joint_used)


def base_space(task: str | None, robot: RobotModel, preset: str) -> ParameterSpace | None:
    """Return the task's space at `preset`, with the parameters that the identified arm replaces at nominal.

    Otherwise delay, lag, backlash, friction and gains would be applied twice.
    """
    if task is None:
        return None
    from sim.catalogue import parameter_space
    from sim.tasks import load_task

    space = parameter_space(load_task(task), robot)
    nominal, chosen = {param.name: param for param in space.narrowed(0.0).params}, space.preset(preset)
    replaced = (name for name in space.names if name in REPLACED or name.startswith(REPLACED_PREFIXES))
    return replace(chosen.with_params(*(nominal[name] for name in replaced)), name=preset)
