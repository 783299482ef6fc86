"""Faults shown to nodes of an arm that rests, and to whole sessions: parameters, emergency stop, limits, restarts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from std_msgs.msg import Bool

from benchmarks.fault_injection.check import Check, Place, Seen
from benchmarks.fault_injection.moving_arm import DETECTION, LIMITS, STOPPING
from benchmarks.fault_injection.scene import HOME, PANDA, Driver
from robots.shapes.hulls import Hulls, arm_hulls
from ros_nodes import qos, topics
from tests.policies.runtime.test_native_libraries import NUMPY_1, gate
from tests.policies.runtime.test_safety import check_stream
from tests.ros_nodes import test_launch
from tests.ros_nodes.session import test_stops
from tests.ros_nodes.test_state_policy import ESTIMATED, Estimator
from tests.support.ros_bench import TICK, FakeArm, RosBench, finish
from tests.support.tiny_bundle import CAMERA, tiny_bundle

LIVE = (
    ("dq_scale", ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=0.05)),
    ("dq_scale", ParameterValue(type=ParameterType.PARAMETER_STRING, string_value="banana")),
    ("workspace_high", ParameterValue(type=ParameterType.PARAMETER_DOUBLE_ARRAY, double_array_value=[0.5, 0.1, 0.4])),
)
"""Values that nobody may set while the gate runs, and of which one is no number at all."""
COLD = 5.0
"""From the start of a gate without any compiled code to its being ready, at most [s]."""
WATCHED = 2.0
"""How long an arm that must not move is watched [s]."""


def far(folder: Path) -> Path:
    """Save a policy that travels for seconds."""
    return tiny_bundle((0.35, 0.45, 0.5), gain=0.5).save(folder / "bundle")


def stays(ros: RosBench, arm: FakeArm, since: float, words: str) -> Seen:
    """Watch an arm that nothing may move, not after a reset either."""
    time.sleep(WATCHED)
    reason = ros.gate_state["reason"]
    answer = ros.trigger(topics.GATE_RESET)
    time.sleep(WATCHED / 2)
    motions = sum(t > since for t, _ in arm.received)
    seen = f"{motions} motions; {reason}; a reset answers '{answer.message or answer.success}'"
    return Seen(motions == 0 and words in reason and words in ros.gate_state["reason"], seen, time.monotonic() - since)


def restart_while_pressed(place: Place) -> Seen:
    """The emergency stop is pressed while the gate is gone; a latched publisher said so."""
    bundle = far(place.folder)
    with RosBench(place.environment) as ros:
        arm = ros.arm(PANDA, CAMERA)
        button = ros.observer.create_publisher(Bool, topics.E_STOP, qos.LATCHED)
        button.publish(Bool(data=False))
        first = ros.gate(bundle)
        first.kill()
        first.wait()
        button.publish(Bool(data=True))
        since = time.monotonic()
        ros.start("safety_gate", bundle=bundle)
        ros.wait(lambda: "emergency stop" in ros.gate_state["reason"], "the pressed button", 40.0)
        ros.start("policy_node", bundle=bundle, autostart=True)
        return stays(ros, arm, since, "emergency stop")


def silent_from_the_start(place: Place) -> Seen:
    """An emergency stop is wired, and its driver was never started."""
    bundle = far(place.folder)
    with RosBench(place.environment) as ros:
        arm = ros.arm(PANDA, CAMERA)
        ros.start("safety_gate", bundle=bundle, e_stop_timeout=0.5)
        ros.wait(lambda: "emergency stop" in ros.gate_state["reason"], "the silence to be named", 40.0)
        since = time.monotonic()
        driver = Driver(ros, arm)
        try:
            return stays(ros, arm, since, "emergency stop")
        finally:
            driver.close()


def set_live(place: Place) -> Seen:
    """Set parameters of a running gate."""
    bundle = far(place.folder)
    with RosBench(place.environment) as ros:
        ros.arm(PANDA)
        ros.gate(bundle)
        client = ros.observer.create_client(SetParameters, "safety_gate/set_parameters")
        ros.wait(client.service_is_ready, "the service")
        began = time.monotonic()
        answers = []
        for name, value in LIVE:
            coming = client.call_async(SetParameters.Request(parameters=[ParameterMessage(name=name, value=value)]))
            ros.wait(coming.done, "the answer", 5.0)
            answers.append(coming.result().results[0])
        seen = ", ".join(f"{name}: {'taken' if a.successful else a.reason}" for (name, _), a in zip(LIVE, answers))
        return Seen(not any(a.successful for a in answers), seen, time.monotonic() - began)


def cold_start(place: Place) -> Seen:
    """Start the gate with an empty numba cache."""
    bundle = far(place.folder)
    with RosBench({**place.environment, "NUMBA_CACHE_DIR": str(place.folder / "numba")}) as ros:
        ros.arm(PANDA)
        began = time.monotonic()
        ros.gate(bundle)
        took = time.monotonic() - began
        return Seen(took < COLD, f"ready after {took:.1f} s", took)


def bold_manifest(place: Place) -> Seen:
    """A bundle whose manifest says that every joint may do 1e6 rad/s."""
    bundle = far(place.folder)
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["robot"]["limits"]["dq"] = [1e6] * len(HOME)
    path.write_text(json.dumps(manifest))
    with RosBench(place.environment) as ros:
        arm = ros.arm(PANDA, CAMERA)
        ros.gate(bundle)
        driver = Driver(ros, arm, ahead=0.4)
        try:
            began = time.monotonic()
            ros.wait(lambda: arm.q[0] - HOME[0] > 1.2, "the arm to have got up its speed", 10.0)
            took = time.monotonic() - began
        finally:
            driver.close()
    q = np.array([HOME, *(q for _, q in arm.received)])
    fastest = float(np.abs(np.diff(q, axis=0)).max() / TICK)
    try:
        check_stream(q, PANDA, LIMITS, TICK, 1e-3)
        words = ""
    except AssertionError as error:
        words = f"; {' '.join(str(error).split())[:200]}"
    return Seen(not words, f"{fastest:.2f} rad/s at most of {LIMITS.dq[0]:.2f}{words}", took)


def refused(make: Callable[[Path], dict[str, object]], words: str, place: Place) -> Seen:
    """Start a gate with parameters or a bundle that it must refuse in one line, with status 1."""
    parameters = make(place.folder)
    with RosBench(place.environment) as ros:
        began = time.monotonic()
        status, said = finish(ros.start("safety_gate", **parameters), 60.0)
        took = time.monotonic() - began
    good = status == 1 and words in said and said.count("\n") == 1
    return Seen(good, f"status {status}: {said.strip()[:200]}", took)


def with_hulls(change: Callable[[Hulls], Hulls], folder: Path) -> dict[str, object]:
    """A bundle, sound by its hashes, that has other hulls."""
    bundle = tiny_bundle()
    hulls = change(arm_hulls(bundle.robot))
    return {"bundle": replace(bundle, robot=replace(bundle.robot, hulls=hulls)).save(folder / "bundle")}


def nan_hull(hulls: Hulls) -> Hulls:
    return {**hulls, "panda_link4": np.full((8, 3), np.nan)}


def one_hull(hulls: Hulls) -> Hulls:
    return {"panda_link4": hulls["panda_link4"]}


def old_numpy(place: Place) -> Seen:
    """Another pinocchio, built for NumPy 1, comes first on the path, as ROS's may."""
    foreign = place.folder / "opt" / "pinocchio"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text(NUMPY_1)
    began = time.monotonic()
    done = gate(far(place.folder), foreign.parent)
    lines = done.stderr.splitlines()
    good = done.returncode == 1 and len(lines) == 1 and "was built for NumPy 1" in lines[0]
    return Seen(good, f"status {done.returncode}: {done.stderr[-200:].strip()}", time.monotonic() - began)


