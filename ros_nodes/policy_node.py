"""The policy as a lifecycle node: loads and verifies a bundle, then drives the arm through the safety gate.

    python -m ros_nodes.policy_node --ros-args -p bundle:=runs/demo/bundle -p autostart:=true

Its loop runs on its own clock in its own thread, never inside a subscription's callback. In shadow mode it does
everything but move: it publishes what it would have done.
"""

from __future__ import annotations

import json
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.duration import Duration
from rclpy.exceptions import NameValidationException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter as RosParameter
from std_msgs.msg import Float64MultiArray, String

from policies.bundle import BundleError, PolicyBundle
from policies.runtime.deadlines import Pacer, WarmUp
from policies.runtime.dry_run import DryRunError, check_confirmed
from policies.runtime.loop import ControlLoop, RefusalError
from robots.specs import SpecError
from ros_nodes import process, qos, topics
from ros_nodes.arm.calibrated_cameras import check_size, displacement, read_calibrated
from ros_nodes.arm.gated_arm import GatedArm, ShadowArm
from ros_nodes.arm.inputs import ArmInputs
from ros_nodes.arm.joint_names import JointNames
from ros_nodes.arm.markers import Markers
from ros_nodes.arm.policy_parameters import PARAMETERS, chosen_topics, loop_limits
from ros_nodes.arm.policy_report import PolicyReport, latency_message
from ros_nodes.arm.pose_inputs import PoseInputs, pose_sources
from ros_nodes.arm.robot_description import check_description
from ros_nodes.parameters import Parameters, resolved

FIRST_BEATS = 0.05
"""The gate drops commands of a policy that it has not heard alive [s]."""
AWAKE = WarmUp.MARGIN
"""The loop does not sleep for so long before each of its deadlines [s]: what was warmed up stays in the caches."""
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
SETTINGS = {parameter.name for parameter in PARAMETERS}


