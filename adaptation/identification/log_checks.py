"""Checks of a recording of any purpose: what is missing, stamps, units, end stops, and commands that are none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from adaptation.identification.joint_log import JointLog
from robots.model import RobotModel

Level = Literal["refused", "left out", "note"]
LogUse = Literal["motion", "torque", "both"]
"""What is identified from: commands and positions, positions and torques, or both."""

FEWEST = 10
"""Samples of a recording."""
SPAN = 0.05
"""Time over which speeds are differences of positions [s]."""
TURNING = 0.02
"""A joint with a smaller standard deviation of its speed [rad/s] tells nothing of units and clocks."""
JUMP = 10.0
"""A pause of so many periods, over which the motion goes on as if there were none, is a jump of the clock."""
STILL = 0.003
"""A joint that changes less [rad] stands."""
STANDING, PUSHED = 0.3, 0.12
"""Shortest time at an end stop [s], and how far a command goes beyond it [rad]: more than static friction holds, 0.1
for an SO-101's servos."""
AT_STOP = 0.02
"""Largest share of a recording in which a joint may stand at an end stop."""
REPEATED = 0.5
"""A command that equals the measured position in a larger share of the moving samples is an echo of it."""
UNIT_FACTOR = 3.0
"""Values beyond so many of the arm's limits are in another unit."""
CURRENT = 100.0
"""Larger currents [A] are in mA."""


@dataclass(frozen=True)
class Finding:
    """One finding of `adaptation.identification.log_inspection.inspect`."""

    level: Level
    """refused: unusable; left out: used without this part; note: information only."""
    text: str
    """What is wrong, the value, the value expected, the next step."""
    joint: str | None = None
    """The joint, or None for the whole recording."""


def missing_values(log: JointLog, robot: RobotModel, source: LogUse) -> list[Finding]:
    """Name what `source` needs and the recording lacks, and rows that hold something else than numbers."""
    needed = [("positions", log.q, "q")]
    if source != "torque":
        needed.append(("commands", log.command, "q_cmd"))
    texts = []
    if source != "motion" and log.tau is None and log.current is not None:
        texts.append("currents, but no torques: give --torque-constants, one per joint [N·m/A at the joint]")
    elif source != "motion":
        needed.append(("torques", np.zeros((0, 1)) if log.tau is None else log.tau, "tau"))
    lacking: dict[str, list[str]] = {}
    for label, values, key in needed:
        there = np.isfinite(values).any(axis=0) if len(values) else np.zeros(len(log.joint_names), bool)
        if not there.any():
            texts.append(
                f"no {label} (read: {log.columns or 'nothing else'}); record them, or name them as in --columns "
                f"{key}=NAME" + (_other_source(log, source) if key == "q_cmd" else "")
            )
        for joint, found in zip(log.joint_names, there):
            if there.any() and not found:
                lacking.setdefault(joint, []).append(label)
    texts += [
        f"joint '{joint}' of robot '{robot.name}' is missing: no {' and no '.join(labels)} (read: {log.columns or '-'})"
        "; is this the right arm, and are the names the driver's?"
        for joint, labels in lacking.items()
    ]
    found = {"position": log.q, "velocity": log.dq, "torque": log.tau, "current": log.current}
    for label, part in {"command": log.command, **found}.items():
        if part is None or not len(part):
            continue
        bad = np.flatnonzero(_not_finite(part))
        if len(bad) and np.isfinite(part).any():
            row, j = bad[0], int(np.argmin(np.isfinite(part[bad[0]])))
            texts.append(
                f"{label} has {len(bad)} of {len(part)} rows with values that are not finite numbers, the first row "
                f"{row} (joint '{log.joint_names[j]}'); remove those rows"
            )
        if len(part) < FEWEST:
            texts.append(f"{len(part)} {label} samples, expected at least {FEWEST}; record longer")
    return [Finding("refused", text) for text in texts]


def _other_source(log: JointLog, source: LogUse) -> str:
    there = source == "motion" and (log.tau is not None or log.current is not None)
    return "; its torques alone serve --from torque" if there else ""