def lost_pose(place: Place) -> Seen:
    """The estimator of the goal's pose falls silent while a state policy drives."""
    bundle = tiny_bundle((0.35, 0.45, 0.5), gain=0.5, camera=None, estimated=ESTIMATED).save(place.folder / "bundle")
    with RosBench(place.environment) as ros:
        estimator = Estimator(ros)
        estimator.places["goal"] = np.array([0.35, 0.45, 0.5])
        arm = ros.arm(PANDA)
        ros.gate(bundle)
        ros.policy(bundle, goal="/detected_goal", object="/detected_object", wait=20.0)
        ros.wait(lambda: np.abs(arm.q - HOME).max() > 0.1, "the arm to move")
        estimator.seeing = False
        lost = time.monotonic()
        time.sleep(1.2)
        stopped = max(0.0, arm.received[-1][0] - lost)
        reason = ros.policy_state["reason"]
    good = stopped <= 0.25 + DETECTION + STOPPING and "pose 'goal'" in reason
    return Seen(good, f"rests after {stopped:.3f} s; {reason}", stopped, stopped)


def attended(scenario: Callable[[test_stops.Bench], None], place: Place) -> Seen:
    """A session with its operator's page: what the scenario asserts."""
    bundle = tiny_bundle((0.5, -0.2, 0.3)).save(place.folder / "only")
    began = time.monotonic()
    with RosBench(place.environment) as ros:
        scenario(test_stops.Bench(ros, bundle, place.folder))
    return Seen(True, "nothing moved before a person cleared the stop", time.monotonic() - began)


