"""What physics spares where nothing happens: ticks that are merged far from everything, and bodies that sleep."""

from contextlib import closing

import numpy as np
import pytest

from robots.registry import load_robot
from sim.catalogue import parameter_space
from sim.env import ArmEnv
from sim.physics.actuators import LONGEST, PositionActuator, merged_ticks
from sim.physics.vicinity import WAKING, WATCHED, Vicinity
from sim.physics.world import World
from sim.scene import RigidBody, Shape, box
from sim.tasks import load_task

ARM = load_robot("franka_panda")
HOME = np.array(ARM.home)
NOMINAL = parameter_space(load_task("reach"), ARM).nominal()
HAND = tuple(ARM.chain.pose(HOME)[1][:2])
CUBE = box("object", (0.04, 0.04, 0.04), mass=0.1, friction=0.5)
BALL = RigidBody("object", (Shape("sphere", (0.02,)),), mass=0.1, friction=0.5)


@pytest.mark.parametrize(
    ("ticks", "hz"), [(6, 120), (6, 150), (8, 200), (12, 240), (2, 50), (1, 20), (4, 100), (10, 20)]
)
def test_merged_ticks_make_up_the_period_and_none_is_too_long(ticks, hz):
    pieces = merged_ticks(ticks, hz)
    assert sum(pieces) == ticks
    assert pieces[-1] == 1
    assert min(pieces) > 0
    assert max(pieces) == 1 or max(pieces) / hz <= LONGEST + 1e-9


def test_a_merged_motor_ends_where_its_ticks_would_have():
    with closing(World(ARM, 120.0)) as world:
        actuator = PositionActuator(ARM, world, 6)
        world.apply(NOMINAL, [])
        actuator.reset(HOME, 0.04, NOMINAL)
        actuator._out[:] = np.random.default_rng(0).normal(size=actuator._out.shape)
        q, gain = np.zeros(7), actuator._gains[1][0]
        for target in actuator._out:
            q += gain * (target - q)
        merged = np.zeros(7)
        for ticks, target in zip(actuator._merged, actuator._shares @ actuator._out):
            merged += actuator._gains[ticks][0] * (target - merged)
        assert merged == pytest.approx(q)


def swing(merge: bool, monkeypatch) -> tuple[np.ndarray, int]:
    """Positions of the end effector, and how many ticks physics took."""
    with closing(ArmEnv("pick_place", space="full")) as env, monkeypatch.context() as patch:
        if not merge:
            patch.setattr(Vicinity, "is_clear", property(lambda self: False, lambda self, value: None), raising=False)
        ticks, step = [], World.step

        def counted(self: World) -> None:
            ticks.append(self._ticks_at_once)
            step(self)

        patch.setattr(World, "step", counted)
        env.reset(seed=5)
        path = []
        for k in range(40):
            env.step(np.array([np.sin(k / 3), np.cos(k / 4), 0.1, 0.3 * np.sin(k / 5), 0.0]))
            path.append(env.world.ee_pos)
    assert sum(ticks) == 40 * 6
    return np.array(path), len(ticks)


def test_far_from_everything_half_the_ticks_lead_the_arm_the_same_way(monkeypatch):
    (short, all_ticks), (merged, ticks) = swing(False, monkeypatch), swing(True, monkeypatch)
    assert all_ticks == 240
    assert ticks < 0.65 * all_ticks
    apart = np.linalg.norm(short - merged, axis=1)
    assert np.ptp(short, axis=0).max() > 0.05
    assert apart.max() < 4e-3
    assert np.median(apart) < 1.5e-3


@pytest.fixture(scope="module")
def world():
    world = World(ARM, 120.0)
    yield world
    world.close()


def build(world, body=CUBE, position=(0.5, 0.3, 0.02), **parameters):
    world.apply(parameters, [body])
    world.place(body.name, position)
    world.reset_arm(HOME)
    world.drive([*HOME], [0.2] * 7, [87.0] * 7)
    world.read()


def periods(world, count):
    for _ in range(count):
        for _ in range(6):
            world.step()
        world.vicinity.survey(world.pose)


def test_a_body_at_rest_sleeps_and_a_strong_push_wakes_it(world):
    build(world)
    for _ in range(WATCHED + 5):
        world.pusher("object", (0.01, 0.0, 0.0))()
        periods(world, 1)
    assert world.vicinity.asleep
    assert world.vicinity.is_clear
    stood = world.pose("object")[0]
    world.pusher("object", (0.0, WAKING * 0.0099, 0.0))()  # no more than it has stood already
    periods(world, 20)
    assert world.vicinity.asleep
    assert world.pose("object")[0] is stood
    for _ in range(4):
        world.pusher("object", (0.0, 2.0, 0.0))()
        world.step()
    assert not world.vicinity.asleep
    assert world.pose("object")[0][1] > stood[1] + 1e-3


def test_a_ball_on_a_slope_and_what_falls_stay_awake(world):
    build(world, BALL, base_tilt_x=0.004)
    periods(world, 30)
    assert not world.vicinity.asleep
    assert not world.vicinity.is_clear
    assert world.pose("object")[0][0] > 0.51
    build(world, position=(0.5, 0.3, 1.0))
    periods(world, 5)
    assert not world.vicinity.asleep


def test_the_hand_wakes_what_it_comes_near(world):
    build(world)
    periods(world, WATCHED + 3)
    below = world.ee_pos - (0.0, 0.0, 0.06)
    assert world.vicinity.asleep
    world.place("object", tuple(below))  # in the air: awake at once, and it falls
    assert not world.vicinity.asleep
    periods(world, 1)
    assert not world.vicinity.is_clear
    assert world.pose("object")[0][2] < below[2] - 5e-3


def test_a_state_is_restored_at_any_moment_of_falling_asleep_and_waking():
    def play(env, count):
        poses = []
        for k in range(count):
            env.step(np.array([np.sin(k), 0.0, 0.0, 0.0, 1.0]))
            poses.append([*env.world.q, *env.world.pose("object")[0], *env.world.pose("object")[1]])
        return np.array(poses)

    with closing(ArmEnv("pick_place", space="nominal")) as env, closing(ArmEnv("pick_place", space="nominal")) as other:
        env.reset(seed=2, options={"parameters": {"object_force_noise": 0.01}, "places": {"object": HAND}})
        seen = set()
        for k in range(45):
            env.step(np.array([0.0, 0.0, -1.0 if 9 <= k < 21 else 0.0, 0.0, 1.0]))  # down to the cube and up again
            seen.add((env.world.vicinity.asleep, env.world.vicinity._changed))
            state = env.get_state()
            first = play(env, 4)
            other.set_state(state)
            assert np.array_equal(first, play(other, 4))
            env.set_state(state)
        assert len(seen) == 4  # awake, falling asleep, asleep, waking
