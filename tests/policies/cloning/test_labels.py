"""Labels from demonstrations alone: a hand that grasps, carries and lets go says where things were."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from policies.cloning.episodes import DemonstratedEpisode, split_episodes
from policies.cloning.labels import grasped, labelled_frames, place_labels
from robots.datasets.layout import DatasetError
from robots.registry import load_robot
from sim.tasks import fitted_task

ROBOT = load_robot("franka_panda")
GRIPPER = ROBOT.gripper
assert GRIPPER is not None
PICK, PUSH, REACH = (fitted_task(name, ROBOT, "front_side") for name in ("pick_place", "push", "reach"))
CAMERAS = {camera.name: camera for camera in PICK.cameras}
AT, GOAL = np.array([0.45, -0.1, 0.02]), np.array([0.55, 0.12, 0.08])


def shown(hand: np.ndarray, opening: np.ndarray, asked: np.ndarray, actions: int = 5) -> DemonstratedEpisode:
    """An episode in which the hand is at the points (N, 3)."""
    q, rows = np.array(ROBOT.home), []
    for point in hand:
        q = ROBOT.chain.inverse(q, point, ROBOT.R_home, tolerance=5e-4)
        rows.append(q)
    images = {name: np.full((len(hand), each.height, each.width, 3), 90, np.uint8) for name, each in CAMERAS.items()}
    columns = [np.asarray(each, np.float32)[:, None] for each in (opening, asked)]
    return DemonstratedEpisode(0, np.array(rows, np.float32), *columns, images, np.zeros((len(hand), actions)))


def ways(*points: np.ndarray, frames: int = 25) -> np.ndarray:
    """Straight ways between points, so many frames each."""
    return np.concatenate([np.linspace(a, b, frames) for a, b in itertools.pairwise(points)])


def placing() -> DemonstratedEpisode:
    above = np.array([0.0, 0.0, 0.1])
    hand = ways(AT + above, AT, AT, AT + above, GOAL + above, GOAL, GOAL, GOAL + above)
    wide, closed = GRIPPER.opened, GRIPPER.closed
    opening, asked = np.full(len(hand), wide), np.full(len(hand), wide)
    asked[35:135] = closed
    opening[35:40] = np.linspace(wide, 0.02, 5)
    opening[40:135] = 0.02  # a cube of 4 cm is between them
    opening[135:140] = np.linspace(0.02, wide, 5)
    return shown(hand, opening, asked)


def test_fingers_that_stop_short_of_what_is_commanded_have_grasped() -> None:
    ((first, end),) = grasped(placing(), GRIPPER, 25.0)
    assert 40 <= first <= 42
    assert end == 135


def test_fingers_that_close_on_nothing_or_are_left_half_open_have_not() -> None:
    episode = placing()
    empty = np.where(episode.asked_opening < 0.01, 0.0, episode.opening)
    assert grasped(shown(np.tile(AT, (len(empty), 1)), empty[:, 0], episode.asked_opening[:, 0]), GRIPPER, 25.0) == []
    half = np.full(60, 0.02)
    assert grasped(shown(np.tile(AT, (60, 1)), half, half), GRIPPER, 25.0) == []


def test_an_object_was_where_it_is_grasped_and_its_goal_where_it_is_let_go() -> None:
    found = place_labels(placing(), ROBOT, PICK)
    np.testing.assert_allclose(found.thing[0], AT, atol=0.002)
    np.testing.assert_allclose(found.thing[-1], GOAL, atol=0.002)
    np.testing.assert_allclose(found.goal, GOAL, atol=0.002)
    assert np.isfinite(found.thing).all()


def test_the_pad_is_as_far_under_the_goal_as_the_cube_was_over_the_table() -> None:
    frames = labelled_frames([placing()], ROBOT, PICK, CAMERAS)
    assert len(frames) == len(CAMERAS)
    np.testing.assert_allclose(frames[0].points[0, 1], GOAL - (0.0, 0.0, AT[2]), atol=0.003)
    camera = next(iter(CAMERAS.values()))
    np.testing.assert_allclose(frames[0].pixels[0], camera.project(frames[0].points[0]), atol=1e-3)


def test_what_is_never_grasped_stays_unknown() -> None:
    wide = np.full(50, GRIPPER.opened)
    episode = shown(ways(AT, GOAL, frames=50), wide, wide)
    found = place_labels(episode, ROBOT, PICK)
    assert not found.known
    assert np.isnan(found.thing).all()
    frames = labelled_frames([episode], ROBOT, PICK, CAMERAS)[0]
    assert np.isnan(frames.pixels[:, :2]).all()
    assert np.isfinite(frames.points[:, 2:]).all()


def test_the_goal_of_reaching_is_where_the_hand_was_held() -> None:
    still = np.zeros(60)
    episode = shown(np.concatenate([ways(AT + 0.2, GOAL), np.tile(GOAL, (35, 1))]), still, still, 3)
    np.testing.assert_allclose(place_labels(episode, ROBOT, REACH).goal, GOAL, atol=0.002)
    cube = labelled_frames([episode], ROBOT, REACH, CAMERAS)[0].points[0, 0]
    np.testing.assert_allclose(cube, GOAL - (0.0, 0.0, 0.1), atol=0.003)


def test_a_pushed_object_was_before_the_fingers_and_ended_at_the_goal() -> None:
    start, end = np.array([0.40, 0.0, 0.025]), np.array([0.55, 0.0, 0.025])
    up = np.array([0.0, 0.0, 0.12])
    hand = ways(start + up, start, end, end + up, frames=40)
    still = np.zeros(len(hand))
    found = place_labels(shown(hand, still, still, 3), ROBOT, PUSH)
    assert 0.03 < found.goal[0] - end[0] < 0.06
    assert abs(found.goal[1]) < 0.003
    assert np.isnan(found.thing[:50]).all(), "nothing tells where it stood before the fingers touched it"
    np.testing.assert_allclose(found.thing[-1], found.goal)


def test_one_demonstration_cannot_both_teach_and_decide() -> None:
    with pytest.raises(DatasetError, match="expected 2 or more: one is held out and decides"):
        split_episodes([placing()])
    taught, held_out = split_episodes([placing()] * 9)
    assert (len(taught), len(held_out)) == (7, 2)
