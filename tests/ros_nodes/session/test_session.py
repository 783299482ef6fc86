"""Sessions with the project's own nodes: virtual arm, gate and policies as processes, over real DDS."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.report.session_report import read_session
from evaluation.session.protocol import PlacementArea, Protocol
from evaluation.session.task_protocol import task_protocol
from policies.bundle import PolicyBundle
from robots.camera import as_matrix
from robots.specs import SpecError
from ros_nodes import topics
from ros_nodes.session import operator_interface
from ros_nodes.session.child_processes import ChildDied, Children
from ros_nodes.session.operator_interface import PAUSES
from ros_nodes.session.ros_environment import free_domain
from ros_nodes.session.session_node import SessionError
from ros_nodes.session.trial_runner import RecordingOptions
from ros_nodes.session.virtual_session import Processes, run_session
from tests.support.tiny_bundle import CAMERA, tiny_bundle

pytestmark = pytest.mark.ros
ROOT = Path(__file__).resolve().parents[3]
PLACE = (0.5, 0.1)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> dict[str, Path]:
    """One policy that knows where the cube stands, and one that is wrong about it."""
    folder = tmp_path_factory.mktemp("bundles")
    return {
        "right": tiny_bundle((*PLACE, 0.12)).save(folder / "right"),
        "wrong": tiny_bundle((0.5, -0.1, 0.12)).save(folder / "wrong"),
    }


def planned(bundles: dict[str, Path], trials: int) -> Protocol:
    return task_protocol({name: PolicyBundle.load(path) for name, path in bundles.items()}, trials, 1, "virtual")


def protocol(bundles: dict[str, Path], trials: int) -> Protocol:
    x, y = PLACE
    plan = planned(bundles, trials)
    return replace(plan, workspace=PlacementArea(x - 0.002, x + 0.002, y - 0.002, y + 0.002), timeout=2.5)


def processes_of(folder: Path) -> list[str]:
    """Processes whose ROS log folder is inside `folder`."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"ROS_LOG_DIR={folder}".encode() in environ.read_bytes():
                found.append(environ.parent.name)
        except OSError:
            continue
    return found


