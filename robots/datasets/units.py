"""From a recorder's numbers to SI: elements to joints, degrees, LeRobot's −100 to 100, grippers in percent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from robots.datasets.layout import GRIPPER, DatasetError
from robots.model import RobotModel

Units = Literal["unknown", "radians", "degrees", "normalised"]
"""Of the arm's joints. `normalised` are LeRobot's −100 to 100 between a joint's limits; with it and with `degrees` the
gripper is 0 (closed) to 100."""
MARGIN = 0.1
"""Beyond a joint's limits [rad], or the gripper's travel, that a calibration explains."""
LEAST_SPAN = 0.05
"""Of an arm that moves at all [rad], the joint that moves most."""
FASTEST = 1.5
"""Speed that a recording may show, as a multiple of the joint's limit."""


class JointReader:
    """Turns an array of a foreign data set into joint positions of an arm's model."""

    def __init__(self, where: str, robot: RobotModel, names: Sequence[str] | None, joints: Sequence[str], width: int):
        """Find the arm's joints among the elements of an array.

        Args:
            where: begins errors.
            robot: the arm.
            names: of the elements, as the data set has them.
            joints: of the elements, as the arm's model calls them, where they differ; may be empty.
            width: number of elements.

        Raises:
            DatasetError: if a joint is missing, or there is no telling.
        """
        told = [_plain(name) for name in (joints or names or ())]
        wanted = [_plain(name) for name in robot.joint_names]
        if len(told) != width:
            raise DatasetError(
                f"{where} has {width} elements and {len(told)} names; name them in their order: --joints "
                f"{','.join((*robot.joint_names, GRIPPER))}"
            )
        missing = [name for name in wanted if name not in told]
        if missing:
            raise DatasetError(
                f"{where} lacks joint '{missing[0]}' of '{robot.name}'; its elements are {', '.join(told)}; is this "
                "the right arm? Name them in their order with --joints"
            )
        self._where, self._robot, self._order = where, robot, [told.index(name) for name in wanted]
        grips = [k for k, name in enumerate(told) if GRIPPER in name and name not in wanted]
        self._grip = grips[0] if grips and robot.gripper is not None else None
        self.dropped = [name for k, name in enumerate(told) if k not in (*self._order, self._grip)]
        """Elements that the arm's model does not have."""

    @property
    def has_gripper(self) -> bool:
        """Whether an element is the gripper of the arm."""
        return self._grip is not None

    def convert(self, values: np.ndarray, units: Units) -> tuple[np.ndarray, list[str]]:
        """Return positions (N, n) [rad], the opening [m] behind them, and what was converted.

        Raises:
            DatasetError: if the numbers cannot be what `units` says, or `units` is not known and they are no radians.
        """
        q, done = self._joints(np.asarray(values, np.float64)[:, self._order], units)
        if self._grip is None:
            return q, done
        opening, how = self._opening(np.asarray(values, np.float64)[:, self._grip], units)
        return np.column_stack([q, opening]), done + how

    def _joints(self, raw: np.ndarray, units: Units) -> tuple[np.ndarray, list[str]]:
        limits = self._robot.limits
        low, high = np.array(limits.q_low), np.array(limits.q_high)
        if units == "normalised":
            q = low + (raw + 100) / 200 * (high - low)
        else:
            q = np.radians(raw) if units == "degrees" else raw
        outside = np.maximum(low - q, q - high).max(0)
        j = int(outside.argmax())
        name, worst = self._robot.joint_names[j], raw[:, j][int(np.abs(raw[:, j]).argmax())]
        if outside[j] > MARGIN:
            range_text = f"[{low[j]:.2f}, {high[j]:.2f}] rad"
            if units == "unknown":
                raise DatasetError(
                    f"{self._where}: {name} reads {worst:.4g}, its limits are {range_text}: these are no radians; say "
                    "--units degrees, or --units normalised for LeRobot's −100 to 100"
                )
            raise DatasetError(
                f"{self._where}: {name} reads {worst:.4g}, which in {units} is outside its limits {range_text}; is "
                "this the right arm, and the right --units?"
            )
        span = float(np.ptp(q, axis=0).max())
        if units in ("degrees", "normalised") and span < LEAST_SPAN and np.abs(raw).max() < 2 * np.pi:
            raise DatasetError(
                f"{self._where}: no joint moves further than {np.ptp(raw, axis=0).max():.3g}, which in {units} is "
                f"{span:.3f} rad; these look like radians: --units radians"
            )
        if units == "normalised":
            return q, [
                f"joints from −100…100 of the limits of '{self._robot.name}', if the recorder's calibration has those"
            ]
        return q, ["joints from degrees"] if units == "degrees" else []

    def _opening(self, raw: np.ndarray, units: Units) -> tuple[np.ndarray, list[str]]:
        gripper = self._robot.gripper
        assert gripper is not None
        travel = gripper.opened - gripper.closed
        slack = MARGIN * travel
        metres = gripper.closed - slack <= raw.min() and raw.max() <= gripper.opened + slack
        if metres and units in ("unknown", "radians"):
            return raw, []
        if raw.min() < -5 or raw.max() > 105 or raw.max() <= 1.5:
            raise DatasetError(
                f"{self._where}: the gripper reads {raw.min():.4g} to {raw.max():.4g}, expected {gripper.closed:g} to "
                f"{gripper.opened:g} m, or 0 (closed) to 100; convert it before the import"
            )
        return gripper.opening_of(np.clip(raw, 0, 100) / 100), ["gripper from 0–100"]


def check_speed(where: str, robot: RobotModel, q: np.ndarray, fps: float) -> None:
    """Raise `DatasetError` where an arm is shown faster than it is: the rate is wrong, or frames are missing.

    Args:
        where: begins the error.
        robot: the arm.
        q: (N, n) positions of an episode [rad].
        fps: frames a second.
    """
    if len(q) < 2:
        return
    speed = np.percentile(np.abs(np.diff(q, axis=0)), 99, axis=0) * fps
    j = int((speed / np.array(robot.limits.dq)).argmax())
    if speed[j] > FASTEST * robot.limits.dq[j]:
        raise DatasetError(
            f"{where}: {robot.joint_names[j]} moves at {speed[j]:.2f} rad/s, its limit is {robot.limits.dq[j]:.2f}; is "
            f"{fps:g} Hz the rate, and are frames missing?"
        )


def _plain(name: str) -> str:
    return name.removeprefix("main_").removesuffix(".pos")
