"""A gamepad of /dev/input as a steering device: nothing moves unless its right shoulder button is held.

Needs the package evdev (`pip install 'sim2real-arms[gamepad]'`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robots.specs import SpecError
from robots.teleoperation.steering import Press, Steering

DEAD_ZONE = 0.12
"""Share of a stick's way that counts as its middle."""
RETRY = 1.0
"""Between two attempts to open a gamepad that was unplugged [s]."""

# Codes of the kernel's input-event-codes.h, as gamepads use them (Documentation/input/gamepad.rst)
SYNC, KEY, ABSOLUTE = 0, 1, 3
DROPPED = 3
"""SYN_DROPPED: events were lost, the state has to be read anew."""
DEAD_MAN = 0x137
"""BTN_TR, the right shoulder."""
STICKS = {0: ("y", -1.0), 1: ("x", -1.0), 3: ("yaw", -1.0), 4: ("z", -1.0)}
"""ABS_X, ABS_Y, ABS_RX, ABS_RY: the hand's element, and its sign; sticks count down and right."""
FINGERS = {0x130: -1.0, 0x131: 1.0}
"""BTN_SOUTH closes, BTN_EAST opens."""
BUTTONS: dict[int, Press] = {
    0x13B: "begin", 0x133: "success", 0x134: "failure", 0x13A: "discard", 0x136: "stop", 0x13D: "slower",
    0x13E: "faster", 0x13C: "reset",
}  # fmt: skip
"""BTN_START, NORTH, WEST, SELECT, TL (the left shoulder), THUMBL, THUMBR, MODE."""
HELP = (
    "The right shoulder button is the dead-man. Left stick: along the table, right stick: up, down and turn; south "
    "closes and east opens the fingers. Start begins an episode, north keeps it as a success, west as a failure, "
    "select discards it. The left shoulder stops the arm, mode releases a stop, pressing a stick changes the speed."
)


@dataclass(frozen=True)
class AxisRange:
    """Ends of an axis, as its driver counts."""

    low: int
    high: int

    def share(self, value: int) -> float:
        """Return the way from the middle, within [-1, 1]."""
        middle, half = 0.5 * (self.low + self.high), 0.5 * (self.high - self.low)
        share = min(max((value - middle) / half, -1.0), 1.0) if half > 0 else 0.0
        beyond = max(0.0, abs(share) - DEAD_ZONE) / (1.0 - DEAD_ZONE)
        return beyond if share > 0 else -beyond


class GamepadState:
    """Sticks and buttons, from the kernel's events."""

    def __init__(self, ranges: Mapping[int, AxisRange]):
        """Begin at rest; `ranges` are those of the axes by code."""
        self._ranges = dict(ranges)
        self._axes: dict[int, int] = {}
        self._down: set[int] = set()
        self.pressed: list[Press] = []
        """Buttons that went down, in order, until they are taken."""

    def set(self, axes: Mapping[int, int], down: Iterable[int]) -> None:
        """Take the whole state: the axes' values, and which buttons are down."""
        self._axes, self._down = dict(axes), set(down)

    def take(self, kind: int, code: int, value: int) -> bool:
        """Take one event; return False if events before it were lost."""
        if kind == ABSOLUTE:
            self._axes[code] = value
        elif kind == KEY and value == 0:
            self._down.discard(code)
        elif kind == KEY and code not in self._down:
            self._down.add(code)
            if code in BUTTONS:
                self.pressed.append(BUTTONS[code])
        return not (kind == SYNC and code == DROPPED)

    def steering(self, now: float) -> Steering:
        """Return what sticks and buttons say at `now` [s, monotonic]."""
        move = {
            element: sign * self._ranges[code].share(self._axes[code])
            for code, (element, sign) in STICKS.items()
            if code in self._axes and code in self._ranges
        }
        fingers = next((value for code, value in FINGERS.items() if code in self._down), None)
        return Steering(now, DEAD_MAN in self._down, move, fingers)


class Gamepad:
    """One device of /dev/input, opened again when it comes back."""

    def __init__(self, path: str):
        """Open the gamepad `path`, or the only one where that is empty.

        Raises:
            SpecError: if evdev is not installed, or there is no such gamepad.
        """
        self._path = path or find_gamepad()
        self._state = GamepadState({})
        self._device: Any = None
        self._trouble, self._retry = "", 0.0
        self._open()

    def read(self, now: float) -> Steering:
        """Return its state; after it was unplugged that says so, and holds nothing."""
        if self._device is None and now >= self._retry:
            self._retry = now + RETRY
            try:
                self._open()
            except SpecError as error:
                self._trouble = str(error)
        if self._device is None:
            return Steering(now, False, trouble=self._trouble)
        try:
            while (event := self._device.read_one()) is not None:
                if not self._state.take(event.type, event.code, event.value):
                    self._read_anew()
        except OSError as error:
            self._device.close()
            self._device, self._retry = None, now + RETRY
            self._trouble = f"gamepad: '{self._path}': {error.strerror}; plug it in again"
            return Steering(now, False, trouble=self._trouble)
        return self._state.steering(now)

    def presses(self) -> tuple[Press, ...]:
        """Return the buttons that were pressed since the last call."""
        taken, self._state.pressed = tuple(self._state.pressed), []
        return taken

    def close(self) -> None:
        """Close the device."""
        if self._device is not None:
            self._device.close()

    def _open(self) -> None:
        evdev = _evdev()
        try:
            self._device = evdev.InputDevice(self._path)
        except OSError as error:
            raise SpecError(
                f"gamepad: '{self._path}' cannot be opened: {error.strerror}; is it plugged in, and are you in the "
                "group input?"
            ) from None
        axes = dict(self._device.capabilities().get(ABSOLUTE, ()))
        self._state = GamepadState({code: AxisRange(each.min, each.max) for code, each in axes.items()})
        if DEAD_MAN not in self._device.capabilities().get(KEY, ()):
            name, self._device = self._device.name, None
            raise SpecError(f"gamepad: '{self._path}' ({name}) has no right shoulder button, which is the dead-man")
        self._read_anew()
        self._trouble = ""

    def _read_anew(self) -> None:
        axes = {code: info.value for code, info in self._device.capabilities().get(ABSOLUTE, ())}
        self._state.set(axes, self._device.active_keys())


def find_gamepad() -> str:
    """Return the path of the only gamepad.

    Raises:
        SpecError: if evdev is not installed, or there is none, or more than one.
    """
    evdev = _evdev()
    found = []
    for path in sorted(evdev.list_devices()):
        device = evdev.InputDevice(path)
        if DEAD_MAN in device.capabilities().get(KEY, ()):
            found.append(path)
        device.close()
    if len(found) != 1:
        which = ", ".join(found) or "none that this user may read"
        raise SpecError(f"gamepad: found {which}; plug in one, or name it with --gamepad /dev/input/event<n>")
    return found[0]


def _evdev() -> Any:
    if not Path("/dev/input").exists():
        raise SpecError("gamepad: this machine has no /dev/input; take --device keyboard")
    try:
        import evdev
    except ImportError:
        raise SpecError("gamepad: evdev is not installed; pip install 'sim2real-arms[gamepad]'") from None
    return evdev
