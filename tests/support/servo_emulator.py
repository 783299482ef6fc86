"""A chain of STS3215 servos on a pseudo-terminal: the real protocol byte by byte, and its faults.

Written from Feetech's manuals and independent of the code under test, whose packets it takes apart by itself.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import threading
import time
import tty
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Clock = Callable[[], float]
Tamper = Callable[[int, bytes], Sequence[bytes]]
"""Returns what comes out in place of the status packet of a servo."""

PING, READ, WRITE, SYNC_READ, SYNC_WRITE = 1, 2, 3, 0x82, 0x83
BROADCAST = 0xFE
SPEED, ACCELERATION = 3000.0, 25400.0
"""Most of a servo, the acceleration as of register 41's largest value [counts/s, counts/s²]."""
LAG = 0.03
"""With which it follows its goal [s]."""
STEP = 0.002
"""[s] of the servo's own loop."""
STIFFNESS = 2.0
"""Current for a distance from the goal [6.5 mA/count]."""
MOST_CURRENT = 415
"""Stalled: 2.7 A."""
PRIORITY = 30
"""Of SCHED_FIFO, ahead of the nodes."""


@dataclass
class EmulatedServo:
    """One servo and its memory; change the attributes to trouble it."""

    id: int
    position: float = 2048.0
    """As register 56 says it [counts]."""
    offset: int = 0
    """Homing offset [counts]."""
    volts: float = 12.0
    celsius: int = 30
    error: int = 0
    """Bits in every status packet."""
    silent: bool = False
    """Its plug is out."""
    blocked: bool = False
    """Something holds the joint."""
    script: Callable[[float], float] | None = None
    """The position at a time [s], whatever the goals: a hand moves the arm, or a simulator does."""
    memory: bytearray = field(default_factory=lambda: bytearray(128))
    _seen: float = -1.0
    _speed: float = 0.0

    def __post_init__(self) -> None:
        self.put(3, 777, 2)
        self.put(9, 0, 2)
        self.put(11, 4095, 2)
        self.put(31, abs(self.offset) | (1 << 11 if self.offset < 0 else 0), 2)
        self.memory[5], self.memory[8], self.memory[13], self.memory[33] = self.id, 1, 70, 0
        self.restart()

    def put(self, address: int, value: int, size: int = 1) -> None:
        """Write a number to the memory."""
        self.memory[address : address + size] = value.to_bytes(size, "little")

    def restart(self) -> None:
        """What a dip of the supply does: what is not kept is forgotten."""
        self.memory[40] = 0
        self.put(42, round(self.position), 2)

    @property
    def goal(self) -> int:
        """Of the position [counts]."""
        return int.from_bytes(self.memory[42:44], "little")

    @property
    def torque(self) -> bool:
        """Whether it holds."""
        return self.memory[40] == 1

    def advance(self, now: float) -> None:
        """Move until `now` [s], and measure."""
        dt, self._seen = (now - self._seen if self._seen >= 0 else 0.0), now
        before = self.position
        if self.script is not None:
            self.position = self.script(now)
        elif self.torque and not self.blocked:
            self._follow(min(dt, 1.0))
        current = STIFFNESS * (self.goal - self.position) if self.torque else 0.0
        current = round(min(max(current, -MOST_CURRENT), MOST_CURRENT))
        speed = round((self.position - before) / dt) if dt > 0 else 0
        self.put(56, round(self.position) & 0xFFFF, 2)
        self.put(58, min(abs(speed), 0x7FFF) | (0x8000 if speed < 0 else 0), 2)
        self.put(60, min(abs(current), 1000) | (0x400 if current < 0 else 0), 2)
        self.memory[62], self.memory[63], self.memory[65] = round(10 * self.volts), self.celsius, self.error
        self.memory[66] = int(speed != 0)
        self.put(69, abs(current) | (0x8000 if current < 0 else 0), 2)
        self.put(71, self.goal, 2)

    def _follow(self, dt: float) -> None:
        while dt > 0:
            step = min(dt, STEP)
            wanted = min(max((self.goal - self.position) / LAG, -SPEED), SPEED)
            self._speed += min(max(wanted - self._speed, -ACCELERATION * step), ACCELERATION * step)
            self.position += self._speed * step
            dt -= step

    def write(self, address: int, data: bytes) -> None:
        """Take what a packet writes."""
        self.memory[address : address + len(data)] = data


