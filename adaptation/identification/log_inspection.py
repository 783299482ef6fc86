"""Check a recording of an arm's joints before a fit: all that is wrong with it, and which joints it does not excite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adaptation.identification.joint_log import JointLog, LogError
from adaptation.identification.log_checks import (
    Finding,
    LogUse,
    clock_jumps,
    echoes,
    end_stops,
    limits_of,
    missing_values,
    position_units,
    readable,
    stamps,
    torque_units,
)
from robots.model import RobotModel

GAP = 3.0
"""A pause of this many periods between samples is a gap: no window reaches across it."""
CONSTANT = 0.005
"""A command with a smaller standard deviation [rad] does not excite its joint."""
SATURATED = 0.2
"""Largest share of samples with a joint's command at its limit, or its torque at the motor's."""
ZERO_ERROR = 0.2
"""A larger mean distance [rad] between command and measurement is a wrong zero, not a tracking error."""
MOVING = 0.002
"""A larger change of the command between two states [rad] should change the second state."""
SMALL_MOTION = 0.02
"""The sign of a joint with a smaller standard deviation [rad] is not checked: it may be within its backlash."""
LATEST = 0.5
"""Largest lag of the cross-correlation [s]."""
SLOWEST, SHORTEST = 50.0, 5.0
"""Lowest rate [Hz] and shortest length [s] of a recording of torques."""


@dataclass(frozen=True)
class Inspection:
    """Result of checking a recording."""

    log: str
    """Name of the recording."""
    duration: float
    """Overlap of commands and states, or length of the states without commands [s]."""
    rate_hz: float
    """Median rate of the states."""
    command_rate_hz: float
    """Median rate of the commands; 0 without commands."""
    lag: tuple[float, ...]
    """Lag of each joint behind its command by cross-correlation [s]; NaN without motion."""
    findings: tuple[Finding, ...]
    """In order of discovery."""

    @property
    def refused(self) -> tuple[Finding, ...]:
        """Findings that make the recording unusable."""
        return tuple(f for f in self.findings if f.level == "refused")

    @property
    def left_out(self) -> tuple[str, ...]:
        """Joints that this recording does not excite."""
        return tuple(dict.fromkeys(f.joint for f in self.findings if f.level == "left out" and f.joint))

    @property
    def delay_unknown(self) -> bool:
        """Whether the rate is too low to identify the delay."""
        return any(f.level == "left out" and f.joint is None for f in self.findings)

    def check(self) -> None:
        """Raise `LogError` if the recording cannot be used."""
        if self.refused:
            raise LogError(f"log '{self.log}': " + "; ".join(f.text for f in self.refused))

    def lines(self) -> list[str]:
        """Return the report as text."""
        commands = f"commands at {self.command_rate_hz:.1f} Hz" if self.command_rate_hz else "no commands"
        head = f"{self.log}: {self.duration:.1f} s, states at {self.rate_hz:.1f} Hz, {commands}"
        return [head, *(f"  {f.level}: {f.text}" for f in self.findings)]


def inspect(log: JointLog, robot: RobotModel, shortest_delay: float = 0.02, source: LogUse = "motion") -> Inspection:
    """Check `log`, in `robot`'s joint order, for everything that would invalidate a fit; all of it at once.

    Args:
        log: from `JointLog.in_order`.
        robot: for limits.
        shortest_delay: shortest delay [s] that the rate must resolve.
        source: what is identified from; commands are checked for motion only, torques for torque only.
    """
    found = missing_values(log, robot, source) + stamps(log)
    name, left = log.name, readable(log)
    nothing = tuple(float("nan") for _ in log.joint_names)
    if left is None:
        return Inspection(name, 0.0, 0.0, 0.0, nothing, tuple(found))
    log = left
    step = float(np.median(np.diff(log.t)))
    step_command = float(np.median(np.diff(log.t_command))) if len(log.t_command) else 0.0
    duration, rate = float(np.ptp(log.t)), 1 / step if step > 0 else 0.0
    rate_command = 1 / step_command if step_command > 0 else 0.0
    units = position_units(log, robot)
    found += units
    if any("degrees" in f.text for f in units):
        log = log.in_si(("degrees",))  # for what else is wrong
    if step > 0:
        found += clock_jumps(log)
    found += end_stops(log, robot)
    if source != "motion":
        found += torque_units(log, robot) + _torque_sampling(log, step)
    lags = dict.fromkeys(log.joint_names, float("nan"))
    if source != "torque" and rate and rate_command:
        duration = _overlap(log)
        found += _motion(log, robot, step, step_command, shortest_delay, lags, bool(units))
    lag = tuple(lags.get(joint, float("nan")) for joint in robot.joint_names)
    return Inspection(name, duration, rate, rate_command, lag, tuple(found))


def _overlap(log: JointLog) -> float:
    return float(max(min(log.t[-1], log.t_command[-1]) - max(log.t[0], log.t_command[0]), 0.0))


def _torque_sampling(log: JointLog, step: float) -> list[Finding]:
    """Check rate and length, and which joints move, for a fit to torques."""
    texts = []
    if step > 1 / SLOWEST:
        texts.append(f"{1 / step:.0f} samples a second, expected at least {SLOWEST:.0f} for torques; record faster")
    if step > 0 and np.ptp(log.t) < SHORTEST:
        texts.append(f"{np.ptp(log.t):.1f} s, expected at least {SHORTEST:.0f} s; record longer")
    still = [joint for joint, q in zip(log.joint_names, log.q.T) if q.std() < CONSTANT]
    if len(still) == len(log.joint_names):
        texts.append("no joint moves; record a motion ('sim2real excite')")
        still = []
    return [
        *(Finding("refused", text) for text in texts),
        *(Finding("left out", f"joint '{j}' does not move; its friction and rotor stay unknown", j) for j in still),
    ]


def _motion(
    log: JointLog,
    robot: RobotModel,
    step: float,
    step_command: float,
    shortest_delay: float,
    lags: dict[str, float],
    wrong_units: bool,
) -> list[Finding]:
    """Check commands against states, and put each joint's lag into `lags`."""
    shared, shorter = _overlap(log), min(np.ptp(log.t), np.ptp(log.t_command))
    if shared < 0.5 * shorter:
        return [
            Finding(
                "refused",
                f"the clocks of commands ({log.t_command[0]:.2f} to {log.t_command[-1]:.2f} s) and states "
                f"({log.t[0]:.2f} to {log.t[-1]:.2f} s) share {shared:.2f} s of {shorter:.2f} s; record both "
                "with one clock, or pass --common-start if both began at the same moment (the delay is then unknown)",
            )
        ]
    found = _sampling(log, step, step_command, shortest_delay)
    if echoed := echoes(log):
        text = (
            f"the command of {', '.join(echoed)} repeats the measured position while it moves; record what the "
            "controller receives, not what its state says"
        )
        return [*found, Finding("refused", text)]
    for j, joint in enumerate(log.joint_names):
        findings, lags[joint] = _joint(log, robot, j, joint, max(step, 0.002))
        found += [f for f in findings if not (wrong_units and f.level == "refused")]
    moved = [lag for lag in lags.values() if np.isfinite(lag)]
    if moved and np.median(moved) < -1.5 * max(step, step_command):
        found.append(
            Finding(
                "refused",
                f"the motion is {-np.median(moved):.3f} s ahead of its command; the two clocks are not synchronised: "
                "record both with one clock",
            )
        )
    if not moved:
        found.append(Finding("refused", "no joint was commanded to move; record a motion ('sim2real excite')"))
    return found


