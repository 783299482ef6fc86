"""Motions that excite are safe and better than most; delays are read from bags."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adaptation.identification.delays import EDGES, Delay, read_delays, timing_space
from adaptation.identification.excitation import TABLE, ExcitationError, ExciteConfig, find_excitation
from adaptation.identification.joint_log import LogError
from policies.runtime.collision import CollisionModel
from robots.registry import load_robot
from robots.shapes.hulls import arm_hulls
from sim.catalogue import parameter_space
from sim.randomization.parameters import ParameterSpace
from sim.tasks import load_task
from sim2real.command_line import main

ROBOT = load_robot("xarm6")
CONFIG = ExciteConfig(duration=25.0, rate_hz=50.0, harmonics=5, tries=5)


@pytest.fixture(scope="module")
def motion():
    return find_excitation(ROBOT, CONFIG)


def test_a_motion_keeps_every_limit(motion):
    q, dt, limits = motion.q, motion.t[1] - motion.t[0], ROBOT.limits
    dq = np.gradient(q, dt, axis=0)
    ddq = np.gradient(dq, dt, axis=0)
    assert (q > limits.q_low).all()
    assert (q < limits.q_high).all()
    assert (np.abs(dq) <= CONFIG.share * np.array(limits.dq) * 1.001).all()
    assert (np.abs(ddq) <= CONFIG.share * np.array(limits.ddq) * 1.001).all()
    assert np.ptp(q, axis=0).min() > 0.2


def test_a_motion_begins_and_ends_at_home_at_rest(motion):
    for end in (motion.q[0], motion.q[-1]):
        assert end == pytest.approx(ROBOT.home, abs=1e-9)
    dq = np.gradient(motion.q, motion.t, axis=0)
    assert np.abs(dq[[0, -1]]).max() < 1e-3


def test_a_motion_hits_nothing(motion):
    watcher = CollisionModel(ROBOT, arm_hulls(ROBOT), (TABLE,))
    watcher.start(motion.q[0])
    assert watcher.obstacle(motion.q) is None


def test_the_best_of_several_is_better_conditioned(motion):
    assert motion.condition < motion.condition_median
    again = find_excitation(ROBOT, CONFIG)
    assert np.array_equal(again.q, motion.q)


def test_an_arm_at_its_limit_is_refused():
    stuck = replace(ROBOT, home=(*ROBOT.home[:5], ROBOT.limits.q_high[5]))
    with pytest.raises(ExcitationError, match="'joint6' stands at its limit"):
        find_excitation(stuck, CONFIG)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"duration": 5.0}, "duration"),
        ({"share": 0.0}, "share"),
        ({"rate_hz": 3.0}, "rate_hz"),
        ({"tries": 0}, "tries"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(wrong, said):
    with pytest.raises(ExcitationError, match=said):
        find_excitation(ROBOT, replace(CONFIG, **wrong))


def test_the_command_writes_a_motion(tmp_path, capsys):
    out = tmp_path / "motion.npz"
    assert main(["excite", "--robot", "xarm6", "--out", str(out), "--tries", "2", "--duration", "25"]) == 0
    assert "condition" in capsys.readouterr().out
    with np.load(out) as motion:
        assert motion["q"].shape == (len(motion["t"]), 6)
        assert tuple(motion["joint_names"]) == ROBOT.joint_names


def write_bag(path, ages, stamp_offset=0.0, drop=()):
    """Joint states at 100 Hz that reach the recorder `ages` [s] after their stamp."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    types = store.types
    state, time = types["sensor_msgs/msg/JointState"], types["builtin_interfaces/msg/Time"]
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topic = writer.add_connection("/joint_states", state.__msgtype__, typestore=store)
        for i, age in enumerate(ages):
            if i in drop:
                continue
            at = 1000.0 + 0.01 * i
            stamp = at - age + stamp_offset
            header = types["std_msgs/msg/Header"](time(int(stamp), int(1e9 * (stamp % 1))), "")
            message = state(header, ["a"], np.zeros(1), np.zeros(0), np.zeros(0))
            writer.write(topic, int(at * 1e9), store.serialize_cdr(message, state.__msgtype__))
    return path


def test_ages_and_losses_are_read_from_a_bag(tmp_path):
    ages = np.random.default_rng(0).uniform(0.004, 0.010, 400)
    (delay,) = read_delays(write_bag(tmp_path / "bag", ages, drop=range(50, 60)))
    assert delay.p50 == pytest.approx(0.007, abs=5e-4)
    assert (delay.p05, delay.p95) == pytest.approx((0.0043, 0.0097), abs=5e-4)
    assert delay.period == pytest.approx(0.01, abs=1e-4)
    assert delay.lost == pytest.approx(10 / 400, abs=1e-3)
    assert sum(delay.histogram) == delay.count == 390
    assert len(delay.histogram) == len(EDGES) - 1


def test_measured_delays_become_the_timing_group(tmp_path, capsys):
    bag = write_bag(tmp_path / "bag", np.full(100, 0.008))
    out = tmp_path / "space.json"
    assert main(["delays", "--bag", str(bag), "--out", str(out)]) == 0
    assert "100 messages" in capsys.readouterr().out
    space = ParameterSpace.from_json(out)
    assert space["joint_delay"].range == pytest.approx((0.008, 0.008), abs=1e-4)
    full = parameter_space(load_task("reach"), load_robot("franka_panda"))
    changed = [p.name for p in space.params if p != full[p.name]]
    assert changed == ["joint_delay", "joint_jitter", "joint_drop"]


def test_the_age_at_the_policy_counts_before_the_recorders():
    full = parameter_space(load_task("reach"), load_robot("franka_panda"))
    times = np.arange(100) * 0.01
    delays = (
        Delay.of("joints on /joint_states", np.full(100, 0.002), times),
        Delay.of("joints at the policy", np.full(100, 0.015), times),
    )
    assert timing_space(delays, full)["joint_delay"].range == pytest.approx((0.015, 0.015))


def test_clocks_that_differ_are_refused(tmp_path):
    with pytest.raises(LogError, match="different clocks"):
        read_delays(write_bag(tmp_path / "bag", np.full(100, 0.008), stamp_offset=-40.0))
