"""Gravity and inertia of an arm: against closed forms, against PyBullet's, and with masses that change."""

import math

import numpy as np
import pytest

from robots.kinematics import KinematicChain
from robots.model import RobotModel
from robots.registry import ROBOTS, load_robot
from robots.urdf import read_urdf
from sim.bullet import pybullet
from sim.catalogue import parameter_space
from sim.env import ArmEnv
from sim.physics.actuator_kinds import make_actuator
from sim.physics.link_load import ArmLoad
from sim.physics.world import World
from sim.tasks import load_task

DOWN = np.array([0.0, 0.0, -9.81])


def two_links():
    """A planar arm in the x-z plane, links of 1 m, turning about -y: q = 0 points along x."""
    joints = "".join(
        f'<joint name="j{i}" type="revolute"><parent link="l{i}"/><child link="l{i + 1}"/>'
        f'<origin xyz="{float(i)} 0 0"/><axis xyz="0 -1 0"/></joint>'
        for i in range(2)
    )
    links = "".join(f'<link name="l{i}"/>' for i in range(3))
    return KinematicChain.from_urdf(read_urdf(f'<robot name="r">{links}{joints}</robot>'), "l2")


def planar_load(m=(2.0, 3.0), c=(0.4, 0.7), inertia=(0.1, 0.2)):
    com = np.array([[c[0], 0.0, 0.0], [c[1], 0.0, 0.0]])
    tensors = np.array([np.diag([0.0, value, 0.0]) for value in inertia])
    return ArmLoad.of(two_links(), np.array(m), com, tensors), m, c, inertia


def test_a_planar_arms_torques_have_their_closed_form():
    """Siciliano et al., Robotics, section 7.3.2, without motors."""
    load, m, c, inertia = planar_load()
    q, dq = np.array([0.4, -1.1]), np.array([0.8, -0.5])
    g = 9.81
    weight_2 = m[1] * c[1] * g * math.cos(q[0] + q[1])
    weight = np.array([(m[0] * c[0] + m[1]) * g * math.cos(q[0]) + weight_2, weight_2])
    assert load.gravity(q, DOWN) == pytest.approx(weight, abs=1e-12)
    cosine, sine = math.cos(q[1]), math.sin(q[1])
    m22 = inertia[1] + m[1] * c[1] ** 2
    m12 = m22 + m[1] * c[1] * cosine
    m11 = inertia[0] + m[0] * c[0] ** 2 + inertia[1] + m[1] * (1 + c[1] ** 2 + 2 * c[1] * cosine)
    assert load.terms(q, np.zeros(len(q)), DOWN)[0] == pytest.approx(np.array([[m11, m12], [m12, m22]]), abs=1e-12)
    h = -m[1] * c[1] * sine
    coriolis = np.array([h * dq[1] ** 2 + 2 * h * dq[0] * dq[1], -h * dq[0] ** 2])
    assert load.terms(q, dq, DOWN)[1] == pytest.approx(weight + coriolis, abs=1e-12)


@pytest.mark.parametrize("name", ROBOTS)
def test_it_agrees_with_pybullet_where_pybullet_is_right(name):
    """In a fresh client, before any mass was changed; fingers closed, as the load has them."""
    robot = load_robot(name)
    world = World(robot)
    world.apply({}, [])
    rng = np.random.default_rng(0)
    fingers = robot.gripper.positions(0.0).tolist() if robot.gripper else []
    n, load = world.n, world.dynamics.nominal_load
    for _ in range(5):
        q = rng.uniform(robot.limits.q_low, robot.limits.q_high)
        dq = rng.uniform(-1, 1, n)
        still = [0.0] * (n + len(fingers))
        moving = [*dq.tolist(), *[0.0] * len(fingers)]
        h = pybullet.calculateInverseDynamics(world.arm, [*q, *fingers], moving, still, physicsClientId=world.client)
        M = pybullet.calculateMassMatrix(world.arm, [*q, *fingers], physicsClientId=world.client)
        assert load.terms(q, dq, world.gravity)[1] == pytest.approx(np.array(h)[:n], abs=1e-3)
        assert load.terms(q, np.zeros(len(q)), DOWN)[0] == pytest.approx(np.array(M)[:n, :n], abs=1e-3)
    world.close()


