"""What keys and the page's buttons do to episodes, without an arm."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest

from evaluation.operator_page.operator_state import OperatorError, OperatorState
from evaluation.session.demonstrations import AboutDemonstrations, DemonstrationLog
from robots.teleoperation.steering import STALE
from ros_nodes.sources.episodes import SETTLE, EpisodeKeeper
from ros_nodes.sources.operator_view import PageKeys, PageView, Shown

ABOUT = AboutDemonstrations("franka_panda", "push")
READY = Shown("ready", 1, 3, 0, 0, 0.0, "ready", "", False, 1.0, "")


@pytest.fixture
def keeper(tmp_path):
    listed = []
    with closing(DemonstrationLog(tmp_path / "shown", ABOUT)) as log:
        made = EpisodeKeeper(log, 2, lambda *said: listed.append(said))
        made.said = listed
        yield made


def test_keys_in_the_wrong_moment_change_nothing(keeper):
    assert "Space begins one" in keeper.end("success")
    assert "there is no episode to take back" in keeper.end("discard")
    assert keeper.begin(None, "camera 'front': no picture yet") == "not begun: camera 'front': no picture yet"
    assert keeper.phase == "ready"
    assert keeper.begin(None, "") == "episode 1: recording"
    assert "recording already" in keeper.begin(None, "")
    assert keeper.said == []


def test_episodes_are_counted_until_all_are_there(keeper):
    for key, expected in (("success", (1, 0)), ("discard", (1, 0)), ("failure", (1, 1))):
        keeper.begin(None, "")
        keeper.end(key)
        assert keeper.counts(0.0)[3:5] == expected
    assert "all 2 episodes are there" in keeper.begin(None, "")
    assert "taken back" in keeper.end("discard")
    assert keeper.counts(0.0)[1:5] == (2, 2, 1, 0)
    assert keeper.said == [(1, 0, "success"), (2, 0, "discarded"), (2, 1, "failure"), (2, 1, "discarded")]


def test_an_episode_that_lacks_frames_is_not_kept(keeper):
    keeper.begin(None, "")
    keeper.spoiled = "camera 'front': no picture for 0.3 s"
    assert "not kept: camera 'front'" in keeper.end("success")
    assert keeper.phase == "recording"
    assert "discarded" in keeper.end("discard")
    keeper.begin(None, "")
    assert "kept as a success" in keeper.end("success")


def test_the_object_is_placed_before_the_episode_begins(keeper):
    placed = []
    assert "placing" in keeper.begin(placed.append, "")
    assert (keeper.phase, placed) == ("placing", [0])
    keeper.update(1e9)
    assert keeper.phase == "recording"
    assert SETTLE < 1.0


def test_the_pages_buttons_are_keys_and_count_once():
    state = OperatorState()
    page = PageView(state, "shown")
    page.show(READY)
    shown = state.state("browser")
    assert (shown["phase"], shown["answers"], shown["gate"]["state"]) == ("ready", ["start", "finish"], "ready")
    state.hand_in(shown["key"], "start")
    assert page.presses() == ("begin",)
    assert page.presses() == ()
    page.show(replace(READY, phase="recording", notice="camera 'front': no picture for 0.3 s"))
    shown = state.state("browser")
    assert (shown["phase"], shown["answers"]) == ("running", ["success", "failure", "void"])
    assert "no picture" in shown["warning"]
    state.hand_in(shown["key"], "void")
    state.hand_in("", "stop")
    assert page.presses() == ("stop", "discard")
    page.show(replace(READY, gate="stopped", gate_reason="emergency stop pressed"))
    shown = state.state("browser")
    assert (shown["phase"], shown["problem"]) == ("stopped", "emergency stop pressed")
    state.hand_in(shown["key"], "clear")
    assert page.presses() == ("reset",)


def test_a_pages_keys_steer_while_it_says_that_they_are_held():
    now = [10.0]
    state = OperatorState(clock=lambda: now[0])
    with pytest.raises(OperatorError, match="not steered from this page"):
        state.steer("a", ["w"])  # as in a session
    keys = PageKeys(state)
    assert state.state("a")["steerable"]
    assert not keys.read(now[0]).held
    state.steer("a", ["w", "d", "c", "Enter"])
    steering = keys.read(now[0])
    assert steering.held
    assert (steering.move, steering.gripper) == ({"x": 1.0, "y": -1.0}, -1.0)
    with pytest.raises(OperatorError, match="another page steers"):
        state.steer("b", ["s"])
    now[0] += 0.5  # the page fell silent: what it said last grows old, and steers nothing
    assert now[0] - keys.read(now[0]).stamp > STALE
    state.steer("a", [])
    assert not keys.read(now[0]).held
    state.steer("b", ["s"])
    assert keys.read(now[0]).move == {"x": -1.0}
    keys.close()
    assert not state.state("a")["steerable"]
