"""The driver's state machine, without ROS: when the servos follow, what stops them, and that a person releases it.

States: `off` (no torque), `on` (the servos hold or follow), `stopping` (a stop is latched; the gate's last setpoints,
which lead to rest, are still followed), `stopped` until a person resets. From the moment that a stop is latched no
reading is returned: the gate misses the joint states and brings the arm to rest, and cannot be reset before the driver.

Robot side: numpy only. Commands and requests may come from other threads than `cycle`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from robots.servos.bus import NoReplyError, ServoBus
from robots.servos.calibration import ArmCalibration, ServoJoint
from robots.servos.chain import Reading, ServoChain
from robots.servos.homing import HomingError, check_servos, outside
from robots.servos.packets import ALARMS
from robots.servos.serial_port import PortError

SEVERAL = 3
"""Cycles in a row that a measurement must say the same before it stops the arm."""
STOP_TIME = 0.6
"""The gate has stopped the arm this long after the last joint state [s]: its time-out, and the way to rest."""
IN_MOTION = 0.1
"""A command that changes faster is one of a motion [rad/s]."""
SILENCE = 0.15
"""Longest pause between two commands of a motion [s]."""
SENT = 3000
"""Times that are kept: a minute's."""
COMMAND_JUMP = 0.3
"""Largest distance of a command from the last one, or from where the arm is held [rad]."""


@dataclass(frozen=True)
class DriverLimits:
    """What stops the arm."""

    max_temperature: float = 65.0
    """[°C]; an STS3215 switches itself off at 70."""
    max_sag: float = 0.2
    """Part of the supply's voltage that may be missing under load."""


@dataclass(frozen=True)
class DriverReport:
    """The driver's state, for people."""

    state: str
    """`off`, `on`, `stopping` or `stopped`."""
    key: str
    """What stopped the arm, in a word; empty if nothing did."""
    reason: str
    """The same in a sentence."""
    counts: dict[str, int]
    """What happened since the start, by its key."""


@dataclass
class _Persistence:
    """Counts in how many cycles in a row something was seen."""

    seen: Counter[str] = field(default_factory=Counter)

    def note(self, key: str, there: bool) -> bool:
        """Return whether `key` has been there for `SEVERAL` cycles."""
        self.seen[key] = self.seen[key] + 1 if there else 0
        return self.seen[key] >= SEVERAL