@pytest.mark.parametrize("name", ROBOTS)
def test_what_a_controller_overlooks_is_the_difference_of_what_holds_either_arm(name):
    robot = load_robot(name)
    n, rng = len(robot.joint_names), np.random.default_rng(1)
    inertia = np.tile(np.eye(3), (n, 1, 1)) * 0.01
    believed = ArmLoad.of(robot.chain, rng.uniform(1, 4, n), rng.normal(0, 0.1, (n, 3)), inertia)
    true = believed.scaled(rng.uniform(0.8, 1.2, n), rng.uniform(0.8, 1.2, n), 1.3)
    leaning, force = np.array([0.3, -0.2, -9.8]), np.array([1.0, -2.0, 3.0])
    for _ in range(5):
        q = rng.uniform(-1.5, 1.5, n)
        torques = believed.unforeseen(true, robot.chain.table[-1], q, DOWN, leaning, force)
        weights = believed.gravity(q, DOWN) - true.gravity(q, leaning)
        assert torques == pytest.approx(weights + robot.chain.jacobian(q)[:3].T @ force, abs=1e-9)


def test_sliding_joints_bear_weights_along_their_axis():
    urdf = (
        '<robot name="r"><link name="a"/><link name="b"/><joint name="j" type="prismatic"><parent link="a"/>'
        '<child link="b"/><axis xyz="0 0 1"/></joint></robot>'
    )
    chain = KinematicChain.from_urdf(read_urdf(urdf), "b")
    load = ArmLoad.of(chain, np.array([2.0]), np.zeros((1, 3)), np.zeros((1, 3, 3)))
    nothing = load.scaled(np.array([0.0]), np.ones(1), 0.0)
    force = np.array([0.0, 0.0, 1.0])
    torques = nothing.unforeseen(load, chain.table[-1], np.array([0.3]), DOWN, DOWN, force)
    assert torques == pytest.approx([-2.0 * 9.81 + 1.0])


@pytest.mark.parametrize("actuator", ["torque", "position"])
def test_an_earlier_episodes_masses_do_not_weigh_on_this_one(actuator):
    """The trap of PyBullet's inverse dynamics: an arm first asked when it was heavy stays heavy."""

    def sag(env, heavy_before):
        if heavy_before:
            env.reset(seed=0, options={"parameters": {"arm_mass_scale": 1.5, "payload_mass": 2.0}})
            env.step(np.zeros(3))
        env.reset(seed=0, options={"parameters": {"start_spread": 0.0}})
        begin = env.world.q
        for _ in range(20):
            env.step(np.zeros(3))
        return np.abs(env.world.q - begin).max()

    envs = [ArmEnv("reach", space="nominal", actuator=actuator) for _ in range(2)]
    first, second = (sag(env, heavy) for env, heavy in zip(envs, (False, True)))
    assert first == second
    assert first < 2e-3
    for env in envs:
        env.close()


@pytest.mark.parametrize(("residual", "allowed"), [(0.0, 2e-5), (None, 1e-3)])
def test_what_a_controller_does_not_know_bends_the_arm(residual, allowed):
    """A payload m at the hand sags the joint by J' m g over its stiffness, whichever way gravity leans.

    Exactly so where the solver iterates to the end. At the simulator's residual of 1e-3 it stops within 0.03 rad/s of
    the speed that a motor asks for, which a position gain of 25/s makes a good milliradian.
    """
    env = ArmEnv("reach", space="nominal")
    if residual is not None:
        pybullet.setPhysicsEngineParameter(solverResidualThreshold=residual, physicsClientId=env.world.client)
    base = {"start_spread": 0.0}

    def rest(**parameters):
        env.reset(seed=0, options={"parameters": {**base, **parameters}})
        for _ in range(40):
            env.step(np.zeros(3))
        return env.world.q

    nominal = rest()
    sagged = rest(payload_mass=0.5) - nominal
    J = env.robot.chain.jacobian(nominal)[:3]
    expected = J.T @ (0.5 * DOWN) / (7.0 * np.array(env.robot.limits.tau))
    assert sagged == pytest.approx(expected, abs=allowed)
    assert np.abs(expected).max() > 3e-3
    env.close()


