"""A terminal's keys: held while they repeat, and no longer."""

from __future__ import annotations

import os
import pty
import termios
import time

import pytest

from robots.registry import load_robot
from robots.teleoperation.keyboard import HELD, TerminalKeyboard

JOINTS = load_robot("franka_panda").joint_names


class Terminal:
    """A pseudo-terminal, a keyboard on it, and a clock."""

    def __init__(self, mode="hand"):
        self.master, self.slave = pty.openpty()
        self.keyboard = TerminalKeyboard(self.slave, mode, JOINTS)

    def type(self, text: str, now: float):
        os.write(self.master, text.encode())
        time.sleep(0.01)
        return self.keyboard.read(now)


@pytest.fixture
def terminal():
    made = Terminal()
    yield made
    for fd in (made.master, made.slave):
        os.close(fd)


def test_a_key_is_held_while_it_repeats(terminal):
    assert not terminal.keyboard.read(0.0).held
    for k in range(5):
        steering = terminal.type("w", 0.09 * k)  # the Linux console repeats 11 times a second
        assert steering.held
        assert steering.move == {"x": 1.0}
    assert terminal.keyboard.read(0.36 + HELD - 0.01).held
    released = terminal.keyboard.read(0.36 + HELD)
    assert not released.held
    assert released.move == {}


@pytest.mark.parametrize(
    ("typed", "move"),
    [
        ("wd", {"x": 1.0, "y": -1.0}),
        ("ws", {"x": -1.0}),
        ("\x1b[A\x1b[6~", {"x": 1.0, "z": -1.0}),
        ("h", {}),
        ("q", {"yaw": 1.0}),
    ],
)
def test_keys_move_the_hand(terminal, typed, move):
    steering = terminal.type(typed, 0.0)
    assert steering.held
    assert steering.move == move
    assert terminal.keyboard.presses() == ()


def test_keys_close_and_open_the_fingers_once(terminal):
    assert terminal.type("c", 0.0).gripper == -1.0
    assert terminal.keyboard.read(0.05).gripper is None  # as they are
    assert terminal.type("o", 0.1).gripper == 1.0


def test_other_keys_hold_nothing(terminal):
    assert not terminal.type(" \r\x7fx\x1bRzÄ", 0.0).held
    assert terminal.keyboard.presses() == ("begin", "success", "discard", "failure", "stop", "reset")
    assert terminal.keyboard.presses() == ()


def test_digits_move_joints():
    terminal = Terminal("joints")
    assert terminal.type("3t", 0.0).move == {JOINTS[2]: 1.0, JOINTS[4]: -1.0}


def test_the_terminal_is_given_back(terminal):
    assert not termios.tcgetattr(terminal.slave)[3] & termios.ICANON
    terminal.keyboard.close()
    assert termios.tcgetattr(terminal.slave)[3] & termios.ICANON


def test_a_closed_terminal_holds_nothing_and_ends_the_program():
    terminal = Terminal()
    terminal.type("w", 0.0)
    os.close(terminal.master)
    steering = terminal.keyboard.read(0.05)
    assert "terminal" in steering.trouble
    assert terminal.keyboard.presses() == ("quit",)


def test_without_a_terminal_it_says_what_to_do():
    read, write = os.pipe()
    with pytest.raises(OSError, match=r"keyboard: .*run it in a terminal"):
        TerminalKeyboard(read, "hand", JOINTS)
    os.close(read)
    os.close(write)
