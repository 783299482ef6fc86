"""Physics against closed forms, and nothing left over from one episode to the next."""

import math
from dataclasses import replace

import numpy as np
import pytest

from robots.registry import load_robot
from sim.physics.physics_urdf import check_inertials
from sim.physics.world import World, WorldError
from sim.scene import RigidBody, Shape, box

HOME = np.array(load_robot("franka_panda").home)
CUBE = box("object", (0.04, 0.04, 0.04), mass=0.1, friction=0.5)


@pytest.fixture(scope="module")
def world():
    world = World(load_robot("franka_panda"))
    yield world
    world.close()


def build(world, body=CUBE, position=(0.5, 0.0, 0.02), **parameters):
    world.apply(parameters, [body])
    world.place(body.name, position)
    world.reset_arm(HOME)
    world.drive([*HOME], [0.1] * 7, [87.0] * 7)
    world.drive_fingers(0.04, 0.1, 87.0)
    world.read()


def run(world, seconds):
    for _ in range(round(seconds * world.physics_hz)):
        world.step()


def test_free_fall(world):
    build(world, position=(0.5, 0.4, 1.0))
    run(world, 0.25)
    height, fallen = world.pose("object")[0][2], 0.5 * 9.81 * 0.25**2
    # semi-implicit Euler falls ½ g t dt further
    assert 1.0 - height == pytest.approx(fallen + 0.5 * 9.81 * 0.25 / 240, rel=1e-3)


@pytest.mark.parametrize(("share", "slides"), [(0.9, False), (1.1, True), (1.5, True)])
def test_a_box_slides_at_its_friction_angle(world, share, slides):
    angle = share * math.atan(0.5)
    build(world, table_friction=1.0, base_tilt_x=angle)
    run(world, 0.5)
    slid = world.pose("object")[0][0] - 0.5
    expected = 0.5 * 9.81 * (math.sin(angle) - 0.5 * math.cos(angle)) * 0.25 if slides else 0.0
    assert slid == pytest.approx(expected, abs=5e-3)  # friction takes a few ticks to build up


def test_a_resting_body_stays_where_it_is(world):
    build(world)
    run(world, 5.0)
    assert world.pose("object")[0] == pytest.approx((0.5, 0.0, 0.02), abs=2e-4)


def test_a_ball_bounces_to_the_height_of_its_restitution(world):
    ball = RigidBody("object", (Shape("sphere", (0.03,)),), mass=0.1, restitution=0.8)
    build(world, ball, position=(0.5, 0.3, 0.33), table_restitution=1.0)
    run(world, math.sqrt(2 * 0.3 / 9.81) * (1 + 0.8))  # the top of the first bounce
    assert world.pose("object")[0][2] - 0.03 == pytest.approx(0.8**2 * 0.3, rel=0.08)


def test_an_arm_that_hangs_by_one_joint_swings_with_its_period(world):
    """Joint 6 free, all others held: a physical pendulum, T = 2π √(I / m g d) for small swings."""
    from sim.bullet import pybullet

    robot = load_robot("franka_panda")
    hanging = np.array([0.0, -0.9, 0.0, -2.2, 0.0, 1.3 + 0.0, 0.785])
    # the hand's centre of mass below joint 6: find the angle at which gravity gives no torque
    world.apply({}, [CUBE])

    def torque(angle):
        q = hanging.copy()
        q[5] = angle
        zeros = [0.0] * 9
        positions = [*q, 0.0, 0.0]
        return pybullet.calculateInverseDynamics(world.arm, positions, zeros, zeros, physicsClientId=world.client)[5]

    angles = np.linspace(0.2, 3.2, 301)
    values = np.array([torque(a) for a in angles])
    crossing = np.flatnonzero(np.diff(np.sign(values)))
    rest = next(angles[i] for i in crossing if values[i + 1] > values[i])
    stiffness = (torque(rest + 1e-3) - torque(rest - 1e-3)) / 2e-3
    q = hanging.copy()
    q[5] = rest
    M = np.array(pybullet.calculateMassMatrix(world.arm, [*q, 0.0, 0.0], physicsClientId=world.client))
    period = 2 * math.pi * math.sqrt(M[5, 5] / stiffness)
    start = q.copy()
    start[5] += 0.05
    world.reset_arm(start, 0.0)
    world.drive([*start], [0.3] * 7, [500.0] * 5 + [0.0, 500.0])
    world.drive_fingers(0.0, 0.3, 500.0)
    trace = []
    for _ in range(round(3 * period * world.physics_hz)):
        world.step()
        world.read()
        trace.append(world.q[5] - rest)
    down = np.flatnonzero((np.array(trace[:-1]) > 0) & (np.array(trace[1:]) <= 0))
    assert len(down) >= 2
    assert (down[1] - down[0]) / world.physics_hz == pytest.approx(period, rel=0.03)
    assert robot.joint_names[5] == "panda_joint6"


def test_a_push_changes_momentum_by_force_times_time(world):
    build(world, position=(0.5, 0.4, 1.0), gravity=0.0)
    push = world.pusher("object", (0.2, 0.0, 0.0))
    for _ in range(24):
        push()
        world.step()
    assert world.velocity("object")[0][0] == pytest.approx(0.2 * 0.1 / 0.1, rel=1e-2)


def test_the_centre_of_mass_is_not_the_origin(world):
    build(world, CUBE._replace(com=(0.012, 0.0, 0.0)), position=(0.5, 0.0, 0.5))
    assert world.pose("object")[0] == pytest.approx((0.5, 0.0, 0.5))
    run(world, 0.05)
    assert world.pose("object")[0][0] == pytest.approx(0.5, abs=1e-4)


def test_ee_pos_is_where_the_model_says(world):
    build(world)
    assert world.ee_pos == pytest.approx(world.robot.chain.pose(HOME)[1])
    assert world.opening == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w: w.pose("cup"), "no body 'cup'; there are table, object"),
        (lambda w: World(replace(w.robot, urdf_path="nowhere.urdf")), "does not exist"),
    ],
)
def test_nonsense_is_refused(world, make, message):
    build(world)
    with pytest.raises(WorldError, match=message):
        make(world)


def test_a_link_without_inertia_is_noticed():
    robot = load_robot("franka_panda")
    start = robot.urdf_xml.index("<inertial>")
    end = robot.urdf_xml.index("</inertial>") + len("</inertial>")
    with pytest.raises(WorldError, match="'panda_link0' has no <inertial>"):
        check_inertials(replace(robot, urdf_xml=robot.urdf_xml[:start] + robot.urdf_xml[end:]))
