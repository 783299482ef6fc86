"""Recordings: what is read, what is refused, what is left out, and how the clocks meet."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from adaptation.identification.joint_log import JointLog, LogError
from adaptation.identification.log_files import find_logs, read_log
from adaptation.identification.log_inspection import inspect
from adaptation.identification.uniform_log import resample_log
from robots.registry import load_robot

LAG = 0.06


@pytest.fixture(scope="module")
def robot():
    return load_robot("xarm6")


@pytest.fixture
def log(robot):
    """Six joints that follow three sines each, 0.06 s late, at 100 Hz, jittered."""
    rng = np.random.default_rng(0)
    t = np.arange(0, 20, 0.01) + rng.uniform(0, 0.001, 2000)
    home = np.array(robot.home)

    def wave(at):
        phases = np.arange(6)[None] + np.array([0.31, 0.83, 1.7])[:, None]
        return home + 0.1 * sum(np.sin((1 + k) * at[:, None] + phases[k]) for k in range(3))

    return JointLog("waves", robot.joint_names, t, wave(t), t, wave(t - LAG))


def findings(log, robot, level, **kwargs):
    return [f.text for f in inspect(log, robot, **kwargs).findings if f.level == level]


def test_a_good_recording_passes_and_its_lag_is_found(log, robot):
    inspection = inspect(log, robot)
    assert inspection.findings == ()
    assert inspection.lag == pytest.approx([LAG] * 6, abs=0.011)
    assert inspection.rate_hz == pytest.approx(100, rel=0.02)


def test_degrees_are_named_and_read_when_asked(log, robot):
    degrees = replace(log, command=np.degrees(log.command), q=np.degrees(log.q))
    (text,) = findings(degrees, robot, "refused")
    assert "degrees" in text
    assert "--units degrees" in text
    with pytest.raises(LogError, match="degrees"):
        resample_log(degrees, inspect(degrees, robot))
    assert np.allclose(degrees.in_si(["degrees"]).q, log.q)


def test_clocks_that_share_nothing_are_refused(log, robot):
    apart = replace(log, t=log.t + 1e9)
    (text,) = findings(apart, robot, "refused")
    assert "share 0.00 s" in text
    assert "--common-start" in text
    assert not inspect(apart.with_common_start(), robot).refused


def test_a_motion_ahead_of_its_command_is_refused(log, robot):
    (text,) = findings(replace(log, t=log.t - 0.2), robot, "refused")
    assert "ahead of its command" in text


def test_a_joint_that_turns_the_other_way_is_refused(log, robot):
    q = log.q.copy()
    q[:, 2] = 2 * robot.home[2] - q[:, 2]
    assert any("joint3" in t and "sign" in t for t in findings(replace(log, q=q), robot, "refused"))


def test_a_wrong_zero_is_refused(log, robot):
    q = log.q.copy()
    q[:, 1] += 0.4
    assert any("joint2" in t and "zero" in t for t in findings(replace(log, q=q), robot, "refused"))


def test_constant_saturated_and_dead_joints_are_left_out(log, robot):
    command, q = log.command.copy(), log.q.copy()
    command[:, 0], q[:, 0] = 0.0, 0.0
    command[:1000, 3] = robot.limits.q_high[3]
    q[:, 5] = 0.0
    inspection = inspect(replace(log, command=command, q=q), robot)
    assert inspection.left_out == ("joint1", "joint4", "joint6")
    used = resample_log(replace(log, command=command, q=q), inspection).joint_used
    assert used.tolist() == [False, True, True, False, True, False]


def test_a_saturated_motor_is_left_out(log, robot):
    tau = np.zeros_like(log.q)
    tau[:, 4] = robot.limits.tau[4]
    assert inspect(replace(log, tau=tau), robot).left_out == ("joint5",)


def test_a_slow_recording_tells_no_short_delay(log, robot):
    slow = replace(log, t=log.t[::20], q=log.q[::20])
    assert not inspect(log, robot).delay_unknown
    assert inspect(slow, robot).delay_unknown
    (text,) = findings(slow, robot, "left out")
    assert "0.2" in text
    assert "prior" in text


def test_repeated_states_are_counted(log, robot):
    q = np.repeat(log.q[::4], 4, axis=0)
    (text,) = findings(replace(log, q=q), robot, "note")
    assert "75 %" in text
    assert "25 Hz" in text


def test_a_gap_splits_the_recording(log, robot):
    keep = (log.t < 8) | (log.t > 9)
    gapped = replace(log, t=log.t[keep], q=log.q[keep])
    inspection = inspect(gapped, robot)
    assert any("1 gaps" in f.text for f in inspection.findings)
    uniform = resample_log(gapped, inspection)
    (a, b), (c, d) = uniform.segments
    assert (c - b) * uniform.period == pytest.approx(1.0, abs=0.03)
    assert (a, d) == (0, len(uniform.q))


def test_stamps_that_run_backwards_are_refused(log, robot):
    t = log.t.copy()
    t[50:] -= 1.0
    (text,) = findings(replace(log, t=t, t_command=t), robot, "refused")
    assert "backwards at row 50" in text


def test_values_that_are_not_finite_are_refused(log, robot):
    q = log.q.copy()
    q[3, 1] = np.nan
    (text,) = findings(replace(log, q=q), robot, "refused")
    assert "1 of 2000 rows" in text
    assert "row 3 (joint 'joint2')" in text


def test_all_that_is_wrong_is_said_at_once(log, robot):
    q, t, command = np.degrees(log.q), log.t.copy(), np.degrees(log.command)
    q[5, 0] = np.nan
    q[:, 4] = np.nan
    t[1000:] += 30.0
    t[1500:] -= 1.0
    command[:, 2] = q[:, 2]
    wrong = replace(log, t=t, q=q, command=command, t_command=t)
    texts = findings(wrong, robot, "refused")
    for said in ("joint5", "not finite", "backwards at row 1500", "degrees", "jumps by +30", "joint3 repeats"):
        assert sum(said in text for text in texts) == 1, (said, texts)
    with pytest.raises(LogError, match=r"backwards.*degrees.*jumps"):
        resample_log(wrong, inspect(wrong, robot))


@pytest.mark.parametrize("shift", [0, 1])
def test_a_command_that_echoes_the_position_is_refused(log, robot, shift):
    q = log.q.copy()
    q[shift:] = log.command[: len(q) - shift]
    (text,) = findings(replace(log, q=q), robot, "refused")
    assert "repeats the measured position" in text
    noisy = q + np.random.default_rng(0).normal(0, 1e-4, q.shape)  # a quick servo is no echo
    assert not inspect(replace(log, q=noisy), robot).refused


def test_a_joint_at_its_end_stop_is_refused(log, robot):
    stop = robot.home[1] + 0.1
    for limit in (None, stop):
        if limit is not None:
            high = list(robot.limits.q_high)
            high[1] = limit
            robot = replace(robot, limits=replace(robot.limits, q_high=tuple(high)))
        q = log.q.copy()
        q[:, 1] = np.minimum(q[:, 1], stop)
        assert any("joint2" in t and "end stop" in t for t in findings(replace(log, q=q), robot, "refused"))
    pause = log.command.copy()
    pause[800:1200] = pause[800]  # a dwell is no stop
    q = np.concatenate([pause[:6], pause[:-6]])
    assert not inspect(replace(log, command=pause, q=q), robot).refused


def test_units_of_stamps_are_named(log, robot):
    slow = replace(log, t=1e3 * log.t, t_command=1e3 * log.t)
    texts = findings(slow, robot, "refused")
    assert any("--units ms" in text for text in texts)
    assert inspect(slow.in_si(["ms"]), robot).refused == ()


def test_torques_are_checked_for_a_fit_to_torques(log, robot):
    def refused(**change):
        return findings(replace(log, **change), robot, "refused", source="torque")

    dq = np.gradient(log.q, log.t, axis=0)
    tau = 5 * np.sin(np.arange(6) + log.t[:, None])
    assert refused(dq=dq, tau=tau) == []
    assert refused(tau=tau, t_command=np.zeros(0), command=np.zeros((0, 6))) == []
    (text,) = refused(dq=np.degrees(dq), tau=tau)
    assert "degrees/s" in text
    (text,) = refused(tau=1000 * tau)
    assert "N·mm" in text
    (text,) = refused(tau=np.abs(tau))
    assert "sign" in text
    (text,) = refused()
    assert "no torques" in text
    (text,) = refused(current=tau)
    assert "--torque-constants" in text
    texts = refused(current=1000 * tau, tau=2000 * tau)
    assert any("mA" in text for text in texts)
    assert replace(log, current=tau).with_torques([2.0]).tau == pytest.approx(2 * tau)
    (text,) = findings(replace(log, t_command=np.zeros(0), command=np.zeros((0, 6)), tau=tau), robot, "refused")
    assert "no commands" in text
    assert "--from torque" in text


def test_a_held_command_counts_for_its_share_of_a_period(robot):
    t = np.arange(0, 1.0, 0.1)
    t_command = np.arange(0, 1.0, 0.05) + 0.025
    command = np.arange(20.0)[:, None] * np.ones(6) * 0.1
    log = JointLog("held", robot.joint_names, t_command, command, t, np.zeros((10, 6)))
    uniform = resample_log(log, replace(inspect(log, robot), findings=()))
    # from 0.025 s on, a period of 0.1 s meets two commands of 0.05 s each
    assert uniform.command[0] == pytest.approx(0.05, abs=1e-9)
    assert np.diff(uniform.command[:, 0]) == pytest.approx(0.2, abs=1e-9)


def test_npz_and_csv_hold_the_same(log, robot, tmp_path):
    np.savez(tmp_path / "a.npz", t=log.t, q=log.q, q_cmd=log.command, joint_names=np.array(robot.joint_names))
    names = robot.joint_names[::-1]
    head = ["t", *(f"q_{n}" for n in names), *(f"q_cmd_{n}" for n in names)]
    table = np.column_stack([log.t, log.q[:, ::-1], log.command[:, ::-1]])
    np.savetxt(tmp_path / "b.csv", table, delimiter=",", header=",".join(head), comments="", fmt="%.12g")
    assert [p.name for p in find_logs(tmp_path)] == ["a.npz", "b.csv"]
    for path in find_logs(tmp_path):
        read = read_log(path, robot.joint_names).in_order(robot)
        assert read.joint_names == robot.joint_names
        assert np.allclose(read.q, log.q, atol=1e-9)
        assert np.allclose(read.command, log.command, atol=1e-9)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_holds_the_same(log, robot, tmp_path, storage):
    path = write_bag(tmp_path / "bag", log, storage)
    read = read_log(path, robot.joint_names)
    assert np.allclose(read.q, log.q)
    assert np.allclose(read.command, log.command)
    assert np.allclose(read.t - read.t[0], log.t - log.t[0], atol=1e-6)
    if storage == "mcap":
        (file,) = path.glob("*.mcap")
        assert np.allclose(read_log(file, robot.joint_names).q, log.q)
    with pytest.raises(LogError, match="no commands on '/other'"):
        read_log(path, robot.joint_names, "/other")


def test_a_missing_joint_is_named(log, robot):
    few = replace(log, joint_names=robot.joint_names[:5], command=log.command[:, :5], q=log.q[:, :5])
    (text,) = findings(few.in_order(robot), robot, "refused")
    assert "joint 'joint6' of robot 'xarm6' is missing: no positions and no commands" in text


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"", "unknown kind '.txt'"),
        ("a.npz", b"not a zip", "not a plain npz"),
        ("a.csv", b"time,angle1\n0,1\n", "expected t, then q_JOINT"),
        ("a.csv", b"t,q_a,q_cmd_a\n0,1\n", "another number of cells"),
    ],
)
def test_files_that_are_not_understood_are_refused(tmp_path, robot, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LogError, match=re.escape(said)):
        read_log(tmp_path / name, robot.joint_names)


UR = [
    f"{name}_{i}" for name in ("target_q", "actual_q", "actual_qd", "actual_current", "target_moment") for i in range(6)
]


def test_a_log_of_rtde_is_read_by_its_names(tmp_path, robot):
    """As `record.py` of Universal Robots writes it: separated by blanks."""
    table = np.random.default_rng(0).normal(size=(20, 31))
    np.savetxt(tmp_path / "a.csv", table, header=" ".join(["timestamp", *UR]), comments="")
    log = read_log(tmp_path / "a.csv", robot.joint_names)
    assert log.joint_names == robot.joint_names
    assert np.allclose(log.t, table[:, 0])
    assert np.allclose(log.command, table[:, 1:7])
    assert np.allclose(log.q, table[:, 7:13])
    assert np.allclose(log.dq, table[:, 13:19])
    assert np.allclose(log.current, table[:, 19:25])
    assert log.tau is None
    assert "current=actual_current_0 … actual_current_5" in log.columns
    named = read_log(tmp_path / "a.csv", robot.joint_names, columns={"tau": "target_moment_*"})
    assert np.allclose(named.tau, table[:, 25:31])
    with pytest.raises(LogError, match=r"no column as in --columns q=joint_\*"):
        read_log(tmp_path / "a.csv", robot.joint_names, columns={"q": "joint_*"})


def test_cells_that_are_no_numbers_are_counted(tmp_path, robot):
    rows = "\n".join(f"{0.01 * i};{'' if i == 4 else i};{i}" for i in range(30))
    (tmp_path / "a.csv").write_text(f"t;q_joint1;q_cmd_joint1\n{rows}\n")
    texts = findings(read_log(tmp_path / "a.csv", ()).in_order(robot), robot, "refused")
    assert any("1 of 30 rows" in text and "row 4" in text for text in texts)


def test_a_quantity_of_an_npz_or_a_bag_is_named(log, robot, tmp_path):
    np.savez(tmp_path / "a.npz", t=log.t, q=log.q, amperes=log.q)
    assert np.allclose(read_log(tmp_path / "a.npz", robot.joint_names, columns={"current": "amperes"}).current, log.q)
    path = write_bag(tmp_path / "bag", log, effort=True)
    assert np.allclose(read_log(path, robot.joint_names).tau, log.q)
    named = read_log(path, robot.joint_names, columns={"current": "effort"})
    assert named.tau is None
    assert np.allclose(named.current, log.q)
    for each in (tmp_path / "a.npz", path):
        with pytest.raises(LogError, match="nothing as in --columns tau=moment"):
            read_log(each, robot.joint_names, columns={"tau": "moment"})


def test_an_npz_without_names_must_fit(log, robot, tmp_path):
    np.savez(tmp_path / "a.npz", t=log.t, q=log.q[:, :4], q_cmd=log.command[:, :4])
    with pytest.raises(LogError, match="4 columns, 6 joints"):
        read_log(tmp_path / "a.npz", robot.joint_names)


def write_bag(path, log, storage="mcap", effort=False):
    """Record `log` as a rosbag2 of joint states and trajectories; positions are efforts too, on request."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    types = store.types
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](0, 0), "")
    empty = np.zeros(0)
    plugin = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}[storage]
    state, trajectory = types["sensor_msgs/msg/JointState"], types["trajectory_msgs/msg/JointTrajectory"]
    point, duration = types["trajectory_msgs/msg/JointTrajectoryPoint"], types["builtin_interfaces/msg/Duration"](0, 0)
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        states = writer.add_connection("/joint_states", state.__msgtype__, typestore=store)
        topic = "/joint_trajectory_controller/joint_trajectory"
        commands = writer.add_connection(topic, trajectory.__msgtype__, typestore=store)
        for i, t in enumerate(log.t):
            at = int((1000 + t) * 1e9)
            message = state(header, list(log.joint_names), log.q[i], empty, log.q[i] if effort else empty)
            writer.write(states, at, store.serialize_cdr(message, state.__msgtype__))
            target = point(log.command[i], empty, empty, empty, duration)
            message = trajectory(header, list(log.joint_names), [target])
            writer.write(commands, at, store.serialize_cdr(message, trajectory.__msgtype__))
    return path
