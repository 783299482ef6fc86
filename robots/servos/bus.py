"""A chain of servos on one serial port: requests, and the replies that belong to them. Robot side, no third library."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robots.servos.packets import (
    BROADCAST,
    OVERHEAD,
    Instruction,
    Register,
    Status,
    instruction,
    split,
)
from robots.servos.serial_port import SerialPort

REPLY_TIME = 0.008
"""Longest wait for replies [s]: six servos take 2.3 ms for 38 bytes each at 1 Mbaud, and pause before each for 0.5 ms
unless that was set to 0, as LeRobot does; the rest is for the adapter. Two requests fit into a cycle."""
TRIES = 3
"""Of a single servo's register, before it counts as not answering."""
QUIET = 0.02
"""Nothing comes for so long when no reply is under way any more [s]."""


class NoReplyError(RuntimeError):
    """A servo does not answer, or what it answers is damaged."""


@dataclass(frozen=True)
class Replies:
    """What came back for one request to several servos."""

    by_servo: Mapping[int, Status]
    """The replies that are whole and of the wanted length."""
    clean: bool
    """Whether there is one of each servo, in the order of the request, and nothing else."""
    began: float
    """When the request was sent [s, monotonic]."""
    ended: float
    """When the last reply had arrived [s, monotonic]."""


class ServoBus:
    """Half duplex: one request at a time. What arrives before a request is discarded."""

    def __init__(self, port: SerialPort, reply_time: float = REPLY_TIME):
        """Talk through `port`; wait `reply_time` [s] for replies."""
        self.port, self.reply_time = port, reply_time

    def read(self, servo: int, first: int, size: int) -> bytes:
        """Return `size` bytes of a servo's memory from address `first` on.

        Raises:
            NoReplyError: if no whole reply of the right length comes in several tries.
            PortError: if the port is gone.
        """
        return self._ask(servo, Instruction.READ, bytes((first, size)), size)

    def write(self, servo: int, register: Register, value: int) -> None:
        """Set a register, and wait for the servo's acknowledgement; raises as `read`."""
        self._ask(servo, Instruction.WRITE, bytes((register.address,)) + register.encode(value), 0)

    def sync_write(self, first: int, values: Mapping[int, bytes]) -> None:
        """Write to several servos at once, from address `first` on, the same number of bytes each; nobody replies.

        Raises:
            PortError: if the port is gone.
        """
        size = len(next(iter(values.values())))
        parameters = bytes((first, size)) + b"".join(bytes((servo,)) + data for servo, data in values.items())
        self._send(instruction(BROADCAST, Instruction.SYNC_WRITE, parameters))

    def sync_read(self, servos: Sequence[int], first: int, size: int) -> Replies:
        """Read `size` bytes from address `first` on of several servos, which reply in the order of `servos`.

        Raises:
            PortError: if the port is gone.
        """
        began = self._send(instruction(BROADCAST, Instruction.SYNC_READ, bytes((first, size, *servos))))
        received = self.port.read(len(servos) * (OVERHEAD + size), began + self.reply_time)
        ended = time.monotonic()
        found, stray = split(received)
        fitting = {reply.servo: reply for reply in found if reply.servo in servos and len(reply.data) == size}
        clean = not stray and len(fitting) == len(found) and [reply.servo for reply in found] == list(servos)
        return Replies(fitting, clean, began, ended)

    def settle(self) -> None:
        """Wait until no reply is under way any more, and discard those that came.

        Raises:
            PortError: if the port is gone.
        """
        until = time.monotonic() + 1.0
        while self.port.read(1, time.monotonic() + QUIET) and time.monotonic() < until:
            pass
        self.port.discard()

    def close(self) -> None:
        """Release the port."""
        self.port.close()

    def _send(self, packet: bytes) -> float:
        self.port.discard()
        now = time.monotonic()
        self.port.write(packet, now + self.reply_time)
        return now

    def _ask(self, servo: int, code: Instruction, parameters: bytes, size: int) -> bytes:
        for _ in range(TRIES):
            began = self._send(instruction(servo, code, parameters))
            found, stray = split(self.port.read(OVERHEAD + size, began + self.reply_time))
            if len(found) == 1 and not stray and found[0].servo == servo and len(found[0].data) == size:
                return found[0].data
            self.settle()
        raise NoReplyError(
            f"servo {servo} does not answer ({TRIES} tries); is it plugged in and powered, and is its id {servo}?"
        )