def _not_finite(values: np.ndarray) -> np.ndarray:
    """Return the rows (N,) with values that are not finite, in columns that have others."""
    there = np.isfinite(values).any(axis=0)
    return ~np.isfinite(values[:, there]).all(axis=1)


def stamps(log: JointLog) -> list[Finding]:
    """Check that both clocks run forwards, in seconds."""
    texts, notes = [], []
    for label, t in (("state", log.t), ("command", log.t_command)):
        if label == "command" and (len(t) == 0 or t is log.t or np.array_equal(t, log.t)):
            continue
        good = t[np.isfinite(t)]
        if len(good) < 2:
            texts.append(f"no {label} stamps (read: {log.columns or '-'}); name them, as in --columns t=NAME")
            continue
        if len(good) < len(t):
            texts.append(f"{len(t) - len(good)} {label} stamps are not finite; remove those rows")
        steps = np.diff(good)
        step = float(np.median(steps))
        if (steps < 0).any():
            row = int(np.argmax(steps < 0)) + 1
            times = f", {(steps < 0).sum()} times in all" if (steps < 0).sum() > 1 else ""
            texts.append(
                f"{label} stamps run backwards at row {row} ({good[row - 1]:.4f} s to {good[row]:.4f} s){times}; are "
                "two recordings in one file, or was the clock set?"
            )
        if step <= 0:
            texts.append(f"most {label} stamps are equal; record the sensors' own stamps")
        elif step >= 0.5:
            unit = "ms" if step < 500 else "us" if step < 5e5 else "ns"
            texts.append(f"one {label} in {step:g} s: these stamps look like {unit}: pass --units {unit}")
        elif (steps == 0).any():
            notes.append(
                f"{(steps == 0).sum()} of {len(t)} {label} stamps repeat the one before; only the first is used"
            )
    return [*(Finding("refused", text) for text in texts), *(Finding("note", text) for text in notes)]


def readable(log: JointLog) -> JointLog | None:
    """Return what further checks can read: finite rows, joints that are there, clocks that run forwards.

    For checks only, so that a recording's problems are all found at once. None where too little is left.
    """
    parts = (log.q, log.dq, log.tau, log.current)
    keep = np.isfinite(log.t) & ~np.any([_not_finite(part) for part in parts if part is not None], axis=0)
    kept = np.isfinite(log.t_command) & ~_not_finite(log.command) if len(log.t_command) else np.zeros(0, bool)
    there = np.isfinite(log.q).any(axis=0)
    if kept.any():
        there &= np.isfinite(log.command).any(axis=0)
    if log.tau is not None and np.isfinite(log.tau).any():
        there &= np.isfinite(log.tau).any(axis=0)
    if keep.sum() < FEWEST or not there.any() or (len(kept) and kept.sum() < FEWEST):
        return None
    names = tuple(joint for joint, found in zip(log.joint_names, there) if found)
    states: dict[str, Any] = {"q": log.q, "dq": log.dq, "tau": log.tau, "current": log.current}
    left = replace(
        log,
        t=_forwards(log.t[keep]),
        t_command=_forwards(log.t_command[kept]),
        command=log.command[kept],
        **{name: part[keep] for name, part in states.items() if part is not None},
    )
    return left.each(lambda values: values[:, there], names)


def _forwards(t: np.ndarray) -> np.ndarray:
    steps = np.diff(t)
    if not (steps < 0).any():
        return t
    usual = np.median(steps[steps > 0]) if (steps > 0).any() else 0.0
    return np.concatenate([t[:1], t[0] + np.cumsum(np.where(steps < 0, usual, steps))])


def limits_of(log: JointLog, robot: RobotModel, name: str) -> np.ndarray:
    """Return the limit `name` of the robot for each of the recording's joints."""
    values = dict(zip(robot.joint_names, getattr(robot.limits, name)))
    return np.array([values[joint] for joint in log.joint_names])


