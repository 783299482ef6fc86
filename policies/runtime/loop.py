"""The control loop that runs a policy on an arm: the same one in simulation, on the virtual arm and on a real arm.

read → observe → act → resolve → filter → send → log. It refuses to act on a state that is missing, stale, out of
the policy's specification or not finite: then the arm is stopped in a controlled way and the reason is kept. A camera
that fails is masked instead, where the policy can do without it.

Robot side: numpy and onnxruntime only.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from policies.bundle import PolicyBundle
from policies.runtime.deadlines import Clock
from policies.runtime.inputs.asked_thing import AskedThing
from policies.runtime.inputs.camera_watch import CameraWatch
from policies.runtime.inputs.light_match import LightMatching
from policies.runtime.inputs.residual_watch import ResidualWatch
from policies.runtime.loop_limits import LoopLimits
from policies.runtime.safety_filter import Command, SafetyFilter
from policies.runtime.stall_watch import StallWatch
from robots.action import ActionResolver
from robots.camera import CameraModel
from robots.dynamics import GravitySag
from robots.observation import ObservationBuilder, RobotState, needed_poses
from robots.specs import SpecError


class RobotInterface(Protocol):
    """Interface of an arm to the control loop."""

    moves: bool
    """Whether it moves as it is sent; in shadow mode nothing does."""

    def read(self) -> RobotState | None:
        """Return the newest state, stamped on the loop's clock; None before the first."""

    def send(self, q_target: np.ndarray, opening: float | None = None) -> np.ndarray:
        """Command joint positions (n,) [rad], and the fingers [m] if the policy moves any; return what was really sent.

        Raises:
            RefusalError: if the arm cannot be commanded now, with the reason.
        """

    def stop(self, reason: str) -> None:
        """Bring the arm to rest in a controlled way, now."""


class RefusalError(RuntimeError):
    """The loop refuses to act on its inputs; the message is the published reason."""

    def __init__(self, reason: str, key: str = "refused"):
        """Say `reason` in a sentence; a policy node counts it under `key`, see docs/troubleshooting.md."""
        super().__init__(reason)
        self.key = key


def _refuse(camera: str, reason: str, key: str) -> None:
    raise RefusalError(reason, key)


@dataclass(frozen=True)
class LoopStep:
    """One row of the loop's log."""

    t: float
    """When the step began [s], on the loop's clock."""
    state_age: float
    """Age of the joint state at that time [s]."""
    frame_age: float
    """Age of the oldest frame [s]; NaN without cameras."""
    frame_wait: float
    """How long that frame had lain ready in this process [s], NaN without cameras; the rest went on its way."""
    compute: float
    """From the beginning of the step to the command [s]."""
    period_error: float
    """How much later (or earlier) than one period after the last step this one began [s]."""
    q: np.ndarray
    """(n,) measured joint positions [rad]."""
    action: np.ndarray
    """The policy's normalised action."""
    q_sent: np.ndarray
    """(n,) what was really sent [rad]."""
    reasons: tuple[str, ...]
    """Why that is not what the policy asked for; empty if it is."""
    done: bool | None = None
    """Whether the policy's task is done; None for a policy that does not tell."""
    masked: tuple[str, ...] = ()
    """Cameras without which the policy goes on from this step."""


