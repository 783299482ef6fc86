"""A gamepad's events as the kernel sends them."""

from __future__ import annotations

import pytest

from robots.specs import SpecError
from robots.teleoperation.gamepad import ABSOLUTE, DEAD_MAN, DROPPED, KEY, SYNC, AxisRange, Gamepad, GamepadState

RANGES = {0: AxisRange(-32768, 32767), 1: AxisRange(-32768, 32767), 3: AxisRange(0, 255), 4: AxisRange(0, 255)}
MIDDLE = {0: 0, 1: 0, 3: 127, 4: 127}


@pytest.fixture
def pad():
    state = GamepadState(RANGES)
    state.set(MIDDLE, ())
    return state


def test_sticks_move_the_hand_but_hold_nothing(pad):
    pad.take(ABSOLUTE, 1, -32768)
    pad.take(ABSOLUTE, 4, 255)
    steering = pad.steering(1.0)
    assert not steering.held
    assert steering.move == pytest.approx({"x": 1.0, "y": 0.0, "z": -1.0, "yaw": 0.0})
    pad.take(KEY, DEAD_MAN, 1)
    assert pad.steering(1.1).held
    pad.take(KEY, DEAD_MAN, 0)
    assert not pad.steering(1.2).held


def test_a_stick_near_its_middle_is_at_rest(pad):
    pad.take(ABSOLUTE, 0, 3900)
    assert pad.steering(0.0).move["y"] == 0.0
    pad.take(ABSOLUTE, 0, 32767)
    assert pad.steering(0.0).move["y"] == pytest.approx(-1.0)


def test_a_button_asks_once_however_long_it_is_pressed(pad):
    for value in (1, 2, 2, 0):
        pad.take(KEY, 0x13B, value)
    pad.take(KEY, 0x130, 1)
    assert pad.pressed == ["begin"]
    assert pad.steering(0.0).gripper == -1.0


def test_lost_events_are_noticed(pad):
    """The release of the dead-man may be among them: the state is read anew."""
    pad.take(KEY, DEAD_MAN, 1)
    assert not pad.take(SYNC, DROPPED, 0)
    pad.set(MIDDLE, ())
    assert not pad.steering(0.0).held


def test_a_gamepad_that_is_not_there_says_so():
    with pytest.raises(SpecError, match="gamepad: "):
        Gamepad("/dev/input/event999")