def test_a_session_tells_right_from_wrong_and_goes_on_where_it_stopped(bundles, tmp_path) -> None:
    plan = protocol(bundles, 1)
    result = run_session(plan, bundles, tmp_path, recording=RecordingOptions(images=True, image_stride=1, videos=1))
    outcome = {(t.policy, t.index): t for t in result.trials}
    assert len(outcome) == 2
    right, wrong = outcome["right", 0], outcome["wrong", 0]
    assert right.success, right
    assert right.final_distance < 0.03
    assert 0.5 <= right.time_to_success <= 2.5
    assert right.latency.count > 10
    assert right.initial == wrong.initial
    assert right.seed == wrong.seed
    assert not wrong.success, wrong
    assert not wrong.note
    assert wrong.duration == pytest.approx(2.5, abs=0.05), wrong
    assert wrong.final_distance == pytest.approx(0.2, abs=0.05)
    assert result.renderer.startswith(("mujoco", "sim2real"))
    with np.load(result.images) as images:
        n = len(images["image_front"])
        assert images["image_front"].shape == (n, 84, 84, 3)
        assert images["image_front"].dtype == np.uint8
        assert images["q"].shape == (n, 7)
        assert set(images["trial"]) == {1, 2}
    assert n > 50
    with np.load(result.videos["right_0"]) as video:
        assert video["frames"].shape[1:] == (240, 320, 3)
        assert 20 < len(video["frames"]) < 120
        assert np.median(np.diff(video["stamps"])) == pytest.approx(1 / 30, abs=0.005)
    with np.load(result.latencies) as latency:
        assert latency["latency"].shape[1] == topics.LATENCY_COLUMNS
    assert not processes_of(tmp_path)

    nobody = Processes(arm=lambda _: ("false",))
    again = run_session(plan, bundles, tmp_path, processes=nobody)
    assert again.trials == result.trials
    assert again.renderer == result.renderer


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_a_session(bundles, tmp_path, number: signal.Signals) -> None:
    script = (
        "from pathlib import Path\n"
        "from evaluation.session.task_protocol import task_protocol\n"
        "from policies.bundle import PolicyBundle\n"
        "from ros_nodes.session.virtual_session import run_session\n"
        f"bundles = {{name: Path(path) for name, path in { ({k: str(v) for k, v in bundles.items()})!r}.items()}}\n"
        "loaded = {name: PolicyBundle.load(path) for name, path in bundles.items()}\n"
        f"run_session(task_protocol(loaded, 30, 1, 'virtual'), bundles, Path({str(tmp_path)!r}))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    session = subprocess.Popen([sys.executable, "-c", script], env=environment, cwd=ROOT)
    try:
        deadline = time.monotonic() + 30
        while len(processes_of(tmp_path)) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(2.0)
        assert len(processes_of(tmp_path)) >= 4  # two policy nodes may still be checking their graphs, in children
        session.send_signal(number)
        if number == signal.SIGTERM:
            session.send_signal(number)  # the impatient send it twice
        assert session.wait(timeout=30) != 0  # on a busy machine each layer of nodes takes its 3 s to end, or be killed
    finally:
        session.kill()  # one that goes on would disturb every later test
    deadline = time.monotonic() + 5
    while processes_of(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not processes_of(tmp_path)


def test_a_stall_voids_and_never_counts(bundles, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(operator_interface, "PAUSES", (0.2,) * len(PAUSES))

    def impatient(node: str, bundle: Path) -> tuple[str, ...]:
        # A frame is 28 to 62 ms old when it is used: sooner or later one is too old
        return (*Processes().policy(node, bundle), "-p", "frame_age:=0.045")

    one = {"right": bundles["right"]}
    with pytest.raises(SessionError, match=r"the policy stopped: camera 'front': no frame for .* the same command"):
        run_session(protocol(one, 1), one, tmp_path, processes=Processes(policy=impatient))
    trials = read_session(tmp_path).trials
    assert [(trial.void, trial.attempt) for trial in trials] == [(True, attempt) for attempt in range(len(PAUSES) + 1)]
    for trial in trials:
        assert "the policy stopped: camera 'front': no frame for" in trial.void_reason
    (done,) = (t for t in run_session(protocol(one, 1), one, tmp_path).trials if not t.void)
    assert done.success
    assert done.attempt == len(trials)


def test_a_policy_that_leaves_its_specification_fails_and_the_session_goes_on(bundles, tmp_path) -> None:
    """One gives NaN on the way, the other's observation leaves the range that it specifies."""
    poisoned = tiny_bundle((0.7, 0.1, 0.3), poison=0.58)
    narrow = tiny_bundle((*PLACE, 0.12))
    home = np.array(narrow.robot.home)
    low, high = (tuple((home + side).tolist()) for side in (-0.12, 0.12))
    arrays = tuple(
        replace(each, low=low, high=high) if each.name == "q" else each for each in narrow.observation.arrays
    )
    narrow = replace(narrow, observation=replace(narrow.observation, arrays=arrays))
    three = {
        "poisoned": poisoned.save(tmp_path / "poisoned"),
        "narrow": narrow.save(tmp_path / "narrow"),
        "right": bundles["right"],
    }
    trials = {t.policy: t for t in run_session(protocol(three, 1), three, tmp_path / "out").trials if not t.void}
    assert {name: t.success for name, t in trials.items()} == {"poisoned": False, "narrow": False, "right": True}
    assert "the policy stopped: policy: action" in trials["poisoned"].stopped
    assert "the policy stopped: observation" in trials["narrow"].stopped


def test_a_dead_process_ends_the_session_with_its_last_words(bundles, tmp_path) -> None:
    dying = (sys.executable, "-c", "import sys; sys.exit('gate: the key is missing')")
    with pytest.raises(ChildDied, match="'safety_gate' ended with status 1: gate: the key is missing"):
        run_session(protocol(bundles, 1), bundles, tmp_path, processes=Processes(gate=lambda _: dying))
    assert not processes_of(tmp_path)


def test_a_real_arm_is_refused_without_an_operator(bundles, tmp_path) -> None:
    with pytest.raises(SessionError, match="a real arm needs an operator, who clears its stops"):
        run_session(protocol(bundles, 1), bundles, tmp_path / "out", robot="ros")
    assert not (tmp_path / "out").exists()


def test_another_bundle_than_the_registered_one_is_refused(bundles, tmp_path) -> None:
    swapped = {"right": bundles["wrong"], "wrong": bundles["wrong"]}
    with pytest.raises(SessionError, match=r"policy 'right': .* register a new protocol"):
        run_session(protocol(bundles, 1), swapped, tmp_path)
    with pytest.raises(SessionError, match="the protocol's policies are"):
        run_session(protocol(bundles, 1), {"right": bundles["right"]}, tmp_path)


def test_a_calibration_of_another_camera_is_refused_before_anything_starts(bundles, tmp_path) -> None:
    file = tmp_path / "wrist.json"
    file.write_text(json.dumps(replace(CAMERA, name="wrist").to_dict()))
    with pytest.raises(SpecError, match=r"wrist.json' is of camera 'wrist', expected 'front'"):
        run_session(protocol(bundles, 1), bundles, tmp_path / "out", camera_calibration=file)
    assert not (tmp_path / "out").exists()


def test_policies_of_different_rigs_are_refused_before_anything_starts(tmp_path) -> None:
    moved = replace(CAMERA, name="front", K=as_matrix(np.array(CAMERA.K) * [[0.9], [0.9], [1.0]]))
    both = {
        "one": tiny_bundle().save(tmp_path / "one"),
        "other": replace(tiny_bundle(), name="other", cameras={"front": moved}).save(tmp_path / "other"),
    }
    with pytest.raises(SessionError, match="'one' and 'other' were trained with different camera rigs"):
        run_session(planned(both, 1), both, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_domains_are_not_shared() -> None:
    with free_domain() as a, free_domain() as b:
        assert a != b


def test_children_that_ignore_signals_are_killed(tmp_path) -> None:
    stubborn = "import signal, time; signal.signal(2, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    with Children(tmp_path, os.environ) as children:
        child = children.start("stubborn", (sys.executable, "-c", stubborn))
        deadline = time.monotonic() + 5
        while "up" not in child.log.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        began = time.monotonic()
        children.stop(patience=0.3)
    assert child.process.returncode == -signal.SIGKILL
    assert time.monotonic() - began < 2.0
