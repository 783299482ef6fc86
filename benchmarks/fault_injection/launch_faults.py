"""Faults of a whole launch: a node of it is killed, its arguments and files contradict each other."""

from __future__ import annotations

import time
from functools import partial

from rcl_interfaces.srv import GetParameters

from benchmarks.fault_injection.check import Check, Place, Seen
from benchmarks.fault_injection.launch_run import Launched
from benchmarks.fault_injection.moving_arm import DETECTION, STOPPING
from benchmarks.fault_injection.scene import PANDA, Driver
from ros_nodes.arm.controllers import CONTROLLERS
from tests.ros_nodes.test_launch import write
from tests.support.attended_session import registered_plan
from tests.support.ros_bench import RosBench
from tests.support.tiny_bundle import CAMERA, tiny_bundle
from tests.support.velocity_arm import KIND, VelocityArm

ENDED = 20.0
"""Within which a launch is over after one of its nodes has died [s]: it waits 5 s before it terminates, and kills."""


def velocity_gate_killed(file: str, place: Place) -> Seen:
    """The gate of an arm that coasts at its last velocity is killed while it moves."""
    bundle = tiny_bundle((0.35, 0.45, 0.5), gain=0.5).save(place.folder / "far")
    session = file == "session.launch.py"
    more: dict[str, object] = {"shadow": "false", "activate": "true"}
    if session:
        more = {"protocol": registered_plan(place.folder, bundle, places=2, timeout=12.0), "port": 0}
    driver = None
    with RosBench(place.environment) as ros:
        arm = ros.arm(PANDA, CAMERA, VelocityArm)
        with Launched(file, place.environment, place.folder, bundle=bundle, controller=KIND, **more) as launched:
            ros.wait(lambda: ros.gate_state["state"] in ("ready", "moving"), "the gate to be ready", 90.0)
            ros.wait(lambda: ros.observer.count_publishers(CONTROLLERS[KIND].topic) == 2, "the supervisor", 60.0)
            if session:  # whose policies wait for the operator
                driver = Driver(ros, arm)
            try:
                ros.wait(lambda: arm.speed > 0.05, "the arm to move", 60.0)
                launched.kill("safety_gate")
                killed = time.monotonic()
                ros.wait(lambda: arm.speed == 0.0, "zero velocity", 5.0)
                stopped = time.monotonic() - killed
                status = launched.status(ENDED)
            finally:
                if driver is not None:
                    driver.close()
            good = stopped <= DETECTION + STOPPING and arm.speed == 0.0 and status == 1
            seen = f"rests after {stopped:.3f} s, then {arm.speed:.3f} rad/s; the launch returns {status}"
            return Seen(good, seen, stopped, stopped)


def gate_killed_at_rest(place: Place) -> Seen:
    """The gate dies before anything moves."""
    bundle = tiny_bundle().save(place.folder / "bundle")
    with RosBench(place.environment) as ros:
        ros.arm(PANDA, CAMERA)
        with Launched("robot.launch.py", place.environment, place.folder, bundle=bundle) as launched:
            ros.wait(lambda: ros.gate_state["state"] == "ready", "the gate to be ready", 90.0)
            launched.kill("safety_gate")
            killed = time.monotonic()
            status = launched.status(ENDED)
            return Seen(status == 1, f"status {status}", time.monotonic() - killed)


def files_disagree(place: Place) -> Seen:
    """A preset, the user's file and an argument name the same parameters."""
    bundle = tiny_bundle().save(place.folder / "bundle")
    preset = write(place.folder / "preset.yaml", safety_gate={"rate": 50.0, "dq_scale": 0.2, "joint_states": "preset"})
    mine = write(place.folder / "mine.yaml", safety_gate={"rate": 80.0, "joint_states": "mine"})
    expected = {"rate": 80.0, "dq_scale": 0.2, "joint_states": "by_hand"}
    given = {"bundle": bundle, "preset": preset, "params_file": mine, "joint_states": "by_hand"}
    with RosBench(place.environment) as ros, Launched("robot.launch.py", place.environment, place.folder, **given):
        began = time.monotonic()
        client = ros.observer.create_client(GetParameters, "safety_gate/get_parameters")
        ros.wait(client.service_is_ready, "the gate", 90.0)
        coming = client.call_async(GetParameters.Request(names=list(expected)))
        ros.wait(coming.done, "the answer", 20.0)
        values = [value.string_value or value.double_value for value in coming.result().values]
        seen = dict(zip(expected, values))
        return Seen(seen == expected, ", ".join(f"{k} {v}" for k, v in seen.items()), time.monotonic() - began)


CHECKS = (
    *(
        Check(
            f"gate SIGKILL, velocity controller, {file}",
            "launch",
            "the arm rests in time and stays so; status 1",
            partial(velocity_gate_killed, file),
        )
        for file in ("robot.launch.py", "session.launch.py")
    ),
    Check("gate of a launch SIGKILL at rest", "launch", "the launch returns 1", gate_killed_at_rest),
    Check(
        "preset, params_file and argument disagree", "launch", "argument, file, preset, in this order", files_disagree
    ),
)
