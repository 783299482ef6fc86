"""Packets against the manual's examples, and against damage."""

from __future__ import annotations

import numpy as np
import pytest

from robots.servos.packets import (
    CURRENT,
    HOMING_OFFSET,
    Instruction,
    Status,
    instruction,
    split,
    status,
)


def test_packets_are_those_of_the_manual():
    """Feetech's protocol manual: ping of servo 1, and reading two bytes from 0x38."""
    assert instruction(1, Instruction.PING) == bytes.fromhex("ffff010201fb")
    assert instruction(1, Instruction.READ, b"\x38\x02") == bytes.fromhex("ffff0104023802be")
    assert split(bytes.fromhex("ffff0104001805dd")) == ([Status(1, 0, b"\x18\x05")], 0)


@pytest.mark.parametrize("register", [HOMING_OFFSET, CURRENT])
@pytest.mark.parametrize("value", [0, 1, -1, 98, -369, 1704])
def test_signed_registers_keep_their_values(register, value):
    memory = bytes(register.address) + register.encode(value)
    assert register.decode(memory) == value


def test_replies_are_found_among_noise():
    replies = [Status(1, 0, b"\x10\x08"), Status(2, 4, b"\xff\xff\x01"), Status(3, 0, b"")]
    one, two, three = map(status, replies)
    assert split(one + two + three) == (replies, 0)
    assert split(b"\xff" + one + b"\x00\x07" + three) == ([replies[0], replies[2]], 3)
    assert split(one[:-1] + two) == ([replies[1]], len(one) - 1)


def test_a_changed_byte_is_never_a_reply():
    """One byte of any value changes the checksum, the header or the length."""
    rng = np.random.default_rng(0)
    packet = status(Status(3, 0, bytes(range(15))))
    for _ in range(2000):
        damaged = bytearray(packet)
        damaged[rng.integers(len(packet))] ^= int(rng.integers(1, 256))
        assert split(bytes(damaged))[0] == []