def _sampling(log: JointLog, step: float, step_command: float, shortest_delay: float) -> list[Finding]:
    found = []
    gaps = np.flatnonzero(np.diff(log.t) > GAP * step)
    if len(gaps):
        longest = float(np.diff(log.t)[gaps].max())
        found.append(
            Finding("note", f"{len(gaps)} gaps in the states, the longest {longest:.3f} s; no window crosses one")
        )
    command = np.stack([np.interp(log.t, log.t_command, column) for column in log.command.T], axis=1)
    moving = np.abs(np.diff(command, axis=0)).max(axis=1) > MOVING
    still = np.abs(np.diff(log.q, axis=0)).max(axis=1) == 0
    repeated = float(still[moving].mean()) if moving.mean() > 0.1 else 0.0  # a slow joint repeats its encoder's step
    if repeated > 0.3:
        found.append(
            Finding(
                "note",
                f"{100 * repeated:.0f} % of the states repeat the one before while commands move: the arm reports at "
                f"about {(1 - repeated) / step:.0f} Hz, not {1 / step:.0f} Hz",
            )
        )
        step /= max(1 - repeated, 0.01)
    coarse = max(step, step_command)
    if coarse > 2 * shortest_delay:
        found.append(
            Finding(
                "left out",
                f"one sample in {coarse:.3f} s is too slow to tell a delay of {shortest_delay:.3f} s; the delay is "
                f"left at its prior: record at {1 / shortest_delay:.0f} Hz or more",
            )
        )
    return found


