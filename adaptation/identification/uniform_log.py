"""A recording's commands and states on one time grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adaptation.identification.joint_log import JointLog
from adaptation.identification.log_inspection import GAP, Inspection


@dataclass(frozen=True)
class UniformLog:
    """Commands and states on one grid."""

    name: str
    """Of the recording."""
    period: float
    """Time step [s]."""
    command: np.ndarray
    """(N, n) mean command of each period [rad]."""
    q: np.ndarray
    """(N, n) measured positions at the beginning of each period [rad]."""
    segments: tuple[tuple[int, int], ...]
    """Segments [start, stop) without a gap."""
    joint_used: np.ndarray
    """(n,) whether the recording excites each joint."""


def resample_log(log: JointLog, inspection: Inspection, period: float | None = None) -> UniformLog:
    """Resample commands (held) and states (interpolated) to a grid of `period` [s], by default the states' median.

    Commands that change within a period are averaged over it.

    Raises:
        LogError: if `inspection` has a refusal.
    """
    inspection.check()
    first = 0
    while first + 2 < len(log.t) and not np.abs(log.q[first + 1] - log.q[0]).any() and log.t[first + 1] == log.t[0]:
        first += 1  # a recorder that repeats its first sample
    t, q = log.t[first:], log.q[first:]
    distinct = np.concatenate([[True], np.diff(t) > 0])
    t, q = t[distinct], q[distinct]
    period = period or float(np.median(np.diff(t)))
    start, stop = max(t[0], log.t_command[0]), min(t[-1], log.t_command[-1])
    grid = start + period * np.arange(int((stop - start) / period))
    positions = np.stack([np.interp(grid, t, q[:, j]) for j in range(q.shape[1])], axis=1)
    edges = np.append(grid, grid[-1] + period)
    # the integral of the held command is piecewise linear
    widths = np.diff(log.t_command)[:, None]
    integral = np.vstack([np.zeros(q.shape[1]), np.cumsum(log.command[:-1] * widths, axis=0)])
    ends = np.append(log.t_command, log.t_command[-1] + 1e3)
    integral = np.vstack([integral, integral[-1] + 1e3 * log.command[-1]])
    command = np.stack([np.diff(np.interp(edges, ends, integral[:, j])) / period for j in range(q.shape[1])], axis=1)
    gap = np.flatnonzero(np.diff(t) > GAP * np.median(np.diff(t)))
    segments, at = [], 0
    for k in gap:
        stop_at = int(np.searchsorted(grid, t[k], side="right"))
        if stop_at - at > 1:
            segments.append((at, stop_at))
        at = int(np.searchsorted(grid, t[k + 1]))
    if len(grid) - at > 1:
        segments.append((at, len(grid)))
    used = np.array([joint not in inspection.left_out for joint in log.joint_names])
    return UniformLog(log.name, period, command, positions, tuple(segments), used)
