"""Feetech's serial protocol as bytes, and the memory of an STS3215.

Source: Feetech's manuals of the SMS/STS protocol and of the STS3215's memory. Robot side: the standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

HEADER = b"\xff\xff"
BROADCAST = 0xFE
LARGEST_ID = 0xFC
OVERHEAD = 6
"""Bytes of a status packet beside its data: header, id, length, error, checksum."""
COUNTS = 4096
"""Positions of a turn."""
ALARMS = {1: "voltage", 2: "encoder", 4: "overheating", 8: "overcurrent", 32: "overload"}
"""Bits of a status packet's error, and of register 65."""


class Instruction(IntEnum):
    """What a packet asks for."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83


@dataclass(frozen=True)
class Register:
    """A value in a servo's memory, little-endian."""

    address: int
    size: int = 1
    sign_bit: int = 0
    """The bit that makes the value negative; 0 for none."""

    def encode(self, value: int) -> bytes:
        """Return the bytes of a value."""
        raw = abs(value) | 1 << self.sign_bit if value < 0 else value
        return raw.to_bytes(self.size, "little")

    def decode(self, memory: bytes, start: int = 0) -> int:
        """Return the value in `memory`, whose first byte is that at address `start`."""
        raw = int.from_bytes(memory[self.address - start : self.address - start + self.size], "little")
        if self.sign_bit and raw >> self.sign_bit & 1:
            return -(raw & ~(1 << self.sign_bit))
        return raw


MODEL = Register(3, 2)
STS3215 = 777
"""Value of `MODEL`."""
MIN_POSITION = Register(9, 2)
MAX_POSITION = Register(11, 2)
HOMING_OFFSET = Register(31, 2, sign_bit=11)
"""Present position = encoder - offset; kept when the power is off."""
MODE = Register(33)
"""0 follows positions."""
TORQUE = Register(40)
ACCELERATION = Register(41)
"""[100 counts/s²]; 254 is the most."""
GOAL = Register(42, 2, sign_bit=15)
GOAL_TIME = Register(44, 2)
GOAL_SPEED = Register(46, 2)
POSITION = Register(56, 2, sign_bit=15)
SPEED = Register(58, 2, sign_bit=15)
LOAD = Register(60, 2, sign_bit=10)
"""Part of the full PWM [0.1 %]."""
VOLTAGE = Register(62)
"""[0.1 V]"""
TEMPERATURE = Register(63)
"""[°C]"""
STATUS = Register(65)
"""Bits of `ALARMS`."""
MOVING = Register(66)
CURRENT = Register(69, 2, sign_bit=15)
"""[6.5 mA]"""
AMPERES = 0.0065
"""Of a count of `CURRENT`."""


@dataclass(frozen=True)
class Status:
    """A servo's reply."""

    servo: int
    error: int
    """Bits of `ALARMS`."""
    data: bytes


def checksum(body: bytes) -> int:
    """Return the checksum of what stands between a packet's header and its end."""
    return ~sum(body) & 0xFF


def instruction(servo: int, code: Instruction, parameters: bytes = b"") -> bytes:
    """Return an instruction packet."""
    body = bytes((servo, len(parameters) + 2, code)) + parameters
    return HEADER + body + bytes((checksum(body),))


def status(reply: Status) -> bytes:
    """Return a status packet."""
    body = bytes((reply.servo, len(reply.data) + 2, reply.error)) + reply.data
    return HEADER + body + bytes((checksum(body),))


def split(received: bytes) -> tuple[list[Status], int]:
    """Return the whole status packets in a stream, in their order, and how many bytes belong to none."""
    found, at, stray = [], 0, 0
    while at < len(received):
        size = 4 + received[at + 3] if at + 3 < len(received) else 0
        packet = received[at : at + size]
        whole = len(packet) == size >= OVERHEAD and packet[:2] == HEADER and packet[-1] == checksum(packet[2:-1])
        if whole:
            found.append(Status(packet[2], packet[4], packet[5:-1]))
        at, stray = (at + size, stray) if whole else (at + 1, stray + 1)
    return found, stray
