"""What the safety gate lets through to the fingers: targets inside their range, at their speed, and never one that a
stop brings about. A gripper that holds something goes on holding it, whatever happens to the policy or the arm.

Robot side: numpy only.
"""

from __future__ import annotations

from collections import Counter

from policies.runtime.limits import SafetyError
from robots.model import RobotModel


class GripperFilter:
    """Moves the fingers' setpoint, which only a command moves: without one it stays where it is."""

    def __init__(self, robot: RobotModel, dt: float, speed: float = 0.75, timeout: float = 0.25):
        """Prepare for setpoints `dt` [s] apart.

        Args:
            robot: the arm; its gripper gives the range, its URDF the fingers' speed limit.
            dt: [s]
            speed: factor on that limit, in (0, 1].
            timeout: greatest age of the measured opening while the arm moves [s].

        Raises:
            SafetyError: if the arm has no gripper, its URDF no speed limit, or a limit is out of its range.
        """
        if robot.gripper is None:
            raise SafetyError(f"robot '{robot.name}' has no gripper; leave the parameter 'gripper' empty")
        if not 0 < speed <= 1:
            raise SafetyError(
                f"limit 'gripper_speed': factor {speed}, expected within (0, 1]; limits can only be tightened"
            )
        if not 0 < timeout <= 1.0:
            raise SafetyError(f"limit 'gripper_timeout': {timeout} s, expected within (0, 1]")
        self.low, self.high = sorted((robot.gripper.closed, robot.gripper.opened))
        self.speed = speed * finger_speed(robot)
        """Largest speed of a finger [m/s]."""
        self.timeout = timeout
        self.counts: Counter[str] = Counter()
        """Interventions so far, by reason."""
        self.setpoint: float | None = None
        """Where the fingers are sent [m]; None before `start`."""
        self.target: float | None = None
        """Where the last command wants them, inside their range [m]."""
        self._dt = dt

    def start(self, measured: float) -> None:
        """Begin where the fingers are measured to be [m]: the first setpoint makes them leap nowhere.

        Raises:
            SafetyError: if that is no number, or far outside their range.
        """
        if not self.low - 0.5 * (self.high - self.low) <= measured <= self.high + 0.5 * (self.high - self.low):
            raise SafetyError(
                f"the fingers are measured at {measured} m, expected within [{self.low}, {self.high}] m; does the "
                "driver report the finger joints in the URDF's units?"
            )
        self.setpoint, self.target = min(max(measured, self.low), self.high), None

    def accept(self, opening: float, since: float) -> None:
        """Take a command's target [m], a finite number, `since` [s] after the one before it."""
        target = min(max(opening, self.low), self.high)
        if target != opening:
            self.counts["gripper_range"] += 1
        if self.setpoint is not None and abs(target - self.setpoint) > self.speed * max(since, self._dt):
            self.counts["gripper_speed"] += 1  # not changed here: the fingers follow as fast as they may
        self.target = target

    def advance(self) -> float | None:
        """Move one period towards the target; return the setpoint [m], None before `start`."""
        if self.setpoint is not None and self.target is not None:
            step = self.speed * self._dt
            self.setpoint += min(max(self.target - self.setpoint, -step), step)
        return self.setpoint

    def hold(self) -> float | None:
        """Stay; return the setpoint [m]."""
        self.target = None
        return self.setpoint


def finger_speed(robot: RobotModel) -> float:
    """Return the speed of the opening [m/s] at which the slowest finger joint is at the limit in the arm's URDF.

    Raises:
        SafetyError: if it gives none.
    """
    gripper = robot.gripper
    assert gripper is not None
    speeds = []
    for name in gripper.joint_names:
        joint = robot.urdf.joints.get(name)
        speed = (joint.limit.velocity or 0.0) if joint is not None else 0.0
        if not 0 < speed < float("inf"):
            raise SafetyError(
                f"robot '{robot.name}': the URDF gives finger joint '{name}' the speed limit {speed}, expected a "
                "positive one [m/s or rad/s]; add it to the joint's <limit> tag (see the gripper's datasheet)"
            )
        speeds.append(speed / abs(gripper.ratio(name)))
    if gripper.speed is not None:  # of the first joint
        speeds.append(gripper.speed)
    return min(speeds) * min(abs(gripper.lever(opening)) for opening in (gripper.opened, gripper.closed))
