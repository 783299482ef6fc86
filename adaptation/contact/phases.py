"""What an arm does with an object in a recording: nothing, holds it in the air, or pushes it over the table."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.signal import butter, sosfiltfilt

from adaptation.contact.contact_log import ContactLog
from adaptation.identification.torque.inertial import Motion
from robots.model import RobotModel

STILL = 0.002
"""Fingers that close more slowly than this have stopped [m/s]."""
GRIP = 0.003
"""A grasp begins with fingers that close by this much, and is over when they move by it again [m]; fingers that stand
no farther than this from their end hold nothing."""
LIFTED = 0.02
"""Height over the grasp from which on the object is in the air [m]."""
SLIDING = 0.015
"""Speed from which on an object slides [m/s]."""
SEEN_HZ = 1.5
"""Cut-off of the low-pass filter of the object's places [Hz]."""
BESIDE = 0.15
"""Largest distance of a hand that pushes from the object [m]."""
ALONG = 0.8
"""Least cosine between the directions of hand and object in a push."""
MARGIN, SEEN_MARGIN = 0.2, 0.35
"""Left out at either end of every phase, and of a push [s]: filters mix the two sides."""
SHORTEST = 0.3
"""Shortest phase [s]."""


@dataclass(frozen=True)
class Phases:
    """Of the samples of a `Motion`."""

    free: np.ndarray
    """(T,) bool: the arm touches nothing."""
    held: np.ndarray
    """(T,) bool: the object hangs in the fingers."""
    pushed: np.ndarray
    """(T,) bool: the object slides on the table, driven by the hand."""
    direction: np.ndarray
    """(T, 3) unit vector of the object's motion, level; zeros without a push."""
    acceleration: np.ndarray
    """(T, 3) of the pushed object [m/s²]; zeros without a push."""
    push: np.ndarray
    """(T,) number of the push, from 0; -1 without one."""

    def __getitem__(self, rows: np.ndarray) -> Phases:
        return Phases(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def lifts(self) -> int:
        """Number of stretches in which the object is held."""
        return int(np.sum(_begins(self.held)))

    @property
    def pushes(self) -> int:
        """Number of pushes."""
        return int(self.push.max(initial=-1)) + 1


def find_phases(found: ContactLog, motion: Motion, robot: RobotModel) -> Phases:
    """Divide the samples of `motion`, made of `found`'s joints."""
    t = motion.t
    ee = robot.chain.positions(motion.q)
    gripping, base = _grasps(found, t, ee, robot)
    held = gripping & (ee[:, 2] > base + LIFTED)
    sliding, velocity = _sliding(found, t)
    hand = np.gradient(ee, t, axis=0)
    speed, pace = np.linalg.norm(velocity, axis=1), np.linalg.norm(hand[:, :2], axis=1)
    cosine = np.sum(velocity[:, :2] * hand[:, :2], axis=1) / np.maximum(speed * pace, 1e-9)
    near = _distance(found, t, ee) < BESIDE
    pushed = sliding & ~gripping & near & (cosine > ALONG)
    touching = gripping | sliding
    level = velocity / np.maximum(speed, 1e-9)[:, None]
    period = float(t[1] - t[0])
    held, free = (_inner(rows, period, MARGIN) for rows in (held, ~touching))
    pushed = _inner(pushed, period, SEEN_MARGIN)
    return Phases(
        free,
        held,
        pushed,
        np.where(pushed[:, None], level, 0.0),
        np.where(pushed[:, None], np.gradient(velocity, t, axis=0), 0.0),
        np.where(pushed, np.cumsum(_begins(pushed)) - 1, -1),
    )


def _grasps(found: ContactLog, t: np.ndarray, ee: np.ndarray, robot: RobotModel) -> tuple[np.ndarray, np.ndarray]:
    """Return when (T,) the fingers stand around something, and the hand's height (T,) [m] when they closed on it."""
    gripping, base = np.zeros(len(t), bool), np.full(len(t), np.inf)
    if found.opening is None or robot.gripper is None:
        return gripping, base
    opening = np.interp(t, found.log.t, found.opening)
    width = max(3, round(0.1 / float(t[1] - t[0])))
    smooth = np.convolve(np.pad(opening, width, mode="edge"), np.ones(width) / width, "same")[width:-width]
    speed = np.gradient(smooth, t)
    low, high = sorted((robot.gripper.closed, robot.gripper.opened))
    largest, start = smooth[0], None
    for i in range(len(t)):
        if start is None:
            largest = max(largest, smooth[i])
            stopped = abs(speed[i]) < STILL and smooth[i] < largest - GRIP
            if stopped and low + GRIP < smooth[i] < high - GRIP:
                start = i
            elif stopped:
                largest = smooth[i]  # closed on nothing
        elif abs(smooth[i] - smooth[start]) > GRIP:  # let go, or lost
            start, largest = None, smooth[i]
        if start is not None:
            gripping[i], base[i] = True, ee[start, 2]
    return gripping, base


def _sliding(found: ContactLog, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return when (T,) the object slides, and its level velocity (T, 3) [m/s]."""
    velocity = np.zeros((len(t), 3))
    if len(found.t_object) < 8:
        return np.zeros(len(t), bool), velocity
    dt = float(np.median(np.diff(found.t_object)))
    grid = np.arange(found.t_object[0], found.t_object[-1], dt)
    p = np.stack([np.interp(grid, found.t_object, column) for column in found.p_base_object.T], axis=1)
    cut = min(SEEN_HZ, 0.4 / dt)
    smooth = sosfiltfilt(butter(2, cut, fs=1 / dt, output="sos"), p, axis=0) if len(p) > 20 else p
    speed = np.gradient(smooth, dt, axis=0)
    velocity[:, :2] = np.stack([np.interp(t, grid, column) for column in speed[:, :2].T], axis=1)
    rising = np.abs(np.interp(t, grid, speed[:, 2])) > SLIDING
    return (np.linalg.norm(velocity, axis=1) > SLIDING) & ~rising, velocity


def _distance(found: ContactLog, t: np.ndarray, ee: np.ndarray) -> np.ndarray:
    """Return the level distance (T,) of the hand from the object [m]; infinite where nobody saw it."""
    if not len(found.t_object):
        return np.full(len(t), np.inf)
    p = np.stack([np.interp(t, found.t_object, column) for column in found.p_base_object[:, :2].T], axis=1)
    return np.linalg.norm(ee[:, :2] - p, axis=1)


def _inner(rows: np.ndarray, period: float, margin_s: float) -> np.ndarray:
    """Return `rows` (T,) without `margin_s` [s] at either end of every run, and without runs that are then short."""
    found = np.zeros(len(rows), bool)
    margin, least = round(margin_s / period), round(SHORTEST / period)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], rows, [False]])))
    for a, b in edges.reshape(-1, 2):
        if b - a - 2 * margin >= least:
            found[a + margin : b - margin] = True
    return found


def _begins(rows: np.ndarray) -> np.ndarray:
    """Return where (T,) a run of `rows` (T,) begins."""
    return np.diff(np.concatenate([[0], rows.astype(int)])) == 1
