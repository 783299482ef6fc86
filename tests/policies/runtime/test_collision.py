"""Hulls, distances with known answers, and a filter that never lets an arm come near itself or a box."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from policies.bundle import PolicyBundle
from policies.runtime.collision import CollisionModel
from policies.runtime.limits import Box, SafetyError, SafetyLimits, default_limits
from policies.runtime.safety_filter import Command, SafetyFilter
from robots.model import RobotModel
from robots.observation import RobotState
from robots.registry import ROBOTS, load_robot
from robots.shapes.hulls import arm_hulls, collision_hulls, mesh_points, reduced_hull
from robots.shapes.meshes import MeshError
from robots.shapes.visual_meshes import find_mesh
from tests.policies.runtime.test_safety import check_stream
from tests.support.tiny_bundle import tiny_bundle

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
DT = 0.01


def left_out(points: np.ndarray, hull: np.ndarray) -> float:
    """Return the largest distance of `points` (N, 3) from the hull of `hull` (V, 3) [m]; 0 inside."""
    equations = ConvexHull(hull).equations
    return float(max(0.0, (points @ equations[:, :3].T + equations[:, 3]).max()))


def cube(edge: float) -> np.ndarray:
    return edge / 2 * np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])


def slider() -> RobotModel:
    """A carriage on a rail along x: distances are read off."""
    limits = replace(
        PANDA.limits, q_low=(-1.0,), q_high=(1.0,), dq=(1.0,), ddq=(5.0,), jerk=(100.0,), tau=(1.0,), source="made up"
    )
    urdf = (
        '<robot name="rail"><link name="base"/><link name="carriage"/><joint name="x" type="prismatic">'
        '<parent link="base"/><child link="carriage"/><origin xyz="0 0 0.5"/><axis xyz="1 0 0"/>'
        '<limit lower="-1" upper="1" effort="1" velocity="1"/></joint></robot>'
    )
    return RobotModel("rail", ("x",), "base", "carriage", (0.0,), limits, urdf_xml=urdf)


# Hulls


@pytest.mark.parametrize("name", sorted(ROBOTS))
def test_hulls_contain_the_meshes_to_millimetres(name):
    robot = load_robot(name)
    hulls = arm_hulls(robot)
    assert len(hulls) >= len(robot.joint_names)
    assert max(len(points) for points in hulls.values()) <= 80
    if name == "franka_panda":
        for link in ("link3", "link5", "hand"):
            path = find_mesh(f"package://meshes/collision/{link}.obj", __import__("pathlib").Path(robot.urdf_path))
            assert left_out(mesh_points(path), hulls[f"panda_{link}"]) < 0.004


def test_reduced_hull_of_a_cube_is_its_corners():
    rng = np.random.default_rng(0)
    points = np.concatenate([cube(0.2), rng.uniform(-0.1, 0.1, (500, 3))])
    hull = reduced_hull(points)
    np.testing.assert_allclose(np.unique(hull.round(9), axis=0), np.unique(cube(0.2), axis=0))
    with pytest.raises(MeshError, match="flat"):
        reduced_hull(np.c_[rng.uniform(size=(9, 2)), np.zeros(9)])


def test_missing_or_damaged_mesh_is_named(tmp_path):
    (tmp_path / "bad.stl").write_text("solid\nendsolid\n")
    (tmp_path / "arm.urdf").write_text(
        '<robot name="a"><link name="l"><collision><geometry><mesh filename="bad.stl"/></geometry></collision></link>'
        "</robot>"
    )
    with pytest.raises(MeshError, match=r"bad\.stl: 0 points"):
        collision_hulls(tmp_path / "arm.urdf")
    with pytest.raises(MeshError, match="cannot be read"):
        collision_hulls(tmp_path / "none.urdf")


def test_bundle_carries_the_hulls_to_where_no_meshes_are(tmp_path):
    loaded = PolicyBundle.load(tiny_bundle().save(tmp_path / "b")).robot
    assert loaded.urdf_path is None
    for link, points in arm_hulls(PANDA).items():
        np.testing.assert_array_equal(arm_hulls(loaded)[link], points)


# Distances


def test_distance_to_a_box_is_read_off():
    model = CollisionModel(slider(), {"carriage": cube(0.2)}, [Box((0.5, -1.0, 0.0), (0.8, 1.0, 1.0))])
    for x in (-0.3, 0.0, 0.25):
        assert model.distances(np.array([x]))[0] == pytest.approx(0.4 - x, abs=1e-6)
    assert model.distances(np.array([0.5]))[0] < 0
    nearest = model.nearest(np.array([0.3]))
    assert nearest is not None
    assert str(nearest) == "'carriage' is 100 mm from 'keep-out box 1'"


def test_no_path_jumps_through_a_thin_wall():
    """A millimetre of wall between two points of a path that are half a metre apart."""
    model = CollisionModel(slider(), {"carriage": cube(0.02)}, [Box((0.3, -1.0, 0.0), (0.301, 1.0, 1.0))])
    model.start(np.array([0.0]))
    fine = np.linspace(0.0, 0.6, 200)[:, None]
    assert model.obstacle(fine) is not None
    assert model.obstacle(fine[:80]) is None
    assert model.obstacle(np.zeros((0, 1))) is None


def test_path_check_agrees_with_looking_at_every_point():
    model = CollisionModel(PANDA, arm_hulls(PANDA), [Box((-0.5, 0.45, 0.0), (1.0, 0.6, 1.0))])
    rng = np.random.default_rng(1)
    model.start(HOME)
    found = 0
    for _ in range(60):
        ends = rng.uniform(PANDA.limits.q_low, PANDA.limits.q_high, (2, 7))
        path = HOME + np.linspace(0, 0.6, 30)[:, None] * (ends[0] - HOME)
        expected = any((model.distances(q) < model.margins).any() for q in path)
        assert (model.obstacle(path) is not None) == expected
        found += expected
    assert 5 < found < 55  # both answers occur


@pytest.mark.parametrize("name", sorted(ROBOTS))
def test_home_is_free_and_folding_is_seen(name):
    robot = load_robot(name)
    model = CollisionModel(robot, arm_hulls(robot))
    nearest = model.nearest(np.array(robot.home))
    assert nearest is not None
    assert nearest.distance > 0.01
    rng = np.random.default_rng(0)
    poses = rng.uniform(robot.limits.q_low, robot.limits.q_high, (200, len(robot.home)))
    touching = np.array([(model.distances(q) < 0).any() for q in poses])
    assert 0.02 < touching.mean() < 0.5


def test_wrong_hulls_and_margins_are_refused():
    with pytest.raises(SafetyError, match="hulls of no link"):
        CollisionModel(PANDA, {})
    with pytest.raises(SafetyError, match=r"hulls of \['finger'\]"):
        CollisionModel(PANDA, {"finger": cube(0.1)})
    hulls = arm_hulls(PANDA)
    with pytest.raises(SafetyError, match="no collision hull of any link that joint 'panda_joint1' moves"):
        CollisionModel(PANDA, {"panda_link4": hulls["panda_link4"]})
    with pytest.raises(SafetyError, match="no collision hull of any link that joint 'panda_joint5' moves"):
        CollisionModel(PANDA, {link: hull for link, hull in hulls.items() if link != "panda_link5"})
    with pytest.raises(SafetyError, match=r"'self_margin': 0\.0 m"):
        CollisionModel(PANDA, arm_hulls(PANDA), self_margin=0.0)


@pytest.mark.parametrize(
    "points",
    [np.full((8, 3), np.nan), np.zeros((8, 3)), np.eye(3), np.ones((8, 2)), 1e6 * np.eye(4, 3)],
    ids=["nan", "point", "triangle", "flat", "huge"],
)
def test_a_hull_without_a_finite_volume_is_refused(points):
    """Handed to coal, NaN ends the process with a segmentation fault."""
    with pytest.raises(SafetyError, match=r"hull of link 'panda_link4', .* spans no finite volume"):
        CollisionModel(PANDA, {**arm_hulls(PANDA), "panda_link4": points})


# Behind the filter


class Bench:
    """A filter with a collision model, watched by a second model that looks at every setpoint."""

    def __init__(self, robot: RobotModel, limits: SafetyLimits, keep_out: tuple[Box, ...] = ()):
        self.robot, self.limits = robot, limits
        hulls = arm_hulls(robot)
        self.filter = SafetyFilter(robot, limits, DT, CollisionModel(robot, hulls, keep_out))
        self.filter.reset(np.array(robot.home))
        self.watcher = CollisionModel(robot, hulls, keep_out)
        self.stream = [np.array(robot.home)]
        self.now = 0.0

    def go(self, goal: np.ndarray, ticks: int) -> set[str]:
        reasons: set[str] = set()
        for k in range(ticks):
            q = self.stream[-1]
            if k % 5 == 0:
                way = goal - q
                command = Command(q + way * min(1.0, 0.45 / max(np.abs(way).max(), 1e-9)), self.now)
            setpoint = self.filter.filter(command, RobotState(self.now, q, np.zeros_like(q)), self.now)
            reasons |= set(setpoint.reasons)
            self.stream.append(setpoint.q)
            self.now += DT
        return reasons

    def check(self) -> None:
        check_stream(np.array(self.stream), self.robot, self.limits, DT)
        for q in self.stream:
            assert (self.watcher.distances(q) >= self.watcher.margins - 1e-6).all()


CELL = Bench(PANDA, default_limits(PANDA, 20.0), (Box((0.3, 0.22, -0.1), (0.8, 0.6, 0.9)),))
"""Made once: hypothesis runs many examples."""


def test_arm_stops_before_a_box_and_can_leave_again():
    bench = Bench(PANDA, default_limits(PANDA, 20.0), (Box((0.2, 0.25, -0.1), (0.8, 0.6, 0.9)),))
    goal = HOME.copy()
    goal[0] = 1.2
    assert "keep_out" in bench.go(goal, 200)
    assert bench.filter.fault == ""
    assert "from 'keep-out box 1'" in bench.filter.approach
    rested = bench.stream[-1]
    assert np.abs(rested - bench.stream[-20]).max() < 2e-3
    assert 0.2 < rested[0] < 0.9
    bench.go(HOME, 200)
    np.testing.assert_allclose(bench.stream[-1], HOME, atol=1e-3)
    bench.check()


def test_arm_stops_before_itself():
    bench = Bench(PANDA, default_limits(PANDA, 20.0))
    goal = HOME.copy()
    goal[1], goal[3], goal[5] = -1.7, -3.0, -0.0
    reasons = bench.go(goal, 300) | bench.go(np.array([0.0, 1.7, 0.0, -3.05, 0.0, 0.0, 0.0]), 300)
    assert "self_collision" in reasons
    bench.check()


@pytest.mark.parametrize("name", sorted(ROBOTS))
def test_random_targets_keep_the_margins_at_small_cost(name):
    robot = load_robot(name)
    bench = Bench(robot, default_limits(robot, 20.0), (Box((-0.6, 0.3, 0.0), (1.0, 0.6, 1.0)),))
    rng = np.random.default_rng(2)
    reasons: set[str] = set()
    began = time.thread_time()
    for _ in range(8):
        reasons |= bench.go(rng.uniform(bench.limits.q_low, bench.limits.q_high), 100)
    assert (time.thread_time() - began) / 800 < 0.003  # 0.4 ms a command measured; processor time, not the wall's
    assert reasons & {"keep_out", "self_collision"}
    bench.check()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.lists(st.floats(-0.49, 0.49), min_size=7, max_size=7), st.integers(1, 12)), max_size=25))
def test_no_sequence_of_commands_comes_near_a_box_or_itself(steps):
    """Property: whatever is asked for, for however long, limits and margins hold at every setpoint."""
    bench = CELL
    bench.filter.reset(HOME)
    bench.stream = [HOME]
    for step, ticks in steps:
        command = Command(bench.stream[-1] + np.array(step), bench.now)
        for _ in range(ticks):
            q = bench.stream[-1]
            bench.stream.append(bench.filter.filter(command, RobotState(bench.now, q, np.zeros(7)), bench.now).q)
            bench.now += DT
    bench.check()


def test_arm_inside_the_margin_may_leave_but_not_near():
    model = CollisionModel(slider(), {"carriage": cube(0.2)}, [Box((0.11, -1.0, 0.0), (0.5, 1.0, 1.0))])
    model.start(np.zeros(1))  # 10 mm away, 20 mm are kept
    assert model.obstacle(np.linspace(0, -0.5, 50)[:, None]) is None
    near = model.obstacle(np.linspace(0, 0.005, 50)[:, None])
    assert near is not None
    assert near.reason == "keep_out"
    with pytest.raises(SafetyError, match="bring the arm away"):
        model.start(np.array([0.05]))


def test_restarts_at_the_margin_do_not_wear_it_away():
    """A policy that runs into a box, faults, is reset and runs again must not come nearer each time."""
    model = CollisionModel(slider(), {"carriage": cube(0.2)}, [Box((0.1201, -1.0, 0.0), (0.5, 1.0, 1.0))])
    model.start(np.zeros(1))  # 20.1 mm away, 20 mm are kept
    near = model.obstacle(np.linspace(0, 0.001, 20)[:, None])
    assert near is not None
    assert near.distance == pytest.approx(0.02, abs=1e-4)