POLE = {"home": [0.1], "ddq": [10.0], "jerk": [100.0]}


def pole(path):
    """Write a URDF of one hinge, whose link's centre of mass is on it, and a tip that is only a frame."""

    def link(name, mass):
        tensor = '<inertia ixx="1e-3" iyy="1e-3" izz="1e-3" ixy="0" ixz="0" iyz="0"/>'
        ball = '<collision><geometry><sphere radius="0.05"/></geometry></collision>'  # PyBullet's inertia is of this
        return f'<link name="{name}"><inertial><mass value="{mass}"/>{tensor}</inertial>{ball}</link>'

    path.write_text(f"""<robot name="pole">{link("base", 1.0)}{link("arm", 0.7)}<link name="tip"/>
      <joint name="hinge" type="continuous"><parent link="base"/><child link="arm"/><axis xyz="0 1 0"/>
        <limit lower="-90" upper="90" effort="10" velocity="20"/></joint>
      <joint name="tool" type="fixed"><parent link="arm"/><child link="tip"/><origin xyz="0 0 0.5"/></joint></robot>""")
    return RobotModel.from_urdf(path, "tip", **POLE)


def test_frames_without_mass_weigh_nothing(tmp_path):
    """PyBullet makes a link without <inertial> 1 kg, and merges it into what it is fixed to."""
    world = World(pole(tmp_path / "pole.urdf"))
    assert world.dynamics.nominal_load.mass == pytest.approx([0.7])
    world.close()


def spun(world, ticks, before_tick=lambda: None, speed=2.0):
    """Speeds [rad/s] of the pole's hinge after each tick, from `speed` on."""
    joint = world.joints[0]
    pybullet.resetJointState(world.arm, joint, 0.0, speed, physicsClientId=world.client)
    speeds = []
    for _ in range(ticks):
        before_tick()
        world.step()
        world.read()
        speeds.append(world.dq[0])
    return np.array(speeds)


def test_joint_damping_takes_speed_in_proportion_to_it(tmp_path):
    """I dω/dt = -b ω: by Euler's rule, a tick leaves 1 - b dt / I of the speed."""
    world = World(pole(tmp_path / "pole.urdf"))
    world.apply({"joint_damping": 0.02}, [])
    world.drive_velocity([0.0], [0.0])  # the motor off
    left = 1 - 0.02 / 240.0 / world.dynamics.nominal_load.bodies[0, 5]
    assert spun(world, 20) == pytest.approx(2.0 * left ** np.arange(1, 21), rel=0.01)
    world.close()


@pytest.mark.parametrize("damping", [0.02, 1.0, 50.0])
def test_the_torque_controllers_damping_is_stable_however_light_the_link(tmp_path, damping):
    """By the implicit rule, a tick leaves 1 / (1 + b dt / I) of the speed; PyBullet's own would throw it about."""
    robot = pole(tmp_path / "pole.urdf")
    world = World(robot)
    p = {**parameter_space(load_task("reach"), robot).nominal(), "joint_damping": damping, "position_gain": 1e-6}
    world.apply(p, [])
    actuator = make_actuator("torque", robot, world, 1)
    actuator.reset(np.zeros(1), 0.0, p)
    speeds = spun(world, 20, lambda: actuator._drive([0.0], 0.0, 1))
    left = 1 / (1 + damping / 240.0 / world.dynamics.nominal_load.bodies[0, 5])
    assert speeds == pytest.approx(2.0 * left ** np.arange(1, 21), rel=0.01, abs=2e-3)
    if damping == 1.0:
        world.apply(p, [])  # which gives PyBullet its damping back
        assert np.abs(spun(world, 20, lambda: world.drive_torque([0.0]))).max() > 10.0
    world.close()


@pytest.mark.parametrize("name", ["kuka_iiwa", "xarm6"])
def test_a_torque_controller_moves_the_light_wrists_of_damped_arms(name):
    env = ArmEnv("reach", name, "nominal", actuator="torque")
    for seed in range(3):
        env.reset(seed=seed)
        while True:
            *_, terminated, truncated, info = env.step(env.expert())
            if terminated or truncated:
                break
        assert info["is_success"]
    env.close()