def position_units(log: JointLog, robot: RobotModel) -> list[Finding]:
    """Check that positions are within what the arm can reach, and change no faster than it can."""
    limits = np.maximum(*(np.abs(limits_of(log, robot, name)) for name in ("q_low", "q_high")))
    everything = np.vstack([log.q, log.command])
    largest = np.abs(everything).max(axis=0)
    fastest = np.quantile(np.abs(_speeds(log)[1]), 0.95, axis=0)
    for value, limit, factor, said, unit in (
        (largest, limits, 1.5, "reaches", "rad"),
        (fastest, limits_of(log, robot, "dq"), UNIT_FACTOR, "turns at", "rad/s"),
    ):
        j = int(np.argmax(value / limit))
        if value[j] > factor * limit[j]:
            degrees = bool((value * np.pi / 180 <= factor * limit).all())
            which = "these look like degrees: pass --units degrees" if degrees else "which unit is this, and is this "
            which += "" if degrees else "the right arm?"
            text = f"joint '{log.joint_names[j]}' {said} {value[j]:.1f}, its limit is {limit[j]:.2f} {unit}; {which}"
            return [Finding("refused", text, log.joint_names[j])]
    return []


def _speeds(log: JointLog) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (k,) in the middle of spans of `SPAN`, and mean speeds (k, n) over them [rad/s]."""
    step = max(float(np.median(np.diff(log.t))), 1e-9)
    rows = min(max(2, round(SPAN / step)), len(log.t) - 1)
    span = log.t[rows:] - log.t[:-rows]
    good = np.flatnonzero((span > 0) & (span < 3 * rows * step))
    change = (log.q[rows:] - log.q[:-rows])[good]
    middle = good + rows // 2
    return (middle, change / span[good, None]) if len(good) else (np.zeros(1, int), np.zeros((1, log.q.shape[1])))


def torque_units(log: JointLog, robot: RobotModel) -> list[Finding]:
    """Check units and signs of speeds, torques and currents."""
    texts = []
    rows, speed = _speeds(log)
    moving = speed.std(axis=0) > TURNING
    if log.dq is not None and np.isfinite(log.dq).all() and moving.any():
        recorded, derived = log.dq[rows][:, moving], speed[:, moving]
        factor = np.sum(recorded * derived) / np.sum(derived**2)
        if 45 < factor < 70:
            texts.append(f"speeds are {factor:.1f} times the change of positions: degrees/s beside radians")
        elif not 0.5 < factor < 2:
            texts.append(
                f"speeds are {factor:.2g} times the change of positions, expected once; which unit and sign? Without "
                "that column they are computed"
            )
    if log.current is not None and np.quantile(np.abs(log.current), 0.99) > CURRENT:
        largest = float(np.quantile(np.abs(log.current), 0.99))
        texts.append(f"currents reach {largest:.0f} A; these look like mA: pass --units mA")
    elif log.tau is not None and np.isfinite(log.tau).all():
        limit, largest = limits_of(log, robot, "tau"), np.quantile(np.abs(log.tau), 0.99, axis=0)
        j = int(np.argmax(largest / limit))
        if largest[j] > UNIT_FACTOR * limit[j]:
            texts.append(
                f"torques of joint '{log.joint_names[j]}' reach {largest[j]:.1f}, its limit is {limit[j]:.1f} N·m; are "
                "they per mille of the rated torque, N·mm or currents, or are the torque constants the motor's, "
                "without the gear?"
            )
        zero = [joint for joint, part in zip(log.joint_names, log.tau.T) if not part.any()]
        if zero:
            texts.append(f"the torque of {', '.join(zero)} is always 0: the driver does not report it")
        elif moving.all() and (log.tau >= 0).all() and (np.abs(np.sign(speed).mean(axis=0)) < 0.9).all():
            texts.append("no torque is ever negative, though joints turn both ways; record them with their sign")
    return [Finding("refused", text) for text in texts]


def clock_jumps(log: JointLog) -> list[Finding]:
    """Find pauses over which the motion went on as if there had been none: the clock was set forwards."""
    steps = np.diff(log.t)
    step = float(np.median(steps))
    found = []
    for k in np.flatnonzero(steps > JUMP * step):
        if not 2 <= k < len(steps) - 2 or log.t[k] <= log.t[k - 2]:
            continue
        before = (log.q[k] - log.q[k - 2]) / (log.t[k] - log.t[k - 2])
        moving = np.abs(before) * steps[k] > 10 * STILL
        change = log.q[k + 1] - log.q[k] - before * step
        if moving.any() and (np.abs(change) < 0.1 * np.abs(before) * steps[k])[moving].all():
            found.append((k, steps[k]))
    return [
        Finding(
            "refused",
            f"the clock jumps by {gap:+.3f} s at row {k + 1} ({log.t[k]:.3f} s), over which the motion goes on as "
            "after one period; was the clock set? Correct the stamps, or cut the recording there",
        )
        for k, gap in found
    ]


def echoes(log: JointLog) -> list[str]:
    """Return joints whose command repeats the measured position, of this sample or a neighbour."""
    if not len(log.t_command):
        return []
    held = np.searchsorted(log.t_command, log.t, side="right") - 1
    found = []
    for j, joint in enumerate(log.joint_names):
        q, command = log.q[:, j], log.command[:, j]
        moving = np.abs(np.gradient(q)) > 1e-5
        if moving.mean() < 0.05:
            continue
        candidates = [command[np.clip(held + k, 0, len(command) - 1)] for k in (-1, 0, 1)]
        candidates.append(np.interp(log.t, log.t_command, command))
        if max(float((np.abs(c - q) < 1e-6)[moving].mean()) for c in candidates) > REPEATED:
            found.append(joint)
    return found


def end_stops(log: JointLog, robot: RobotModel) -> list[Finding]:
    """Find joints that stand at an end stop, by their limit, a command that leads beyond, or a torque that pushes."""
    found = []
    step = max(float(np.median(np.diff(log.t))), 1e-9)
    ends = limits_of(log, robot, "q_low"), limits_of(log, robot, "q_high")
    for j, joint in enumerate(log.joint_names):
        q = log.q[:, j]
        if q.std() < TURNING:
            continue
        for sign, limit in ((-1, ends[0][j]), (1, ends[1][j])):
            end = float(np.max(sign * q)) * sign
            for start, stop in _runs(sign * (end - q) < STILL, max(2, round(STANDING / step))):
                if sign * (end - limit) > -STILL or _pushed(log, j, sign, slice(start, stop)):
                    found.append((joint, start, stop, end, limit))
    by_joint: dict[str, list] = {}
    for joint, *rest in found:
        by_joint.setdefault(joint, []).append(rest)
    findings = []
    for joint, parts in by_joint.items():
        share = sum(stop - start for start, stop, *_ in parts) / len(log.t)
        start, _, end, limit = parts[0]
        text = (
            f"joint '{joint}' stands at an end stop ({end:.3f} rad, limit {limit:.3f}) for {100 * share:.1f} % of the "
            f"recording, first at {log.t[start]:.2f} s; the stop's force is unknown: cut these parts, or move within "
            "the limits"
        )
        findings.append(Finding("refused" if share > AT_STOP else "note", text, joint))
    return findings


def _runs(mask: np.ndarray, shortest: int) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2) if b - a >= shortest]


def _pushed(log: JointLog, j: int, sign: int, rows: slice) -> bool:
    """Return whether a command moves beyond a standing joint, or its torque exceeds all of the rest."""
    if len(log.t_command):
        command = sign * np.interp(log.t[rows], log.t_command, log.command[:, j])
        beyond = command - (sign * log.q[rows, j]).max()
        if min(beyond.max(), np.ptp(command)) > PUSHED:
            return True
    if log.tau is not None and np.isfinite(log.tau).all():
        push = sign * log.tau[:, j]
        rest = np.concatenate([push[: rows.start], push[rows.stop :]])
        return len(rest) > FEWEST and bool(np.median(push[rows]) > 1.2 * max(np.quantile(rest, 0.99), 1e-6))
    return False