class ArmDriver:
    """One arm's servos."""

    def __init__(
        self,
        connect: Callable[[], ServoBus],
        calibration: ArmCalibration,
        joints: Sequence[ServoJoint],
        limits: DriverLimits = DriverLimits(),
    ):
        """Prepare; `start` connects.

        Args:
            connect: opens the bus; called again by a reset after the port was lost.
            calibration: the file that `joints` come from.
            joints: in the order of all arrays here.
            limits: what stops the arm.
        """
        self.joints = tuple(joints)
        self.reading: Reading | None = None
        """The newest measurement, stopped or not."""
        self.sent: deque[float] = deque(maxlen=SENT)
        """When the last goals were sent [s, monotonic]."""
        self._connect, self._calibration, self._limits = connect, calibration, limits
        self._lock = threading.RLock()
        self._chain: ServoChain | None = None
        self._goal = np.zeros(len(self.joints))
        self._low, self._high = (np.array([getattr(j, end) for j in self.joints]) for end in ("low", "high"))
        self._state, self._key, self._reason = "off", "", ""
        self._counts: Counter[str] = Counter()
        self._stop_at = np.inf
        self._persistence = _Persistence()
        self._lost = 0
        self._commanded: dict[tuple[int, ...], tuple[float, float]] = {}  # by joints: last time [s], speed [rad/s]
        self._slack: set[int] = set()  # servos without torque: a goal might wake them
        self._nominal = 0.0

    @property
    def report(self) -> DriverReport:
        """State, reason and counts now."""
        with self._lock:
            return DriverReport(self._state, self._key, self._reason, dict(self._counts))

    def start(self, now: float) -> None:
        """Connect, compare the servos with the calibration, and measure.

        Raises:
            PortError: if the port cannot be used.
            HomingError: if the zero is wrong, a servo is missing, or the supply is not enough.
        """
        with self._lock:
            self._home(now)

    def close(self) -> None:
        """Release the port; servos with torque go on holding their goals."""
        with self._lock:
            self._disconnect()

    def command(self, positions: dict[int, float], now: float) -> None:
        """Take a setpoint: joint positions [rad] by their index in `joints`.

        One that is not finite, or too far from the last one, stops the arm.
        """
        with self._lock:
            if self._state not in ("on", "stopping"):
                self._counts["command_ignored"] += 1
                return
            indices = list(positions)
            group, wanted = tuple(indices), np.array([positions[i] for i in indices])
            if not np.isfinite(wanted).all():
                self._latch("command_invalid", f"a command is not finite: {wanted.tolist()}", now, at_once=True)
                return
            inside = np.clip(wanted, self._low[indices], self._high[indices])
            self._counts["command_clipped"] += int((inside != wanted).any())
            steps = np.abs(inside - self._goal[indices])
            if steps.max() > COMMAND_JUMP:
                worst = self.joints[indices[int(steps.argmax())]].name
                text = f"a command leaps {steps.max():.2f} rad at joint '{worst}' (limit {COMMAND_JUMP} rad)"
                self._latch("command_jump", f"{text}; does anything but the gate publish it?", now, at_once=True)
                return
            pause = now - self._commanded[group][0] if group in self._commanded else np.inf
            self._commanded[group] = (now, float(steps.max()) / max(pause, 1e-3))
            self._goal[indices] = inside

    def switch(self, on: bool, now: float) -> tuple[bool, str]:
        """Switch the torque on, where the arm is, or off; return whether, and why not."""
        with self._lock:
            if self._chain is None or (on and self._state in ("stopping", "stopped")):
                return False, f"stopped: {self._reason}; remove the cause, then reset the driver"
            try:
                if on:
                    self._hold_here(self._chain)
                self._chain.switch(on)
            except (NoReplyError, PortError) as error:
                self._latch("servo_missing", str(error), now, at_once=True)
                return False, str(error)
            if self._state in ("on", "off"):
                self._state = "on" if on else "off"
            self._commanded.clear()
            self._slack = set() if on else {joint.servo for joint in self.joints}
            self._persistence = _Persistence()
            return True, f"torque {'on' if on else 'off'}"

    def reset(self, now: float) -> tuple[bool, str]:
        """Leave a latched stop, where its cause is gone, and hold the arm where it is; return whether, and why not."""
        with self._lock:
            if self._state not in ("stopping", "stopped"):
                return True, f"nothing to reset; torque is {self._state}"
            if any(now - heard < SILENCE for heard, _ in self._commanded.values()):
                return False, "the gate is still commanding; wait until it has stopped"
            try:
                self._home(now)
            except (HomingError, PortError) as error:
                return False, str(error)
            chain, reading = self._chain, self.reading
            assert chain is not None
            assert reading is not None
            held = bool(reading.torque.any())
            self._state, self._key, self._reason = "off", "", ""
            if held:
                done, why = self.switch(True, now)
                if not done:
                    return False, why
            return True, f"reset; torque is {self._state}"

    def cycle(self, now: float) -> Reading | None:
        """Send the goals and measure; return what may be published, or None: nothing that counts, or stopped.

        Args:
            now: this cycle's time [s, monotonic].
        """
        with self._lock:
            if self._state == "stopping" and now >= self._stop_at:
                self._state = "stopped"
            chain = self._chain
            if chain is None:
                return None
            try:
                self._watch_commands(now)
                goals = chain.goals(self._goal)
                if self._state != "off":
                    chain.send(goals, self._slack)
                    self.sent.append(time.monotonic())
                reading = chain.read(now)
            except PortError as error:
                self._disconnect()
                self._latch("port_lost", str(error), now, at_once=True)
                return None
            if reading is None:
                self._note_loss(chain, now)
                return None
            self._lost, self.reading = 0, reading
            self._judge(reading, goals, now)
            return reading if self._state in ("off", "on") else None

    def _watch_commands(self, now: float) -> None:
        """Stop where the gate falls silent in motion: the servos hold its last setpoint."""
        if self._state == "on":
            silence = max((now - heard for heard, speed in self._commanded.values() if speed > IN_MOTION), default=0.0)
            if silence > SILENCE:
                reason = f"no command for {silence:.2f} s while the arm moves (limit {SILENCE} s); has the gate ended?"
                self._latch("gate_silent", reason, now, at_once=True)

    def _note_loss(self, chain: ServoChain, now: float) -> None:
        self._lost += 1
        self._counts["reading_lost"] += 1
        if self._lost >= SEVERAL and chain.missing:
            names = ", ".join(f"'{name}' (servo {self._servo(name)})" for name in chain.missing)
            self._latch("servo_missing", f"no whole reply of joint {names}; cable, supply or servo?", now)
        elif self._lost >= SEVERAL or not chain.usable(now):
            self._latch("bus_noise", f"the bus is not reliable: {chain.trouble}; check cables and adapter", now)

    def _judge(self, reading: Reading, goals: list[int], now: float) -> None:
        hot, limits = int(reading.temperature.argmax()), self._limits
        low = int(reading.voltage.argmin())
        least = self._nominal * (1 - limits.max_sag)
        name = [joint.name for joint in self.joints]
        on = self._state != "off"
        slack = [joint.name for joint, holds in zip(self.joints, reading.torque) if not holds]
        self._slack = {joint.servo for joint in self.joints if joint.name in slack}
        wrong = reading.goal != np.array(goals)
        away = outside(self.joints, reading.q)
        for key, there, reason in (
            (
                "voltage_low",
                reading.voltage[low] < least,
                f"joint '{name[low]}' has {reading.voltage[low]:.1f} V (limit {least:.1f} V); is the supply strong "
                "enough, is a plug loose?",
            ),
            (
                "overheated",
                reading.temperature[hot] >= limits.max_temperature,
                f"joint '{name[hot]}' has {reading.temperature[hot]:.0f} °C (limit {limits.max_temperature:.0f} °C); "
                "let it cool, and carry less",
            ),
            ("servo_alarm", bool(reading.alarms), f"alarm of {', '.join(reading.alarms)}"),
            (
                "torque_lost",
                on and bool(slack),
                f"joint {', '.join(slack)} has no torque: did the servo start again, by a dip of the supply?",
            ),
            (
                "goal_lost",
                on and not slack and bool(wrong.any()),
                f"joint '{name[int(wrong.argmax())]}' does not take its goal; is another program on the bus?",
            ),
            ("outside_range", bool(away), away),
        ):
            if self._persistence.note(key, bool(there)):
                self._latch(key, reason, now)

    def _latch(self, key: str, reason: str, now: float, at_once: bool = False) -> None:
        """Stop until a reset: at once where the commands cannot be followed, else once the gate's have led to rest."""
        if self._state in ("stopping", "stopped"):
            if at_once and self._state == "stopping":
                self._state = "stopped"
            return
        self._counts[key] += 1
        self._key, self._reason = key, reason
        self._stop_at = now + STOP_TIME
        self._state = "stopped" if at_once or self._state == "off" else "stopping"

    def _home(self, now: float) -> None:
        if self._chain is None:
            self._chain = ServoChain(self._connect(), self.joints)
        try:
            chain = self._chain
            chain.bus.settle()
            check_servos(self._calibration, chain.bus, self.joints)
            chain.forget()
            readings = [chain.read(now) for _ in range(SEVERAL)]  # the third knows what a joint may move
        except PortError:
            self._disconnect()
            raise
        reading = readings[-1]
        if reading is None or any(each is None for each in readings):
            raise HomingError(f"{chain.trouble}; check the cables, and let the arm rest")
        if away := outside(self.joints, reading.q):
            raise HomingError(away)
        if reading.alarms:
            raise HomingError(f"alarm of {', '.join(reading.alarms)} ({', '.join(ALARMS.values())} are watched)")
        hottest = float(reading.temperature.max())
        if hottest >= self._limits.max_temperature:
            raise HomingError(
                f"a servo has {hottest:.0f} °C (limit {self._limits.max_temperature:.0f} °C); let it cool"
            )
        nominal = float(np.median(reading.voltage))
        if self._nominal and nominal < self._nominal * (1 - self._limits.max_sag):
            raise HomingError(f"the supply has {nominal:.1f} V, {self._nominal:.1f} V at the start; is it on?")
        self._nominal = self._nominal or nominal
        self._lost, self._persistence = 0, _Persistence()
        self._commanded.clear()
        self.reading = reading
        self._goal = reading.q.copy()

    def _hold_here(self, chain: ServoChain) -> None:
        """Make the present position the goal, before the torque comes."""
        if self.reading is not None:
            self._goal = self.reading.q.copy()
        chain.send(chain.goals(self._goal))

    def _disconnect(self) -> None:
        if self._chain is not None:
            self._chain.bus.close()
            self._chain = None

    def _servo(self, name: str) -> int:
        return next(joint.servo for joint in self.joints if joint.name == name)
