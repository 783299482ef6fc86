"""What the safety gate decides, without ROS: when the arm may move, when it must stop, when it may start again.

States: `waiting` for a fresh joint state, `ready` at rest, `moving`, `stopping`, and `stopped` for good until an
explicit reset. Robot side: numpy and ruckig only. Inputs may come from other threads than `tick`.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from policies.runtime.collision import CollisionModel
from policies.runtime.gripper import GripperFilter
from policies.runtime.limits import SafetyError, SafetyLimits
from policies.runtime.motion import PlannedMotion
from policies.runtime.safety_filter import Command, SafetyFilter, Setpoint
from robots.model import RobotModel
from robots.observation import RobotState

HOLD_TOLERANCE = 0.02
"""A resting arm this near to the last setpoint [rad] is still held by it; further away, something else moved it."""
REST_SPEED = 0.2
"""Measured joint speed below which the arm counts as at rest, noise included [rad/s]."""

MOST_REPLACED = 20
"""Commands between two ticks that are checked although a newer one has come; further ones are not kept."""


@dataclass(frozen=True)
class GateReport:
    """Published state of the gate."""

    state: str
    """`waiting`, `ready`, `moving`, `stopping` or `stopped`."""
    reason: str
    """The reason in a sentence, or empty."""
    counts: dict[str, int]
    """Interventions since the start, by reason."""


class SafetyGate:
    """The gate's state machine around a `SafetyFilter`."""

    def __init__(
        self,
        robot: RobotModel,
        limits: SafetyLimits,
        dt: float,
        heartbeat_timeout: float,
        collision: CollisionModel | None = None,
        gripper: GripperFilter | None = None,
        e_stop_timeout: float = 0.0,
        settle: float = 0.0,
        lag: float = 0.0,
    ):
        """Prepare.

        Args:
            robot: the arm.
            limits: what to enforce.
            dt: [s] between two calls of `tick`.
            heartbeat_timeout: longest silence of the policy process while the arm moves [s].
            collision: what the arm must not come near to.
            gripper: limits the fingers; without it a command for them is refused.
            e_stop_timeout: longest silence of the emergency stop [s], after which it counts as pressed; 0 where none
                is wired.
            settle: how long the first setpoint is held before the arm sets out [s]: the controller may hold the arm
                elsewhere, and goes there in this time.
            lag: time from a setpoint until the controller commands it [s]: the arm rests that much later.
        """
        if not 0 < heartbeat_timeout <= 0.5:
            raise SafetyError(f"limit 'heartbeat_timeout': {heartbeat_timeout} s, expected within (0, 0.5]")
        self._robot = robot
        self._filter = SafetyFilter(robot, limits, dt, collision)
        self._gripper = gripper
        self._opening: tuple[float, float] | None = None  # measured [m], and its stamp
        self._gripping: Command | None = None  # the last command that the fingers were given
        self._gripper_listens = False
        self._heartbeat_timeout = heartbeat_timeout
        self._settle = settle
        self._settled_at = -np.inf
        self._lag = lag
        self._moved_at = -np.inf
        self._skipped = False  # a period of motion, since the last tick
        self._lock = threading.Lock()
        self._state: RobotState | None = None
        self._command: Command | None = None
        self._replaced: list[Command] = []  # since the last tick: not followed, but looked at
        self._source = ""
        self._heartbeat = -np.inf
        self._e_stop = False
        self._e_stop_timeout = e_stop_timeout
        self._e_stop_heard = -np.inf
        self._rivals: tuple[str, ...] = ()
        self._doubles: tuple[str, ...] = ()
        self._listening = False
        self._trouble = ""
        self._refusal = ""
        self._stop_requests: list[tuple[str, str]] = []
        self._mode, self._reason = "waiting", "no joint state received yet"
        self._rejected: Counter[str] = Counter()

    @property
    def limits(self) -> SafetyLimits:
        """What is enforced."""
        return self._filter.limits

    @property
    def report(self) -> GateReport:
        """State, reason and counts now."""
        with self._lock:
            counts = self._filter.counts + self._rejected + (self._gripper.counts if self._gripper else Counter())
            return GateReport(self._mode, self._reason, dict(counts))

    def on_state(self, state: RobotState) -> None:
        """Take a measured state; one that is not newer than the last is counted and dropped."""
        with self._lock:
            if self._state is not None and not state.stamp > self._state.stamp:
                self._rejected["state_out_of_order"] += 1
                return
            self._state, self._refusal = state, ""

    def on_opening(self, opening: float, stamp: float) -> None:
        """Take the fingers' measured position [m]."""
        with self._lock:
            if self._opening is None or stamp > self._opening[1]:
                self._opening = (opening, stamp)

    def on_command(self, q: np.ndarray, now: float, source: str = "", opening: float | None = None) -> None:
        """Take the newest target (n,) [rad] of the policy `source`, and of its fingers [m] if it moves any.

        Two policies at once are a fault.
        """
        with self._lock:
            if self._command is not None and source != self._source:
                names = f"'{self._source}' and '{source}'"
                self._stop_requests.append(("two_policies", f"two policies command at once: {names}; deactivate one"))
                return
            if self._command is not None and len(self._replaced) < MOST_REPLACED:
                self._replaced.append(self._command)
            self._command, self._source = Command(np.array(q, np.float64), now, opening), source

    def on_release(self, source: str = "") -> None:
        """Come to rest: the policy `source` is done."""
        with self._lock:
            if source == self._source:
                self._command = None

    def on_heartbeat(self, now: float) -> None:
        """The policy process is alive."""
        with self._lock:
            self._heartbeat = now

    def on_e_stop(self, pressed: bool, now: float) -> None:
        """Take the emergency stop's position."""
        with self._lock:
            self._e_stop, self._e_stop_heard = pressed, now
            if pressed:
                self._stop_requests.append(("e_stop", "emergency stop pressed; release it, then reset the gate"))

    def on_controller(self, listening: bool, gripper: bool = False, trouble: str = "") -> None:
        """Take what is known of the controllers.

        Args:
            listening: whether anybody receives what the gate sends to the arm.
            gripper: the same for the gripper.
            trouble: why the arm's controller cannot be relied on, in a sentence; empty if nothing is known against it.
        """
        with self._lock:
            self._listening, self._gripper_listens, self._trouble = listening, gripper, trouble

    def on_publishers(self, rivals: tuple[str, ...], doubles: tuple[str, ...]) -> None:
        """Take what the graph of nodes shows; with any of either the arm does not move.

        Args:
            rivals: names of other nodes that publish to the arm's controller.
            doubles: names that more than one publisher of commands goes by.
        """
        with self._lock:
            self._rivals, self._doubles = rivals, doubles

    def request_stop(self, key: str, reason: str) -> None:
        """Stop and stay stopped."""
        with self._lock:
            self._stop_requests.append((key, reason))

    def reject(self, key: str, reason: str = "") -> None:
        """Count an input that was dropped before it became a state, and keep why."""
        with self._lock:
            self._rejected[key] += 1
            self._refusal = reason

    def request_reset(self, now: float) -> tuple[bool, str]:
        """Leave a latched stop if its cause is gone; return whether, and why not."""
        with self._lock:
            if self._mode == "stopping":
                return False, "the arm is still stopping; wait until it is at rest"
            if self._mode != "stopped":
                return True, f"nothing to reset; the gate is {self._mode}"
            if self._e_stop:
                return False, "the emergency stop is still pressed; release it first"
            if silence := self._e_stop_silence(now):
                return False, silence
            if contested := self._contested():
                return False, contested
            if self._stale(now):
                return (
                    False,
                    f"joint state: none for more than {self.limits.state_timeout} s; is the arm's driver running?",
                )
            if self._command is not None and now - self._command.stamp <= self.limits.command_timeout:
                return False, "the policy is still commanding; deactivate it first, so that reset alone moves nothing"
            self._command = None
            self._stop_requests.clear()
            self._filter.fault = ""
            self._mode, self._reason = "ready", ""
            return True, "reset; the gate is ready"

    def tick(self, now: float) -> Setpoint | None:
        """Advance by one period; return the setpoint to send, or None where nothing is to be sent."""
        with self._lock:
            requests, self._stop_requests = self._stop_requests, []
            replaced, self._replaced = self._replaced, []
            if self._mode in ("moving", "stopping"):
                for command in replaced:
                    self._filter.inspect(command, now)
                return self._tick_moving(requests, now)
            if requests and self._mode != "stopped":
                key, reason = requests[0]
                self._filter.stop(key, reason)
                self._mode, self._reason = "stopped", reason
            if self._mode == "stopped":
                return None
            if self._stale(now):
                refusal = f"; the last one was refused: {self._refusal}" if self._refusal else ""
                self._mode, self._reason, self._command = "waiting", f"no fresh joint state{refusal}", None
                return None
            if not self._listening:
                self._mode, self._reason, self._command = "waiting", "no controller listens; is it active?", None
                return None
            if self._gripper is not None and not self._gripper_listens:
                reason = "no gripper controller listens; is it active?"
                self._mode, self._reason, self._command = "waiting", reason, None
                return None
            held_back = self._trouble or self._e_stop_silence(now) or self._contested()
            if held_back:
                self._mode, self._reason, self._command = "waiting", held_back, None
                return None
            if self._mode == "waiting":
                self._mode, self._reason = "ready", ""
            return self._tick_ready(now)

    def ahead(self) -> PlannedMotion:
        """Return the motion of the last period, which ends at the last setpoint, and from there the way to rest."""
        return self._filter.ahead()

    def skip(self) -> PlannedMotion:
        """Follow the stopping motion for one period that has passed without a setpoint; return as `ahead` does."""
        self._skipped = self._skipped or not self._filter.at_rest
        self._filter.skip()
        return self._filter.ahead()

    def _e_stop_silence(self, now: float) -> str:
        """Return what is wrong where an emergency stop is wired and has been silent for too long; empty if nothing."""
        if not self._e_stop_timeout or now - self._e_stop_heard <= self._e_stop_timeout:
            return ""
        heard = f"for {now - self._e_stop_heard:.2f} s" if np.isfinite(self._e_stop_heard) else "yet"
        return (
            f"emergency stop: not heard {heard} (limit {self._e_stop_timeout:.2f} s), which counts as pressed; is its "
            "driver running?"
        )

    def _contested(self) -> str:
        """Return what is wrong where another node commands the arm, or two policies share a name; empty if nothing."""
        if self._rivals:
            return f"{', '.join(self._rivals)} also publishes to the arm's controller, which only the gate may; end it"
        if self._doubles:
            names = ", ".join(self._doubles)
            return f"two policies at once go by the name {names}; end one (one that was killed lingers for 20 s)"
        return ""

    def _stale(self, now: float) -> bool:
        state = self._state
        fresh = state is not None and now - state.stamp <= self.limits.state_timeout
        return not (fresh and np.isfinite(state.q).all())  # type: ignore[union-attr]

    def _tick_ready(self, now: float) -> Setpoint | None:
        command, state = self._command, self._state
        if command is None or state is None:
            return None
        if now - command.stamp > self.limits.command_timeout or now - self._heartbeat > self._heartbeat_timeout:
            self._rejected["command_without_heartbeat"] += 1
            self._command = None
            return None
        speed = float(np.abs(state.dq).max())
        if not speed <= REST_SPEED:
            self._reason = f"the arm moves at {speed:.2f} rad/s without a command; waiting until it rests"
            self._rejected["moving_at_start"] += 1
            return None
        try:
            self._filter.reset(self._holding(state.q))
            if self._gripper is not None:
                self._gripping = None
                self._gripper.hold()
        except SafetyError as error:
            self._filter.stop("start_outside", str(error))
            self._mode, self._reason, self._command = "stopped", str(error), None
            return None
        self._mode, self._reason = "moving", ""
        self._settled_at = now + self._settle
        return self._advance(now)

    def _holding(self, q: np.ndarray) -> np.ndarray:
        """Return the setpoint that holds an arm at rest at `q` (n,) [rad]: the last one, or one within the limits."""
        last, sag = self._filter.q, self._filter.sag
        if last is not None and sag.error(last, q) <= HOLD_TOLERANCE:
            return last
        return np.clip(sag.held(q), np.minimum(self.limits.q_low, q), np.maximum(self.limits.q_high, q))

    def _tick_moving(self, requests: list[tuple[str, str]], now: float) -> Setpoint:
        for key, reason in requests:
            self._filter.stop(key, reason)
        if silence_of_stop := self._e_stop_silence(now):
            self._filter.stop("e_stop_silent", silence_of_stop)
        if self._rivals:
            self._filter.stop("controller_contested", self._contested())
        if self._doubles:
            self._filter.stop("two_policies", self._contested())
        if not self._listening:
            self._filter.stop("controller_lost", "no controller listens any more; has it been deactivated?")
        if self._trouble:
            self._filter.stop("controller_inactive", self._trouble)
        silence = now - self._heartbeat
        if self._command is not None and silence > self._heartbeat_timeout:
            self._filter.stop(
                "policy_dead",
                f"policy: no heartbeat for {silence:.3f} s (limit {self._heartbeat_timeout:.3f} s); has the node died?",
            )
        if self._command is None:
            self._filter.release()
        return self._advance(now)

    def _check_gripper(self, opening: float, now: float) -> None:
        """Stop if the fingers cannot be commanded to `opening` [m], or their positions are not measured."""
        if self._gripper is None:
            self._filter.stop(
                "command_invalid",
                "policy: commands a gripper, of which the gate was not told; start it with this policy's bundle",
            )
        elif not np.isfinite(opening):
            self._filter.stop("command_invalid", f"policy: commands the fingers to {opening} m")
        elif not self._gripper_listens:
            self._filter.stop("gripper_lost", "no gripper controller listens any more; has it been deactivated?")
        elif self._opening is None:
            self._filter.stop("gripper_missing", "gripper: no finger positions received; are they published?")
        elif not now - self._opening[1] <= self._gripper.timeout:
            self._filter.stop(
                "gripper_stale",
                f"gripper: finger positions {now - self._opening[1]:.3f} s old (limit {self._gripper.timeout:.3f} s); "
                "is its driver running?",
            )
        elif self._gripping is None:
            try:
                self._gripper.start(self._opening[0])
            except SafetyError as error:
                self._filter.stop("gripper_outside", f"gripper: {error}")

    def _grip(self, gripper: GripperFilter, command: Command | None) -> float | None:
        """Return the fingers' next setpoint [m]; while the arm stops, for whatever reason, they stay as they are."""
        if self._filter.fault or command is None or command.opening is None:
            return gripper.hold()
        if command is not self._gripping:
            last = command.stamp if self._gripping is None else self._gripping.stamp
            gripper.accept(command.opening, command.stamp - last)
            self._gripping = command
        return gripper.advance()

    def _advance(self, now: float) -> Setpoint:
        command = self._command
        opening = None if command is None else command.opening
        if opening is not None and not self._filter.fault:
            self._check_gripper(opening, now)
        setpoint = self._filter.filter(command if now >= self._settled_at else None, self._state, now)
        if self._gripper is not None and (opening is not None or self._gripping is not None):
            opening = self._grip(self._gripper, command)
            setpoint = replace(setpoint, opening=opening, grip=self._gripper.target)
        fault = self._filter.fault
        if self._skipped or not self._filter.at_rest:
            self._moved_at, self._skipped = now, False
        at_rest = now - self._moved_at > self._lag if self._lag else self._filter.at_rest
        if fault:
            self._mode, self._reason = ("stopped" if at_rest else "stopping"), fault
        elif self._command is None:
            self._mode, self._reason = ("ready", "") if at_rest else ("stopping", "the policy is done")
        else:
            self._mode, self._reason = "moving", self._filter.approach
        return setpoint
