"""The compiled arm: against pinocchio, and against closed forms of one servo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pinocchio
import pytest

from robots.dynamics import ArmDynamics, merged, tilted_gravity
from robots.model import RobotModel
from robots.registry import load_robot
from robots.specs import SpecError
from sim.physics.servo_model import ServoArm

PENDULUM = """<robot name="pendulum"><link name="base"/>
<joint name="swing" type="revolute"><parent link="base"/><child link="rod"/><axis xyz="0 1 0"/>
 <limit lower="-4" upper="4" velocity="20" effort="50"/></joint>
<link name="rod"><inertial><origin xyz="0 0 -0.4"/><mass value="1.5"/>
 <inertia ixx="0.02" ixy="0" ixz="0" iyy="0.02" iyz="0" izz="0.001"/></inertial></link>
<joint name="tip" type="fixed"><parent link="rod"/><child link="hand"/><origin xyz="0 0 -0.8"/></joint>
<link name="hand"/></robot>"""
INERTIA = 0.02 + 1.5 * 0.4**2


@pytest.fixture
def pendulum(tmp_path):
    (tmp_path / "pendulum.urdf").write_text(PENDULUM)
    return RobotModel.from_urdf(tmp_path / "pendulum.urdf", "hand", (0.0,), ddq=(10.0,), jerk=(100.0,))


def servo(robot, **values):
    """A servo arm whose terms are 0, or those given."""
    names = ("kp", "damping", "coulomb", "stribeck", "armature", "dead_band", "backlash", "offset")
    parameters = {f"servo_{t}_{j}": values.get(t, 0.0) for t in names for j in robot.joint_names}
    parameters |= {f"servo_torque_limit_{j}": values.get("torque_limit", 1e6) for j in robot.joint_names}
    shared = {key: value for key, value in values.items() if key in ("base_tilt_x", "arm_mass_scale", "payload_mass")}
    parameters |= {"servo_delay": values.get("delay", 0.0), "servo_lead": values.get("lead", 0.0), **shared}
    return ServoArm.from_parameters(ArmDynamics.from_robot(robot), parameters)


@pytest.mark.parametrize("name", ["franka_panda", "kuka_iiwa", "xarm6"])
def test_dynamics_are_pinocchios(name):
    robot = load_robot(name)
    arm = ArmDynamics.from_robot(robot)
    model = pinocchio.buildModelFromXML(robot.urdf_xml)
    fingers = [model.getJointId(joint) for joint in list(model.names)[1:] if joint not in robot.joint_names]
    model = pinocchio.buildReducedModel(model, fingers, pinocchio.neutral(model))
    data = model.createData()
    rng = np.random.default_rng(0)
    for _ in range(20):
        q, dq, ddq = rng.normal(size=(3, len(robot.joint_names)))
        assert arm.inverse(q, dq, ddq) == pytest.approx(pinocchio.rnea(model, data, q, dq, ddq), abs=1e-10)
        assert arm.terms(q, dq)[0] == pytest.approx(np.array(pinocchio.crba(model, data, q)), abs=1e-10)


def test_a_payload_and_a_tilt_act_as_they_should(pendulum):
    heavy = servo(pendulum, payload_mass=0.5, arm_mass_scale=2.0).dynamics
    M, bias = heavy.terms(np.array([0.3]), np.zeros(1))
    assert M[0, 0] == pytest.approx(2 * INERTIA + 0.5 * 0.8**2)
    assert bias[0] == pytest.approx(9.81 * np.sin(0.3) * (2 * 1.5 * 0.4 + 0.5 * 0.8))
    assert np.linalg.norm(tilted_gravity({"base_tilt_x": 0.1})) == pytest.approx(9.81)
    # leaning gravity is the same as turning the pendulum
    _, bias = heavy.terms(np.array([0.3]), np.zeros(1), tilted_gravity({"base_tilt_x": 0.1}))
    assert abs(bias[0]) == pytest.approx(9.81 * (2 * 1.5 * 0.4 + 0.5 * 0.8) * np.sin(0.4), rel=1e-9)


def test_a_pendulum_swings_at_its_period(pendulum):
    arm = servo(pendulum)
    dt = 1e-4
    q = arm.rollout(np.array([0.05]), np.zeros(1), np.zeros((40_000, 1)), 40_000, dt)[:, 0]
    crossings = np.flatnonzero((q[:-1] > 0) & (q[1:] <= 0)) * dt
    assert np.diff(crossings).mean() == pytest.approx(2 * np.pi * np.sqrt(INERTIA / (1.5 * 9.81 * 0.4)), rel=2e-3)


def test_a_servo_sags_by_gravity_over_its_gain(pendulum):
    arm = servo(pendulum, kp=60.0, damping=5.0, offset=0.01)
    q = arm.rollout(np.array([1.2]), np.zeros(1), np.full((400, 1), 1.2), 400, 0.02)[-1, 0]
    assert 60.0 * (1.21 - q) == pytest.approx(1.5 * 9.81 * 0.4 * np.sin(q), abs=1e-6)


def test_friction_holds_what_it_can_and_no_more(pendulum):
    load = 1.5 * 9.81 * 0.4 * np.sin(0.5)
    still = servo(pendulum, coulomb=1.02 * load).rollout(np.array([0.5]), np.zeros(1), np.zeros((500, 1)), 500, 0.02)
    assert np.ptp(still) == 0.0
    slides = servo(pendulum, coulomb=0.9 * load).rollout(np.array([0.5]), np.zeros(1), np.zeros((500, 1)), 500, 0.02)
    assert np.ptp(slides) > 0.05
    stuck = servo(pendulum, coulomb=0.9 * load, stribeck=0.2)
    assert np.ptp(stuck.rollout(np.array([0.5]), np.zeros(1), np.zeros((500, 1)), 500, 0.02)) == 0.0


def test_coulomb_friction_brakes_evenly():
    """A wheel without gravity, spun up, loses coulomb / inertia of its speed each second."""
    robot = load_robot("xarm6")
    arm = replace(servo(robot, coulomb=0.05, armature=1.0), gravity=np.zeros(3))
    dq = np.array([0.0, 0, 0, 0, 0, 0.5])
    q = arm.rollout(np.array(robot.home), dq, np.zeros((200, 6)), 200, 0.02)[:, 5]
    deceleration = np.diff(q, 2)[:100].mean() / 0.02**2
    M = arm.dynamics.terms(np.array(robot.home), dq)[0][5, 5]
    assert deceleration == pytest.approx(-0.05 / (1.0 + M), rel=0.02)


def test_a_delay_is_exact_between_samples(pendulum):
    command = np.cumsum(np.full((600, 1), 0.002), axis=0)

    def final(delay):
        """Where a slow servo is after 12 s of a ramp of 0.1 rad/s; its lag of 1 s irons out the steps."""
        slow = replace(servo(pendulum, kp=50.0, damping=50.0, delay=delay), gravity=np.zeros(3))
        return slow.rollout(np.zeros(1), np.zeros(1), command, 600, 0.02)[-1, 0]

    for delay in (0.02, 0.033, 0.0507):
        assert final(0.0) - final(delay) == pytest.approx(0.1 * delay, abs=2e-5)


def test_play_and_dead_band_leave_the_joint_where_it_is(pendulum):
    command = 0.02 * np.sin(np.arange(500) * 0.05)[:, None]
    for kind in ("backlash", "dead_band"):
        arm = replace(servo(pendulum, kp=2000.0, damping=200.0, coulomb=0.1, **{kind: 0.021}), gravity=np.zeros(3))
        assert np.ptp(arm.rollout(np.zeros(1), np.zeros(1), command, 500, 0.02)) == 0.0
        arm = replace(servo(pendulum, kp=2000.0, damping=20.0, coulomb=0.1, **{kind: 0.005}), gravity=np.zeros(3))
        swing = arm.rollout(np.zeros(1), np.zeros(1), command, 500, 0.02)[250:]
        assert np.ptp(swing) == pytest.approx(2 * (0.02 - 0.005), abs=5e-4)


def test_a_saturated_servo_pulls_with_its_limit(pendulum):
    arm = replace(servo(pendulum, kp=100.0, torque_limit=2.0), gravity=np.zeros(3))
    q = arm.rollout(np.zeros(1), np.zeros(1), np.full((51, 1), 3.0), 51, 0.002, longest_step=0.0002)[:, 0]
    assert q[-1] == pytest.approx(0.5 * 2.0 / INERTIA * 0.1**2, rel=5e-3)


def test_a_stiff_servo_is_stable_at_long_steps(pendulum):
    arm = servo(pendulum, kp=1e5, damping=10.0)
    q = arm.rollout(np.array([1.0]), np.zeros(1), np.zeros((500, 1)), 500, 0.02, longest_step=0.02)
    assert np.abs(q).max() <= 1.0
    assert abs(q[-1, 0]) < 1e-3


def test_merging_keeps_mass_moment_and_inertia():
    a = np.array([1.0, 0.1, 0.2, 0.3, 0.01, 0.02, 0.03, 0.0, 0.0, 0.0])
    b = np.array([2.0, -0.3, 0.0, 0.1, 0.02, 0.01, 0.02, 0.001, 0.0, 0.0])
    both = merged(a, b)
    assert both[0] == 3.0
    assert 3.0 * both[1:4] == pytest.approx(a[1:4] + 2 * b[1:4])

    def about_origin(x):
        I = np.array([[x[4], x[7], x[8]], [x[7], x[5], x[9]], [x[8], x[9], x[6]]])  # noqa: E741
        return I + x[0] * (x[1:4] @ x[1:4] * np.eye(3) - np.outer(x[1:4], x[1:4]))

    assert about_origin(both) == pytest.approx(about_origin(a) + about_origin(b))
    assert merged(both, np.zeros(10)) == pytest.approx(both)


def test_a_joint_without_mass_is_refused(pendulum):
    light = replace(pendulum, urdf_xml=PENDULUM.replace('value="1.5"', 'value="0"'))
    with pytest.raises(SpecError, match="'swing' has no mass"):
        ArmDynamics.from_robot(light)


def test_a_halved_step_leaves_a_quarter_of_the_error(pendulum):
    """A damped oscillator against its closed form: of second order, and within 0.3 mrad at the step that fits use."""
    kp, damping, start = 60.0, 1.5, 0.2
    arm = replace(servo(pendulum, kp=kp, damping=damping), gravity=np.zeros(3))
    decay, period = damping / (2 * INERTIA), 0.01
    w = np.sqrt(kp / INERTIA - decay**2)
    t = period * np.arange(200)
    exact = start * np.exp(-decay * t) * (np.cos(w * t) + decay / w * np.sin(w * t))

    def error(step):
        q = arm.rollout(np.array([start]), np.zeros(1), np.zeros((200, 1)), 200, period, longest_step=step)[:, 0]
        return np.sqrt(np.mean((q - exact) ** 2))

    assert error(0.005) < 3e-4
    assert error(0.0025) == pytest.approx(error(0.005) / 4, rel=0.15)


def test_the_targets_speed_is_late_as_the_target_is(pendulum):
    """With all damping on the target's speed a ramp is followed without lag, whatever the delay does within a step."""
    command = np.concatenate([np.zeros(50), np.cumsum(np.full(150, 0.004))])[:, None]
    arms = [
        replace(servo(pendulum, kp=500.0, damping=60.0, lead=1.0, delay=delay), gravity=np.zeros(3))
        for delay in (0.02, 0.0275, 0.03)
    ]
    a, b, c = (arm.rollout(np.zeros(1), np.zeros(1), command, 200, 0.01, longest_step=0.01)[:, 0] for arm in arms)
    assert b == pytest.approx(0.25 * a + 0.75 * c, abs=1e-9)
