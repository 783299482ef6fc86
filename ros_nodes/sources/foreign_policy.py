"""Runs a policy that was trained elsewhere behind the safety gate: chunks of joint positions, blended and timed.

    sim2real foreign-policy --policy act/policy.json --robot so101.json --image-topics front=/camera/image_raw
    python -m ros_nodes.sources.foreign_policy --ros-args -p policy:=act/policy.json -p robot:=so101.json

In shadow mode, the default, it publishes what it would command. A chunk that is not in order, a stale observation, a
server that ends: the arm comes to rest, and the program ends with the reason.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

# Before the arm's kinematics are imported, which are not used here: numba would compile for many seconds
os.environ["NUMBA_DISABLE_JIT"] = "1"

import numpy as np
import rclpy
from rclpy.exceptions import NameValidationException
from rclpy.node import Node

from policies.foreign.chunks import Chunk, ChunkBlender, ChunkError
from policies.foreign.description import read_foreign
from policies.foreign.server import PolicyServer, server_command
from policies.runtime.deadlines import Pacer
from policies.runtime.loop import RefusalError
from robots.dynamics import GravitySag
from robots.observation import RobotState
from robots.registry import load_robot
from robots.specs import SpecError
from ros_nodes import process, topics
from ros_nodes.arm import joint_names
from ros_nodes.arm.gated_arm import GatedArm, ShadowArm, twin
from ros_nodes.arm.inputs import ArmInputs
from ros_nodes.arm.joint_names import JointNames
from ros_nodes.arm.policy_parameters import named_topics
from ros_nodes.parameters import Parameter, Parameters, resolved

del os.environ["NUMBA_DISABLE_JIT"]  # whatever else this process imports or starts may compile

PARAMETERS = (
    Parameter("policy", "", "JSON that describes the policy: names, units, normalisation, rate, graph or server"),
    Parameter("robot", "", "the arm: a registered name, or its description file"),
    Parameter("shadow", True, "publish what would be sent, move nothing"),
    Parameter("image_topics", "", "camera=topic, comma-separated; camera_info is looked for beside each"),
    Parameter("rate", 50.0, "targets a second", 20.0, 100.0),
    Parameter("blend", 0.1, "time within which a newer chunk takes over [s]", 0.0, 2.0),
    Parameter("longest", 2.0, "an observation commands no longer than this, however long its chunk [s]", 0.1, 10.0),
    Parameter("start", 1.0, "time from the present position to full commands [s]", 0.0, 10.0),
    Parameter("state_age", 0.1, "greatest age of the joint state [s]", 0.01, 0.5),
    Parameter("frame_age", 0.25, "greatest age of a camera's frame [s]", 0.01, 2.0),
    Parameter("wait", 10.0, "how long to wait for the arm, its cameras, the gate and the first chunk [s]", 0.1, 600.0),
    Parameter("joint_states", topics.JOINT_STATES, "topic of the joint states"),
    *joint_names.PARAMETERS,
    Parameter("gripper_states", "", "topic of the fingers' joint states, where they are not among the joint states"),
)
DISCOVERY = 1.0
"""From joining the ROS domain until other nodes are known [s]."""
FIRST_BEATS = 0.05
"""The gate drops commands of a source that it has not heard alive [s]."""
ERRORS = (SpecError, ChunkError, RefusalError, NameValidationException, OSError)
"""What ends the program in one line."""


class ForeignPolicyNode(Node):
    """One policy server, one arm."""

    def __init__(self, stack: ExitStack) -> None:
        """Read the parameters, start the server and connect; `stack` closes both.

        Raises:
            one of `ERRORS`, in a line.
        """
        super().__init__("foreign_policy")
        chosen = Parameters(self, PARAMETERS)
        text, number = chosen.text, chosen.number
        if missing := [name for name in ("policy", "robot") if not text(name)]:
            raise SpecError(f"parameter '{missing[0]}' is empty; give the policy's description and the arm")
        self.robot, path = load_robot(text("robot")), Path(text("policy"))
        self._sag = GravitySag(self.robot)
        self.policy = read_foreign(path, self.robot)
        named = named_topics(text("image_topics"), list(self.policy.cameras))
        cameras = {k: topics.CameraTopics(resolved(self, t.image), resolved(self, t.info)) for k, t in named.items()}
        self._server = stack.enter_context(closing(PolicyServer(server_command(self.policy, path.parent))))
        self._dt, self._wait, self._start = 1.0 / number("rate"), number("wait"), number("start")
        self._ages = number("state_age"), number("frame_age")
        self._chunks = ChunkBlender(self.policy.size, 1.0 / self.policy.rate_hz, number("blend"), number("longest"))
        shadow = chosen.flag("shadow")
        self._inputs = ArmInputs(
            self,
            self.robot,
            text("joint_states"),
            cameras,
            heartbeat=not shadow,
            gripper_states=text("gripper_states"),
            names=JointNames.of(chosen, self.robot),
        )
        stack.callback(self._inputs.close)
        time.sleep(DISCOVERY)
        if other := twin(self):
            raise SpecError(other)
        self._arm = (ShadowArm if shadow else GatedArm)(self, self._inputs, self.robot, self._dt)
        stack.callback(self._arm.close)

    def run(self, ended: threading.Event) -> None:
        """Drive until `ended` is set; the arm is at rest then.

        Raises:
            ChunkError, SpecError, RefusalError: what stopped it.
        """
        pacer, until = Pacer(self._dt), time.monotonic() + self._wait
        began: tuple[float, np.ndarray] | None = None  # when the first target was there, and what held the arm then
        try:
            while not ended.is_set():
                pacer.wait()
                now = time.monotonic()
                state = self._arm.read()
                self._take_answer(now)
                why = self._stale(state, now)
                if state is not None and not why and not self._server.busy:
                    self._server.ask(self._stamp(state), self.policy.observe(state, self.robot))
                target = None if why else self._chunks.target(now)
                if began is not None and target is not None:
                    if now - began[0] >= FIRST_BEATS:
                        self._send(target, *began, now)
                    continue
                why = why or ("" if target is not None else "policy server: no chunk about now; is it too slow?")
                if not why:
                    why = self._unwilling()
                if not why and state is not None:
                    self._inputs.alive, began = True, (now, self._sag.held(state.q))
                elif began is not None or now > until:
                    raise RefusalError(why)
        finally:
            if self._chunks.counts:
                self.get_logger().warning(f"chunks that were dropped: {dict(self._chunks.counts)}")
            self._arm.stop("ended")
            self._arm.settle(5.0)
            self._inputs.alive = False

    def _unwilling(self) -> str:
        """Return why the gate lets nothing move; empty if it does."""
        try:
            self._arm.check()
        except RefusalError as error:
            return str(error)
        return ""

    def _send(self, target: np.ndarray, began: float, start: np.ndarray, now: float) -> None:
        n, share = len(start), min((now - began) / max(self._start, 1e-6), 1.0)
        opening = float(target[n]) if len(target) > n else None
        self._arm.send((1.0 - share) * start + share * target[:n], opening)

    def _take_answer(self, now: float) -> None:
        answer = self._server.answer()
        if answer is not None:
            stamp, outputs = answer
            dt = float(outputs["dt"]) if outputs.get("dt") is not None else None
            self._chunks.add(Chunk(stamp, self.policy.targets(outputs, self.robot), dt), now)

    def _stale(self, state: RobotState | None, now: float) -> str:
        """Return what is missing or too old to be observed; empty if nothing is."""
        state_age, frame_age = self._ages
        if state is None or not now - state.stamp <= state_age:
            return f"joint state: none within {state_age} s; {self._inputs.last_rejection or 'is the driver running?'}"
        for name in self.policy.cameras:
            frame = state.frames.get(name)
            if frame is None or not now - frame.stamp <= frame_age:
                return (
                    f"camera '{name}': no frame within {frame_age} s; {self._inputs.last_rejection or 'is it running?'}"
                )
        return ""

    def _stamp(self, state: RobotState) -> float:
        """Return when the oldest part of an observation was taken [s, monotonic]."""
        return min([state.stamp, *(state.frames[name].stamp for name in self.policy.cameras)])


def main(args: list[str] | None = None) -> int:
    """Drive until SIGINT or SIGTERM; return the exit status."""
    ended = process.start(args)
    try:
        with ExitStack() as stack:
            node = ForeignPolicyNode(stack)
            stack.enter_context(process.spinning(node))
            process.prioritise()
            node.run(ended)
        return 0
    except ERRORS as error:
        return process.fail("foreign_policy", str(error))
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    raise SystemExit(main())