def two_arms(place: Place) -> Seen:
    """One of two arms in a domain is stopped; then the cell's emergency stop is pressed."""
    began = time.monotonic()
    test_launch.test_two_arms_in_one_domain_keep_to_themselves(place.environment, place.folder)
    return Seen(True, "each reached its goal; a stop of one, the emergency stop of both", time.monotonic() - began)


NOTHING_MOVES = "nothing moves, nor after a reset"
LATCHED = "the stop stays until a person clears it; nothing moves before"
ONE_LINE = "one line, status 1"
CHECKS = (
    Check("gate restarted while the emergency stop is pressed", "node", NOTHING_MOVES, restart_while_pressed),
    Check("emergency stop wired and never there", "node", NOTHING_MOVES, silent_from_the_start),
    Check("parameters set live", "node", "each refused", set_live),
    Check("gate with an empty numba cache", "node", f"ready within {COLD:.0f} s", cold_start),
    Check("a manifest of 1e6 rad/s", "node", "the URDF's limits hold at the controller's 1 kHz", bold_manifest),
    Check(
        "another bundle than bundle_sha256 says",
        "node",
        ONE_LINE,
        partial(refused, lambda folder: {"bundle": far(folder), "bundle_sha256": "f" * 64}, "this is another bundle"),
    ),
    Check("hull of NaN", "node", ONE_LINE, partial(refused, partial(with_hulls, nan_hull), "expected finite corners")),
    Check(
        "hull of one link alone", "node", ONE_LINE, partial(refused, partial(with_hulls, one_hull), "no collision hull")
    ),
    Check("pinocchio built for NumPy 1", "node", ONE_LINE + ", with the remedy", old_numpy),
    Check("goal's pose lost", "motion", "the arm rests in time, 'pose 'goal'' is published", lost_pose),
    Check("one of two arms stopped", "node", "the other goes on", two_arms),
    Check(
        "stop on the page, then a verdict",
        "session",
        LATCHED,
        partial(attended, test_stops.test_a_verdict_clears_no_stop),
    ),
    Check(
        "page lost, session restarted",
        "session",
        LATCHED,
        partial(attended, test_stops.test_a_lost_page_and_a_restarted_session_clear_no_stop),
    ),
    Check(
        "stop and lost page on the way home",
        "session",
        LATCHED,
        partial(attended, test_stops.test_homing_waits_for_a_person_and_is_stopped_by_the_button_and_by_a_lost_page),
    ),
)
