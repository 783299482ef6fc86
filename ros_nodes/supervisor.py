"""Drives the policy node's lifecycle and notices a process that has died or hangs.

    python -m ros_nodes.supervisor --ros-args -p activate:=true

`ros2 launch` reports success even when a node it started was killed, and its own lifecycle support differs between
ROS releases; this node does both through services and topics alone. It ends with status 1, in one line, when a
process is gone; the launch files then end the others, the gate last words first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import rclpy
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import String, UInt64
from std_srvs.srv import Trigger

from policies.bundle import BundleError, PolicyBundle
from robots.specs import SpecError
from ros_nodes import process, qos, topics
from ros_nodes.arm.controllers import CONTROLLERS, Output, find
from ros_nodes.messages import read_report
from ros_nodes.parameters import Parameter, Parameters
from ros_nodes.session.shared_memory import free_leftovers

CHECK_PERIOD = 0.2
"""Between two checks of the processes [s]."""
GATE_SILENCE = 0.15
"""Silence after which the gate can brake no arm any more [s]."""
BRAKE_HZ = 50
"""Zeros a second that are then sent to a controller that would coast."""
HANG = 2.0
"""Silence after which a process counts as dead [s]."""
ASK_AGAIN = 0.5
"""Wait for an answer before the same is asked again [s]: DDS drops one whose reader it has not matched yet."""
CHANGE = 60.0
"""Longest time that configuring or activating may take [s]."""

LEAVE_TIMEOUT = 4.0
"""Longest wait for the gate's last word when everything is shut down [s]: launch follows SIGINT by SIGTERM after 5."""
BRAKE_TIME = 0.2
"""How long zeros are sent before leaving [s]."""


PARAMETERS = (
    Parameter(
        "policy_node", "policy_node", "name of the lifecycle node to drive; empty: the gate alone is watched, and held"
    ),
    Parameter("activate", False, "activate after configuring; otherwise the operator does"),
    Parameter("bundle", "", "path of the policy bundle; needed where a velocity controller must be held"),
    Parameter("controller", "joint_trajectory_controller", f"as the gate's: one of {', '.join(CONTROLLERS)}"),
    Parameter("controller_topic", "", "as the gate's"),
    Parameter("wait", 20.0, "how long to wait for the other processes to start [s]"),
)


class DeadProcessError(RuntimeError):
    """A process that the launch needs is gone, or refuses; the message says which and why."""