class PolicyNode(LifecycleNode):
    """Lifecycle around one `ControlLoop`."""

    def __init__(self, ended: threading.Event) -> None:
        """Declare the parameters; they are read again at each configure. `ended` cuts waiting short."""
        super().__init__("policy_node")
        self._settings = Parameters(self, PARAMETERS, read_only=False)
        self._ended = ended
        self.reason = ""
        """Why the node is not doing what it was asked to do; empty while all is well."""
        self._state_publisher = self.create_publisher(String, topics.POLICY_STATE, qos.LATCHED)
        self._latency = self.create_publisher(Float64MultiArray, topics.POLICY_LATENCY, qos.EVENT)
        self._markers: Markers | None = None
        self._inputs: ArmInputs | None = None
        self._arm: GatedArm | ShadowArm | None = None
        self._loop: ControlLoop | None = None
        self._bundle: PolicyBundle | None = None
        self._halt = threading.Event()
        self._thread: threading.Thread | None = None
        self._let_sleep: Callable[[], None] = lambda: None
        self._failure = ""
        self._key = ""  # of the counts, for `_failure` and `reason`
        self._said = PolicyReport("unconfigured")  # what was published last
        self._done: bool | None = None  # the task, by the loop's last step
        self._counts: Counter[str] = Counter()  # refusals so far, by reason
        self._diagnostics = self.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.EVENT)
        self.add_on_set_parameters_callback(self._set)
        self.create_subscription(String, topics.GOAL_THING, lambda message: self._ask(message.data), qos.EVENT)
        self.create_timer(0.02, self._watch)
        self.create_timer(1.0, self._publish_diagnostics)
        self.create_timer(0.1, self._show_poses)
        self._announce("unconfigured")

    @property
    def autostart(self) -> bool:
        """Whether to configure and activate without being asked."""
        return self._settings.flag("autostart")

    # Transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load and verify the bundle, compare it with the arm and the cameras."""
        try:
            self._configure()
        except (SpecError, BundleError, RefusalError, DryRunError, NameValidationException) as error:
            self._release()
            self._count(getattr(error, "key", "configuration"))
            return self._refuse("unconfigured", str(error))
        self.reason = ""
        self._announce("inactive")
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Wait for a fresh state and a ready gate, then start the loop from where the arm is."""
        assert self._loop is not None
        assert self._arm is not None
        assert self._inputs is not None
        until = time.monotonic() + self._settings.number("wait")
        self._inputs.alive = self._inputs.watching = True
        self._ended.wait(FIRST_BEATS)
        while True:
            try:
                self._arm.check()
                self._loop.start()
                break
            except (RefusalError, SpecError) as error:
                if time.monotonic() > until or self._ended.wait(0.01):
                    self._inputs.alive = self._inputs.watching = False
                    self._count(getattr(error, "key", "observation_invalid"))
                    return self._refuse("inactive", str(error))
        self.reason, self._failure = "", ""
        self._done = None
        self._halt.clear()
        if self._settings.flag("stay_awake"):
            self._let_sleep = process.stay_awake()
        self._thread = threading.Thread(target=self._run, args=(self._loop,), daemon=True)
        self._thread.start()
        self._announce("active")
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the loop and wait until the arm is at rest."""
        self._note_failure()  # asked to deactivate just when the loop refused: the reason must not be lost
        self._end_loop("deactivated")
        self._announce("inactive")
        return SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the bundle and the arm."""
        self._release()
        self.reason = ""
        self._announce("unconfigured")
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and let go."""
        self.close()
        return SUCCESS

    def close(self) -> None:
        """Bring the arm to rest and let go of everything."""
        self._end_loop("shut down")
        self._release()
        self._announce("finalized")
        self._state_publisher.wait_for_all_acked(Duration(seconds=0.2))

    # Work

    def _set(self, parameters: list[RosParameter]) -> SetParametersResult:
        """Apply `match_light` at once; take the others only where the next configure reads them."""
        try:
            for parameter in parameters:
                self._settings.checked(parameter.name, parameter.value)
                if parameter.name == "match_light" and self._loop is not None:
                    self._loop.light.switch(bool(parameter.value))
                elif parameter.name.partition(".")[0] in SETTINGS and self._said.state not in (
                    "unconfigured",
                    "finalized",
                ):
                    raise SpecError(
                        f"parameter '{parameter.name}' is read when the node is configured, and it is "
                        f"{self._said.state}; "
                        "deactivate and clean up first"
                    )
        except SpecError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _configure(self) -> None:
        path = self._settings.text("bundle")
        if not path:
            raise SpecError("parameter 'bundle' is empty; give the path of a policy bundle: -p bundle:=<path>")
        limits = loop_limits(self._settings)
        bundle = PolicyBundle.load(path)
        bundle.check_parity()
        cameras = {
            name: topics.CameraTopics(resolved(self, each.image), resolved(self, each.info))
            for name, each in chosen_topics(self._settings, bundle).items()
        }
        names, sources = JointNames.of(self._settings, bundle.robot), pose_sources(self._settings, bundle)
        shadow = self._settings.flag("shadow")
        dry_run = self._settings.text("dry_run")
        if dry_run and not shadow:
            check_confirmed(Path(dry_run), bundle)
        setting, description = self._settings.text("camera_calibration"), self._settings.text("robot_description")
        description = resolved(self, description) if description else ""
        calibrated = read_calibrated(setting, list(cameras))
        began = time.monotonic()
        self._inputs = inputs = ArmInputs(
            self,
            bundle.robot,
            self._settings.text("joint_states"),
            cameras,
            heartbeat=not shadow,
            calibrated=calibrated,
            description=description,
            gripper_states=self._settings.text("gripper_states"),
            names=names,
            make_poses=lambda node, reject: PoseInputs(node, self, sources, self._settings, names.base_frame, reject),
        )
        self._await_arm(inputs, sources)
        if sources and self._markers is None:
            self._markers = Markers(self, topics.POLICY_MARKERS, names.base_frame)
        state = inputs.newest()
        assert state is not None
        for name, camera in inputs.infos.items():
            source = f"'{setting}'" if name in calibrated else f"the CameraInfo on {cameras[name].info}"
            check_size(camera, state.frames[name].image.shape, cameras[name].image, source)
            moved = displacement(camera, bundle.cameras[name])
            if moved:
                self.get_logger().warning(moved)
        if description and self._described(inputs, description, began):
            check_description(inputs.description, bundle.robot, description, names)
        arm = (ShadowArm if shadow else GatedArm)(self, inputs, bundle.robot, bundle.action.dt)
        self._arm = arm
        self._loop = ControlLoop(bundle, arm, limits, safety=None, incoming=inputs.infos, poses=sources)
        self._loop.light.switch(self._settings.flag("match_light"))
        if thing := self._settings.text("goal_thing"):
            self._loop.thing.ask(thing)
        self._loop.warm_up()
        inputs.rectify = self._loop.rectify
        self._bundle = bundle
        inputs.watching = False
        what = f"bundle '{bundle.name}' {bundle.hash[:12]} verified"
        self.get_logger().info(f"{what}, {bundle.action.rate_hz:g} Hz, {process.prioritise()}")

    def _ask(self, thing: str) -> None:
        """Ask the policy for another thing; what it cannot be asked for is logged, and changes nothing."""
        try:
            if self._loop is None:
                raise SpecError(f"{thing[:60]!r} is asked for, but no policy is loaded; configure the node first")
            self._loop.thing.ask(thing)
        except SpecError as error:
            self._count("thing_refused")
            self.get_logger().error(f"{topics.GOAL_THING}: {error}")

    def _await_arm(self, inputs: ArmInputs, poses: dict[str, str]) -> None:
        wait = self._settings.number("wait")
        until = time.monotonic() + wait
        while missing := inputs.missing(poses):
            if time.monotonic() > until or self._ended.wait(0.01):
                what, topic, key = missing
                hint = inputs.last_rejection or "is the driver running, and on this topic?"
                raise RefusalError(f"{what} within {wait:g} s on {topic}; {hint}", key)

    def _described(self, inputs: ArmInputs, topic: str, began: float) -> bool:
        """Wait for the arm's URDF, longer if somebody publishes it; return whether it came."""
        while not inputs.description:
            patience = "wait" if self.count_publishers(topic) else "description_wait"
            if time.monotonic() > began + self._settings.number(patience) or self._ended.wait(0.01):
                self.get_logger().info(f"no arm described on {topic}: the joints' names alone are compared")
                return False
        return True

    def _run(self, loop: ControlLoop) -> None:
        process.prioritise_thread(ahead=1)
        pacer = Pacer(loop.bundle.action.dt, awake=AWAKE)
        warm_up = WarmUp(lambda: self._warm_up(loop), pacer, loop.bundle.action.dt)
        warms_up = self._settings.flag("warm_up")
        while not self._halt.is_set():
            if warms_up:
                warm_up.run()
            pacer.wait()
            if self._halt.is_set():
                return
            try:
                step = loop.step()
            except RefusalError as error:
                self._count(error.key)
                self._failure = str(error)
                return
            except Exception as error:  # whatever it is, the arm comes to rest and the reason is published
                self._count("internal_error")
                self._failure = f"internal error: {type(error).__name__}: {error}"
                self.get_logger().error(traceback.format_exc())
                return
            self._done = step.done
            for _ in step.masked:
                self._count("camera_masked")
            self._latency.publish(latency_message(step))

    def _warm_up(self, loop: ControlLoop) -> None:
        sent = loop.warm_up_step()
        if sent is not None and self._arm is not None:
            self._arm.warm_up(*sent)

    def _show_poses(self) -> None:
        if self._markers is not None and self._inputs is not None:
            self._markers.show_poses(self._inputs.poses)

    def _count(self, key: str) -> None:
        self._counts[key] += 1
        self._key = key

    def _watch(self) -> None:
        if self._failure:
            self._note_failure()
            self.trigger_deactivate()
        elif self._report(self._said.state) != self._said:
            if self._said.warning != self._warning:
                self.get_logger().warning(self._warning)
            self._announce(self._said.state)

    def _note_failure(self) -> None:
        if self._failure:
            self.reason, self._failure = self._failure, ""
            self.get_logger().error(f"stopped: {self.reason}")

    def _end_loop(self, reason: str) -> None:
        if self._thread is None:
            return
        self._halt.set()
        self._thread.join()
        self._thread = None
        self._let_sleep()
        self._let_sleep = lambda: None
        assert self._loop is not None
        assert self._arm is not None
        self._loop.stop(reason)
        self._arm.settle(timeout=1.0)
        if self._inputs is not None:
            self._inputs.alive = self._inputs.watching = False

    def _release(self) -> None:
        if self._inputs is not None:
            self._inputs.close()
        if self._arm is not None:
            self._arm.close()
        self._inputs = self._arm = self._loop = self._bundle = None

    def _refuse(self, state: str, reason: str) -> TransitionCallbackReturn:
        self.reason = reason
        if not self.autostart:  # then `main` says it, once
            self.get_logger().error(reason)
        self._announce(state)
        return FAILURE

    def _publish_diagnostics(self) -> None:
        counts = self._counts + (self._inputs.rejected if self._inputs is not None else Counter())
        more: dict[str, object] = {}
        if self._loop is not None:
            self._loop.residuals.update()
            more |= self._loop.light.report()
            more |= {f"residual_px_{name}": f"{px:.1f}" for name, px in self._loop.residuals.medians.items()}
        name = self.get_fully_qualified_name().lstrip("/")
        status = self._report(self._said.state).diagnostics(name, self._bundle, {**counts, **more})
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    @property
    def _warning(self) -> str:
        if self._loop is None:
            return ""
        return " ".join(filter(None, (self._loop.cameras.warning, self._loop.residuals.warning)))

    def _report(self, state: str) -> PolicyReport:
        thing = self._loop.thing.name if self._loop is not None else ""
        return PolicyReport(state, self.reason, self._key if self.reason else "", self._warning, self._done, thing)

    def _announce(self, state: str) -> None:
        self._said = self._report(state)
        self._state_publisher.publish(String(data=json.dumps(self._said.to_dict(self._bundle))))


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; return the exit status."""
    cv2.setNumThreads(1)  # a picture's fraction of a millisecond is not worth waiting for a second thread
    ended = process.start(args)
    try:
        node = PolicyNode(ended)
    except SpecError as error:
        rclpy.try_shutdown()
        return process.fail("policy_node", str(error))
    try:
        if node.autostart and not (node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS):
            return 0 if ended.is_set() else process.fail("policy_node", node.reason)
        process.spin(process.make_executor(node), ended)
    finally:
        node.close()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