class ServoEmulator:
    """Takes bytes, returns bytes."""

    def __init__(self, servos: Sequence[EmulatedServo], clock: Clock = time.monotonic):
        self.servos = {servo.id: servo for servo in servos}
        self.clock = clock
        self.tamper: Tamper | None = None
        """A fault of the replies."""
        self.deaf: set[int] = set()
        """Instructions that the servos do not hear: damaged on their way."""
        self.requests = 0
        self.replies = 0
        self.reported: dict[int, int] = {}
        """The true position in each servo's last reply that has one [counts], whatever was made of that reply."""
        self.written: list[float] = []
        """When goals came [s]."""
        self._late: list[tuple[int, bytes]] = []
        self._buffer = b""

    def later(self, requests: int, packet: bytes) -> None:
        """Hold a packet back until just before the reply to the request that is so many after this one."""
        self._late.append((self.requests + requests, packet))

    def feed(self, data: bytes) -> bytes:
        """Take what the driver sends; return what the servos send."""
        self._buffer += data
        out = b""
        while len(self._buffer) >= 6:
            start = self._buffer.find(b"\xff\xff")
            if start < 0:
                self._buffer = self._buffer[-1:]
                break
            self._buffer = self._buffer[start:]
            if len(self._buffer) < 4 or len(self._buffer) < 4 + self._buffer[3]:
                break
            packet, rest = self._buffer[: 4 + self._buffer[3]], self._buffer[4 + self._buffer[3] :]
            if len(packet) < 6 or (sum(packet[2:]) & 0xFF) != 0xFF:
                self._buffer = self._buffer[1:]
                continue
            self._buffer = rest
            out += self._execute(packet[2], packet[4], packet[5:-1])
        return out

    def _execute(self, to: int, code: int, parameters: bytes) -> bytes:
        if code in self.deaf:
            return b""
        self.requests += 1
        now = self.clock()
        for servo in self.servos.values():
            servo.advance(now)
        out = b"".join(packet for due, packet in self._late if due <= self.requests)
        self._late = [(due, packet) for due, packet in self._late if due > self.requests]
        if code == SYNC_WRITE:
            address, size = parameters[:2]
            for at in range(2, len(parameters), size + 1):
                if parameters[at] in self.servos and not self.servos[parameters[at]].silent:
                    self.servos[parameters[at]].write(address, parameters[at + 1 : at + 1 + size])
            self.written.append(now)
        elif code == SYNC_READ:
            out += b"".join(self._read(servo, *parameters[:2]) for servo in parameters[2:])
        elif code == READ:
            out += self._read(to, *parameters)
        elif code == WRITE and to in self.servos:
            if not self.servos[to].silent:
                self.servos[to].write(parameters[0], parameters[1:])
            out += self._reply(to, b"")
        elif code == PING:
            out += b"".join(self._reply(servo, b"") for servo in self.servos if to in (servo, BROADCAST))
        return out

    def _read(self, servo: int, address: int, size: int) -> bytes:
        if servo not in self.servos:
            return b""
        if address <= 56 <= address + size - 2:
            self.reported[servo] = round(self.servos[servo].position)
        return self._reply(servo, bytes(self.servos[servo].memory[address : address + size]))

    def _reply(self, servo: int, data: bytes) -> bytes:
        if servo not in self.servos or self.servos[servo].silent:
            return b""
        body = bytes((servo, len(data) + 2, self.servos[servo].error)) + data
        packet = b"\xff\xff" + body + bytes((~sum(body) & 0xFF,))
        self.replies += 1
        return packet if self.tamper is None else b"".join(self.tamper(servo, packet))


class PtyBus:
    """An emulator behind a pseudo-terminal, in a thread; `path` stays when the cable is replugged."""

    def __init__(self, emulator: ServoEmulator, folder: Path):
        self.emulator, self.path = emulator, folder / "servo_bus"
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.plug()

    def plug(self) -> None:
        """Connect the cable."""
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(self._slave))
        self._ended.clear()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Pull the cable out."""
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join()
        self._thread = None
        os.close(self._master)
        os.close(self._slave)

    def __enter__(self) -> PtyBus:
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # where the system allows it: servos need no processor of this machine
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        while not self._ended.is_set():
            if not select.select([self._master], [], [], 0.05)[0]:
                continue
            out = self.emulator.feed(os.read(self._master, 4096))
            if out:
                os.write(self._master, out)