class Supervisor(Node):
    """Watches one policy node and one gate."""

    def __init__(self, ended: threading.Event) -> None:
        """Connect; `ended` cuts waiting short."""
        super().__init__("supervisor")
        parameters = Parameters(self, PARAMETERS)
        self._name = parameters.text("policy_node")
        self._activate = parameters.flag("activate")
        self._wait_s = parameters.number("wait")
        self._ended = ended
        self._gate_beat = time.monotonic()
        self._gate_heard = False
        self._said: dict[str, tuple[str, str]] = {}
        self.create_subscription(UInt64, topics.GATE_HEARTBEAT, self._on_gate_heartbeat, qos.NEWEST)
        self.create_subscription(String, topics.GATE_STATE, lambda m: self._on_state("safety gate", m), qos.LATCHED)
        self.create_subscription(String, topics.POLICY_STATE, lambda m: self._on_state(self._name, m), qos.LATCHED)
        lifecycle = self._name or "policy_node"
        self._change: Client = self.create_client(ChangeState, f"{lifecycle}/change_state")
        self._get: Client = self.create_client(GetState, f"{lifecycle}/get_state")
        self._coasting = self._output(parameters)
        if self._coasting is not None:
            self.create_timer(1.0 / BRAKE_HZ, self._brake)
        self._braking = self._leaving = False
        self._stop: Client = self.create_client(Trigger, topics.GATE_STOP)

    def run(self) -> None:
        """Start the policy, then watch until the end.

        Raises:
            DeadProcessError: when a process is gone or refuses to start.
        """
        heartbeat = self.resolve_topic_name(topics.GATE_HEARTBEAT)
        self._await(lambda: self._gate_heard, self._wait_s, f"safety gate: not heard on {heartbeat}")
        if self._name:
            self._await(
                self._change.service_is_ready, self._wait_s, f"{self._name}: no service '{self._change.srv_name}'"
            )
            self._transition(Transition.TRANSITION_CONFIGURE, "configure", State.PRIMARY_STATE_INACTIVE)
            if self._activate:
                self._transition(Transition.TRANSITION_ACTIVATE, "activate", State.PRIMARY_STATE_ACTIVE)
        while not self._ended.wait(CHECK_PERIOD):
            silence = time.monotonic() - self._gate_beat
            if silence > HANG:
                raise DeadProcessError(f"safety gate: silent for {silence:.1f} s; the process has died or hangs")
            if not self._name:
                continue
            if self._state() == State.PRIMARY_STATE_FINALIZED:
                raise DeadProcessError(f"{self._name}: has been shut down")

    def _output(self, parameters: Parameters) -> Output | None:
        """Return what sends zeros to a controller that goes on moving when the gate dies; None for all others."""
        controller, bundle = parameters.text("controller"), parameters.text("bundle")
        if not find(controller).coasts:
            return None
        if not bundle:
            raise SpecError(
                f"parameter 'bundle' is empty; a '{controller}' goes on moving when the gate dies, and the "
                "supervisor must know the arm to stop it"
            )
        return Output(
            self, PolicyBundle.load(bundle).robot, controller, parameters.text("controller_topic"), 1 / BRAKE_HZ
        )

    def _brake(self) -> None:
        """Send zeros while the gate, heard before, is silent, or never was heard and this node leaves."""
        silence = time.monotonic() - self._gate_beat
        known = self._gate_heard or self._leaving
        if not known or silence <= GATE_SILENCE or self._coasting is None:
            self._braking = False
            return
        if not self._braking:
            self._braking = True
            self.get_logger().error(f"safety gate: silent for {silence:.2f} s; holding the arm with zero velocity")
        self._coasting.hold()

    def brake_before_leaving(self) -> None:
        """Where the controller coasts, wait until the gate is silent, then send zeros until they have arrived.

        Launch interrupts all processes at once when one of them dies: a supervisor that left before it could tell that
        the gate is gone would leave the arm moving, also one that has not heard the gate yet.
        """
        if self._coasting is None:
            return
        if not self._gate_heard:
            self._gate_beat = time.monotonic()  # it may yet be heard, and then brings the arm to rest by itself
        self._leaving = True
        until = time.monotonic() + LEAVE_TIMEOUT
        while not self._braking and time.monotonic() < until:
            time.sleep(0.01)
        if self._braking:
            time.sleep(BRAKE_TIME)

    def stop_arm(self) -> None:
        """Ask the gate, if it lives, to stop the arm for good."""
        if self._stop.service_is_ready():
            future = self._stop.call_async(Trigger.Request())
            until = time.monotonic() + 0.5
            while not future.done() and time.monotonic() < until:
                time.sleep(0.01)

    def _transition(self, number: int, verb: str, reached: int) -> None:
        """Change the policy's state to `reached`; the answer may be lost, the state tells."""
        change = self._change.call_async(ChangeState.Request(transition=Transition(id=number)))
        states = self._states()
        self._await(
            lambda: change.done() or next(states) == reached,
            CHANGE,
            f"{self._name}: does not {verb} within {CHANGE:g} s",
        )
        answer = change.result() if change.done() else None
        if answer is not None and not answer.success:
            time.sleep(0.1)  # its reason comes by topic, the refusal by service
            _, reason = self._said.get(self._name, ("", ""))
            raise DeadProcessError(f"{self._name}: refuses to {verb}: {reason or 'see its log'}")

    def _state(self) -> int | None:
        """Return the policy's lifecycle state; None if the end came first."""
        states = self._states()
        self._await(
            lambda: next(states) is not None, HANG, f"{self._name}: does not answer; the process has died or hangs"
        )
        return next(states)

    def _states(self) -> Iterator[int | None]:
        """Yield the policy's newest known lifecycle state, None while there is no answer; go on asking meanwhile."""
        asked = 0.0
        state: int | None = None
        calls: list[Future] = []
        while True:
            for call in [each for each in calls if each.done()]:
                answer = call.result()
                state = state if answer is None else answer.current_state.id
                calls.remove(call)
            if time.monotonic() > asked + ASK_AGAIN:
                asked = time.monotonic()
                calls.append(self._get.call_async(GetState.Request()))
            yield state

    def _await(self, condition: Callable[[], bool], timeout: float, otherwise: str) -> None:
        until = time.monotonic() + timeout
        while not condition() and not self._ended.wait(0.01):
            if time.monotonic() > until:
                raise DeadProcessError(f"{otherwise} within {timeout:g} s" if "within" not in otherwise else otherwise)

    def _on_gate_heartbeat(self, _message: UInt64) -> None:
        self._gate_beat, self._gate_heard = time.monotonic(), True

    def _on_state(self, source: str, message: String) -> None:
        try:
            report = read_report(message.data, "state", "reason")
        except SpecError as error:
            self.get_logger().warning(f"{source}'s state: dropped: {error}", throttle_duration_sec=1.0)
            return
        said = (report["state"], report["reason"])
        if self._said.get(source) != said:
            self._said[source] = said
            self.get_logger().info(f"{source}: {said[0]}{': ' + said[1] if said[1] else ''}")


def main(args: list[str] | None = None) -> int:
    """Watch until SIGINT or SIGTERM; return 1 as soon as a process is gone."""
    free_leftovers()  # of an earlier launch that was killed
    ended = process.start(args)
    try:
        node = Supervisor(ended)
    except (SpecError, BundleError) as error:
        return process.fail("supervisor", str(error))
    try:
        with process.spinning(node):
            try:
                node.run()
                return 0
            except DeadProcessError as error:
                node.stop_arm()
                return process.fail("supervisor", str(error))
            finally:
                node.brake_before_leaving()
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    raise SystemExit(main())