class ControlLoop:
    """Runs one policy on one arm. Call `start`, then `step` once a period."""

    def __init__(
        self,
        bundle: PolicyBundle,
        robot: RobotInterface,
        limits: LoopLimits,
        *,
        safety: SafetyFilter | None,
        incoming: Mapping[str, CameraModel] | None = None,
        poses: Collection[str] = (),
        clock: Clock = time.monotonic,
    ):
        """Prepare; nothing is sent before `start`.

        Args:
            bundle: the policy.
            robot: the arm.
            limits: when to refuse.
            safety: limits the commands here, at the policy's rate. None only where a safety gate of its own,
                a separate process, stands behind `robot.send`.
            incoming: the cameras as they really are, where they differ from the bundle's.
            poses: the pose estimates that the robot's states hold.
            clock: [s]; states are stamped on it.

        Raises:
            SpecError: if the arm's cameras cannot show what the policy expects, or it is not known where they stand,
                or nothing measures an array.
        """
        bundle.check_placed()
        self.bundle = bundle
        self.limits = limits
        self._robot = robot
        self._safety = safety
        self._clock = clock
        self._builder = ObservationBuilder(bundle.observation, bundle.robot, bundle.cameras, incoming, poses=poses)
        self._poses = needed_poses(bundle.observation)
        shapes = [array.shape for array in bundle.observation.arrays if array.is_image]
        self.cameras = CameraWatch(bundle.images, bundle.masking, shapes, limits.frame_age)
        """Which cameras count."""
        self.residuals = ResidualWatch(bundle)
        """Whether they still stand where they should; its `update` is for the caller to call, once a second or so."""
        self.light = LightMatching(bundle.inputs, bundle.images)
        """Matches images to the brightness of training once it is switched on; off at first."""
        self._grips = bundle.action.names[-1] == "gripper" or "opening" in bundle.observation.names
        self._resolver, self._warm_up_resolver = (ActionResolver(bundle.action, bundle.robot) for _ in range(2))
        self._sag = GravitySag(bundle.robot)
        self._stall = StallWatch(bundle.robot.joint_names, min(limits.lead, limits.rest_lead))
        self._memory = bundle.fresh_memory()
        self.thing = AskedThing(bundle, self._builder)
        """What the policy acts on among several things."""
        self._started: float | None = None
        self._last: float | None = None
        self._q_start = np.array(bundle.robot.home)

    @property
    def running(self) -> bool:
        """Whether `step` may be called."""
        return self._started is not None

    def check(self, state: RobotState | None, now: float) -> RobotState:
        """Return `state` if the policy may act on it at `now` [s].

        Raises:
            RefusalError: with the reason, if it may not.
        """
        if state is None:
            raise RefusalError("joint state: none received; is the arm's driver running?", "state_missing")
        age = now - state.stamp
        if not age <= self.limits.state_age:
            raise RefusalError(
                f"joint state: {age:.3f} s old (limit {self.limits.state_age:.3f} s); is the driver running?",
                "state_stale",
            )
        n = len(self.bundle.robot.joint_names)
        if state.q.shape != (n,) or not np.isfinite(state.q).all():
            raise RefusalError(
                f"joint state: positions {state.q.tolist()}, expected {n} finite numbers", "state_invalid"
            )
        if self._grips:
            self._check_fingers(state, now)
        for name in self.cameras.counting:
            fault = self.cameras.fault(name, state, now)
            if fault is not None:
                self._exclude(name, *fault)
        for name in self._poses:
            self._check_pose(name, state, now)
        return state

    def _exclude(self, camera: str, reason: str, key: str) -> None:
        """Go on without a camera that failed in motion, if the policy can; the arm never starts without one."""
        if self._started is None or not self.cameras.exclude(camera, reason, key):
            raise RefusalError(reason, key)

    def _check_pose(self, name: str, state: RobotState, now: float) -> None:
        pose = state.poses.get(name)
        if pose is None:
            raise RefusalError(f"pose '{name}': none received; is its estimator running?", "pose_missing")
        age = now - pose.stamp
        if not age <= self.limits.pose_age:
            raise RefusalError(
                f"pose '{name}': {age:.3f} s old (limit {self.limits.pose_age:.3f} s); is its estimator running, and "
                "does it see the object?",
                "pose_stale",
            )

    def _check_fingers(self, state: RobotState, now: float) -> None:
        if state.opening is None:
            raise RefusalError("gripper: no finger positions received; are they published?", "gripper_missing")
        age = now - (state.stamp if state.opening_stamp is None else state.opening_stamp)
        if not age <= self.limits.gripper_age:
            raise RefusalError(
                f"gripper: finger positions {age:.3f} s old (limit {self.limits.gripper_age:.3f} s); is its driver "
                "running?",
                "gripper_stale",
            )

    def warm_up(self) -> None:
        """Compute once all that a step does, and send nothing: code is loaded now, not with the first command.

        Raises:
            RefusalError: if there is no state yet, or the policy will not act on it.
        """
        state = self._robot.read()
        if state is None:
            raise RefusalError("joint state: none received; is the arm's driver running?", "state_missing")
        action = self.bundle.infer(self._observe(state), self.bundle.fresh_memory()).action
        self._resolver.reset(state.q)
        self._resolver.resolve(np.zeros_like(action), state.q)

    def rectify(self, name: str, image: np.ndarray) -> np.ndarray | None:
        """Rectify an image on arrival, while its pixels are in the caches.

        None where that fails: the step then reports why.
        """
        with contextlib.suppress(SpecError):
            return self._builder.rectify(name, image)
        return None

    def warm_up_step(self) -> tuple[np.ndarray, float | None] | None:
        """Compute the next step on the newest state without any effect; return what it would send, if anything.

        See `policies.runtime.deadlines.WarmUp`. Invalid inputs are ignored here; the step itself refuses them.
        """
        state = self._robot.read()
        if state is None:
            return None
        with contextlib.suppress(RefusalError, SpecError):
            action = self.bundle.infer(self._observe(state), self.bundle.fresh_memory(), self.cameras.mask).action
            self._warm_up_resolver.reset(state.q)
            held = self._sag.held(state.q)
            target = self._warm_up_resolver.resolve(action, held, self.limits.leads(state.dq))
            return target, self._warm_up_resolver.opening
        return None

    def start(self) -> None:
        """Begin at the arm's present position.

        Raises:
            RefusalError: if there is no fresh state, with the reason.
        """
        now = self._clock()
        self.thing.take()
        if self.thing.missing:
            raise RefusalError(self.thing.missing, "thing_missing")
        self.cameras.reset()
        state = self.check(self._robot.read(), now)
        if self.residuals.unusual:  # whoever starts anew has looked at the cameras
            self.residuals.reset()
        self.light.reset()
        self._observe(state)
        self._q_start = self._sag.held(state.q)  # what holds it there
        self._resolver.reset(self._q_start)
        self._stall.reset()
        self._memory = self.bundle.fresh_memory()
        if self._safety is not None:
            self._safety.reset(state.q)
        self._started, self._last = now, None

    def step(self) -> LoopStep:
        """Act once on the newest state.

        Raises:
            RefusalError: if the loop was not started, or refuses to act; the arm has then been stopped.
        """
        if self._started is None:
            raise RefusalError("the control loop is not running; start it first", "not_running")
        now = self._clock()
        try:
            return self._step(now, self._started)
        except (RefusalError, SpecError) as error:
            self.stop(str(error))
            raise RefusalError(str(error), getattr(error, "key", "observation_invalid")) from None

    def stop(self, reason: str) -> None:
        """Bring the arm to rest and end; `start` begins anew."""
        self._started = None
        self._robot.stop(reason)

    def _step(self, now: float, started: float) -> LoopStep:
        counting = self.cameras.counting
        if self.thing.take():  # no longer done, and what it remembers is of another thing
            self._memory = self.bundle.fresh_memory()
        state = self.check(self._robot.read(), now)
        if self.limits.check_inputs and self.residuals.unusual:
            raise RefusalError(self.residuals.unusual, "input_unknown")
        found = self.bundle.infer(self._observe(state, self._exclude), self._memory, self.cameras.mask)
        action = found.action
        if too_unsure := self.cameras.judge(found.predicted_std, self.bundle.action.dt):
            raise RefusalError(*too_unsure)
        self.residuals.add(state, found.keypoints, self.cameras.counting, now)
        if not np.isfinite(action).all():
            raise RefusalError(
                f"policy: action {action.tolist()} is not finite; is the bundle damaged?", "action_invalid"
            )
        held = self._sag.held(state.q)
        target = self._resolver.resolve(action, held, self.limits.leads(state.dq))
        if self._robot.moves and (stalled := self._stall.reason(target, held, now)):
            raise RefusalError(stalled, "blocked")
        blend = 1.0 if self.limits.blend == 0 else min(1.0, (now - started + self.bundle.action.dt) / self.limits.blend)
        target = self._q_start + _smooth(blend) * (target - self._q_start)
        command = target
        reasons: tuple[str, ...] = ()
        if self._safety is not None:
            setpoint = self._safety.filter(Command(target, now), state, now)
            command, reasons = setpoint.q, setpoint.reasons
            if self._safety.fault:
                raise RefusalError(self._safety.fault, "limits")
        sent = self._robot.send(command, self._resolver.opening)
        period_error = 0.0 if self._last is None else now - self._last - self.bundle.action.dt
        self._last = now
        frames = (state.frames[name] for name in self.cameras.counting)
        oldest = min(frames, key=lambda frame: frame.stamp, default=None)
        frame_age = frame_wait = float("nan")
        if oldest is not None:
            frame_age = now - oldest.stamp
            frame_wait = frame_age if oldest.arrived is None else now - oldest.arrived
        return LoopStep(
            t=now,
            state_age=now - state.stamp,
            frame_age=frame_age,
            frame_wait=frame_wait,
            compute=self._clock() - now,
            period_error=period_error,
            q=state.q,
            action=action,
            q_sent=sent,
            reasons=reasons,
            done=self.bundle.is_done(self._memory),
            masked=tuple(name for name in counting if name in self.cameras.failed),
        )

    def _observe(self, state: RobotState, exclude: Callable[[str, str, str], None] = _refuse) -> dict[str, np.ndarray]:
        """Return the observation; `exclude` takes a camera whose image is unlike those of training, and why."""
        state = self.cameras.filled(state)
        observation = self._builder.build(state)
        try:
            self.bundle.observation.validate(observation)
        except SpecError as error:
            raise RefusalError(f"observation {error}", "observation_invalid") from None
        for name, array in observation.items() if self.limits.check_inputs else ():
            camera = name.removeprefix("image_")
            unknown = "" if camera in self.cameras.failed else self.bundle.inputs.reason_of(name, array)
            if unknown and camera in self.cameras.counting:
                exclude(camera, unknown, "input_unknown")
            elif unknown:
                raise RefusalError(unknown, "input_unknown")
        return self.light(observation, state)  # after the check: matching must not hide a covered lens


def _smooth(s: float) -> float:
    """Minimum-jerk profile from 0 to 1 (Flash and Hogan 1985)."""
    return s * s * s * (10 - 15 * s + 6 * s * s)