def _joint(log: JointLog, robot: RobotModel, j: int, joint: str, step: float) -> tuple[list[Finding], float]:
    """Check one joint; return the findings and its lag behind the command [s]."""
    nan = float("nan")
    if log.command[:, j].std() < CONSTANT:
        text = f"joint '{joint}': its command is constant (±{log.command[:, j].std():.4f} rad); its servo stays unknown"
        return [Finding("left out", text, joint)], nan
    found = []
    low, high, motor = (limits_of(log, robot, name)[j] for name in ("q_low", "q_high", "tau"))
    at_limit = float(((log.command[:, j] <= low + 1e-3) | (log.command[:, j] >= high - 1e-3)).mean())
    if at_limit > SATURATED:
        text = (
            f"joint '{joint}': {100 * at_limit:.0f} % of its commands stand at a limit [{low:.2f}, {high:.2f}] rad; "
            "saturated commands do not excite, its servo stays unknown"
        )
        return [Finding("left out", text, joint)], nan
    if log.tau is not None:
        at_limit = float((np.abs(log.tau[:, j]) >= 0.98 * motor).mean())
        if at_limit > SATURATED:
            text = (
                f"joint '{joint}': {100 * at_limit:.0f} % of its torques stand at the motor's "
                f"{motor:.1f} N·m; gains cannot be told from a saturated motor, its servo stays unknown"
            )
            return [Finding("left out", text, joint)], nan
    if log.q[:, j].std() < 0.1 * log.command[:, j].std():
        text = f"joint '{joint}': it was commanded to move and did not; is it powered, is the name right? Left out"
        return [Finding("left out", text, joint)], nan
    grid = np.arange(max(log.t[0], log.t_command[0]), min(log.t[-1], log.t_command[-1]), step)
    q, command = np.interp(grid, log.t, log.q[:, j]), np.interp(grid, log.t_command, log.command[:, j])
    lag, best, worst = _cross_correlate(q, command, step)
    if worst < -0.5 and best < -0.5 * worst and log.q[:, j].std() > SMALL_MOTION:
        found.append(
            Finding(
                "refused",
                f"joint '{joint}' turns against its command (correlation {worst:.2f}); the sign of one is wrong: "
                "correct the driver or the log",
                joint,
            )
        )
        return found, nan
    if best < 0.3:
        found.append(Finding("note", f"joint '{joint}' hardly follows its command (correlation {best:.2f})"))
        lag = nan
    zero = float(np.mean(q - command))
    if abs(zero) > ZERO_ERROR:
        found.append(
            Finding(
                "refused",
                f"joint '{joint}' stands {zero:+.2f} rad from its command on average (expected less than "
                f"{ZERO_ERROR} rad); its zero is wrong: calibrate it, or correct the log",
                joint,
            )
        )
    return found, lag


def _cross_correlate(q: np.ndarray, command: np.ndarray, step: float) -> tuple[float, float, float]:
    """Return the lag [s] of the largest correlation of the speeds, and the largest and smallest correlation."""
    a, b = np.diff(q), np.diff(command)
    a, b = a - a.mean(), b - b.mean()
    reach = min(round(LATEST / step), len(a) // 3)
    inner = slice(reach, len(a) - reach)
    shifts = np.arange(-reach, reach + 1)
    scale = np.linalg.norm(a) * np.linalg.norm(b) + 1e-12
    correlation = np.array([a[inner] @ b[reach - k : len(b) - reach - k] for k in shifts]) / scale
    return float(shifts[np.argmax(correlation)] * step), float(correlation.max()), float(correlation.min())


def complete(log: JointLog, robot: RobotModel) -> JointLog:
    """Return `log` in `robot`'s joint order, if it has finite positions and commands of all joints, on forward clocks.

    Raises:
        LogError: with all that is missing.
    """
    log = log.in_order(robot)
    found = missing_values(log, robot, "motion") + stamps(log)
    Inspection(log.name, 0.0, 0.0, 0.0, (), tuple(found)).check()
    return log


def show(inspections: Sequence[Inspection]) -> None:
    """Print the reports of several recordings, a finding a line.

    Raises:
        LogError: if one cannot be used, with the number of reasons, which are then printed.
    """
    print("\n".join(line for inspection in inspections for line in inspection.lines()))
    refused = [f"'{i.log}' ({len(i.refused)})" for i in inspections if i.refused]
    if refused:
        raise LogError(f"refused, for the reasons above: {', '.join(refused)}")
