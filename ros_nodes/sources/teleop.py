"""Teleoperation through the safety gate: a keyboard, a gamepad or a leader arm steers, and episodes are recorded.

    sim2real teleop --robot franka_panda --virtual reach --out shown
    python -m ros_nodes.sources.teleop --ros-args -p robot:=so101.json -p out:=shown -p cameras:=front=/camera/image_raw

It commands the arm only while the operator's dead-man is held, on the topic of a policy and behind the same gate.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

# Before the arm's kinematics are imported: numba would compile for many seconds when the dead-man is first held
os.environ["NUMBA_DISABLE_JIT"] = "1"

import rclpy
from rclpy.client import Client
from rclpy.exceptions import NameValidationException
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import String
from std_srvs.srv import Trigger

from evaluation.operator_page.operator_state import OperatorError, OperatorState
from evaluation.operator_page.server import PageServer
from evaluation.session.demonstrations import AboutDemonstrations, DemonstrationLog
from evaluation.session.trials import TrialError
from policies.runtime.deadlines import Pacer
from policies.runtime.loop import RefusalError
from robots.host.locks import FolderLock, LockedError
from robots.registry import load_robot
from robots.servos.homing import HomingError
from robots.servos.serial_port import PortError
from robots.specs import SpecError
from robots.teleoperation.steering import Press, Speeds, Steering, Teleoperator
from ros_nodes import process, qos, topics
from ros_nodes.arm.gated_arm import GatedArm, twin
from ros_nodes.arm.inputs import ArmInputs
from ros_nodes.arm.joint_names import JointNames
from ros_nodes.messages import read_report
from ros_nodes.parameters import Parameters, resolved
from ros_nodes.session.child_processes import ChildDied, Children
from ros_nodes.sources.camera_feed import CameraFeed
from ros_nodes.sources.episodes import EpisodeKeeper
from ros_nodes.sources.operator_view import PageView, Shown, TerminalView
from ros_nodes.sources.teleop_settings import (
    PARAMETERS,
    camera_list,
    open_device,
    open_leader,
    read_mode,
    read_settings,
)
from ros_nodes.sources.virtual_lab import ScenePlacer, VirtualScene, lab_processes

del os.environ["NUMBA_DISABLE_JIT"]  # whatever else this process imports or starts may compile

DISCOVERY = 1.0
"""From joining the ROS domain until other nodes are known, and between two looks [s]."""
FIRST_BEATS = 0.05
"""The gate drops commands of a source that it has not heard alive [s]."""
VIEW_PERIOD = 0.2
"""Between two updates of what the operator sees [s]."""
ERRORS = (SpecError, TrialError, RefusalError, HomingError, PortError, OperatorError, ChildDied, LockedError, OSError)
"""What ends the program in one line."""


class TeleopNode(Node):
    """One operator, one arm."""

    def __init__(self, children: Children, scene: VirtualScene | None, stack: ExitStack) -> None:
        """Connect to arm, device, cameras and page.

        Args:
            children: starts the recorder.
            scene: what stands in the virtual lab; None for a real arm.
            stack: closes what is opened.

        Raises:
            one of `ERRORS`, in a line.
        """
        super().__init__("teleop")
        chosen = Parameters(self, PARAMETERS)
        text, number = chosen.text, chosen.number
        self.robot = load_robot(text("robot"))
        self._children, self._dt = children, 1.0 / number("rate")
        names = JointNames.of(chosen, self.robot)
        self._cameras = camera_list(text("cameras"))
        self._placer = None if scene is None else ScenePlacer(self, scene, self.robot)
        if self._placer is not None and not self._cameras:
            self._cameras = {k: each.image for k, each in topics.camera_topics(self._placer.cameras).items()}
        self._cameras = {name: resolved(self, topic) for name, topic in self._cameras.items()}
        speeds = Speeds(number("speed"), number("turn_speed"), number("joint_speed"))
        self._leader = open_leader(chosen, self.robot, stack)
        mode = read_mode(text("mode"))
        self._operator = Teleoperator(
            self.robot, mode, number("rate"), speeds, chosen.flag("gripper"), self._leader is not None
        )
        self._view, state = TerminalView(), OperatorState()
        self._page: PageView | None = None
        if chosen.flag("page") or text("device") == "page":
            server = stack.enter_context(PageServer(state, text("host"), int(number("port"))))
            self._page = PageView(state, Path(text("out")).name or "teleoperation")
            self._view.say(f"page: {server.url}")
        self._device, help_text = open_device(chosen, mode, self.robot, self._leader is not None, state)
        stack.callback(self._device.close)
        print(help_text, flush=True)
        self._feed = CameraFeed(self, self._cameras)
        self._inputs = ArmInputs(
            self, self.robot, text("joint_states"), {}, True, gripper_states=text("gripper_states"), names=names
        )
        stack.callback(self._inputs.close)
        self._arm: GatedArm | None = None
        self._look_at = time.monotonic() + DISCOVERY
        self._stop: Client = self.create_client(Trigger, topics.GATE_STOP)
        self._reset: Client = self.create_client(Trigger, topics.GATE_RESET)
        self._answers: list[str] = []
        self._episodes: EpisodeKeeper | None = None
        if text("out"):
            words = text("instruction") or text("virtual") or "demonstration"
            about = AboutDemonstrations(text("robot"), words, self._cameras)
            log = stack.enter_context(contextlib.closing(DemonstrationLog(Path(text("out")), about)))
            self._episodes = EpisodeKeeper(log, int(number("episodes")), self._listed)
            self._start_recorder(log.next_recording())
        self.create_subscription(String, topics.RECORDER_STATE, self._on_recorder, qos.LATCHED)
        self._recorder = "recorder: not heard yet; it takes a few seconds to start"
        self._alive_since: float | None = None
        self._notice, self._held, self._done = "looking for other sources of commands", False, False

    def run(self, ended: threading.Event) -> None:
        """Steer until the operator quits, or `ended` is set; the arm is at rest then.

        Raises:
            ChildDied: if a process that this one started has ended.
        """
        pacer, shown = Pacer(self._dt), 0.0
        try:
            while not ended.is_set() and not self._done:
                pacer.wait()
                self._children.check()
                now = time.monotonic()
                steering = self._device.read(now)
                for press in (*self._device.presses(), *(self._page.presses() if self._page else ())):
                    self._take(press)
                if self._episodes is not None:
                    self._episodes.update(now)
                if blocked := self._blocked(now):
                    self._release(blocked)
                else:
                    self._steer(steering, now)
                while self._answers:
                    self._view.say(self._answers.pop(0), bells=2)
                if now - shown >= VIEW_PERIOD:
                    shown = now
                    self._show(now)
        finally:
            self._release("ended")
            self._view.end()
            if self._arm is not None:
                self._arm.settle(5.0)

    def close(self) -> None:
        """Stop publishing."""
        if self._arm is not None:
            self._arm.close()
        self.destroy_node()

    # Motion

    def _steer(self, steering: Steering, now: float) -> None:
        if self._arm is None:
            self._join(now)
            return
        leader = self._leader.newest() if self._leader is not None else None
        target = self._operator.target(steering, self._arm.read(), now, leader)
        if target is None:
            why = self._operator.reason
            trouble = self._leader.trouble if self._leader is not None else ""
            self._release(trouble or why)
            return
        if self._alive_since is None:
            self._inputs.alive, self._alive_since = True, now
        if now - self._alive_since < FIRST_BEATS:
            self._operator.release()  # the first target counts from where the arm is then
            return
        try:
            self._arm.send(target.q, target.opening)
        except RefusalError as error:
            self._release(str(error))
            return
        self._notice, self._held = "", True

    def _join(self, now: float) -> None:
        """Become a source of commands, unless there is another of this name."""
        if now >= self._look_at:
            self._look_at = now + DISCOVERY
            self._notice = twin(self)
            if not self._notice:
                self._arm = GatedArm(self, self._inputs, self.robot, self._dt)

    def _release(self, notice: str = "") -> None:
        """Command nothing, and let the gate bring the arm to rest."""
        if self._held and self._arm is not None:
            self._arm.stop("released")
        self._operator.release()
        self._inputs.alive, self._alive_since, self._held = False, None, False
        self._notice = notice

    def _blocked(self, now: float) -> str:
        """Return why an episode that is being recorded must not go on; empty if it may."""
        episodes = self._episodes
        if episodes is None or episodes.phase == "ready":
            return ""
        if episodes.phase == "recording":
            episodes.spoiled = episodes.spoiled or self._feed.late(now) or self._recorder
            return episodes.spoiled and f"{episodes.spoiled}; Backspace discards the episode"
        return "this episode was interrupted: keep or discard it first" if episodes.phase == "judging" else "placing"

    # Keys

    def _take(self, press: Press) -> None:
        if press == "stop":
            self._release("stop was pressed")
            self._call(self._stop, "stop")
        elif press == "reset":
            self._release()
            self._call(self._reset, "reset")
        elif press in ("faster", "slower"):
            factor = 1.25 if press == "faster" else 0.8
            self._operator.share = min(1.0, max(0.1, self._operator.share * factor))
        elif press == "quit":
            self._done = True
        elif self._episodes is not None:
            self._release()  # what is noted takes a moment, in which nothing would be commanded
            if press == "begin":
                not_yet = self._feed.late(time.monotonic()) or self._recorder
                self._say(self._episodes.begin(self._placer.place if self._placer else None, not_yet))
            else:
                self._say(self._episodes.end(press))

    def _call(self, client: Client, what: str) -> None:
        if not client.service_is_ready():
            self._answers.append(f"{what}: the safety gate is not there")
            return
        future = client.call_async(Trigger.Request())

        def said(done: Future) -> None:
            response = done.result()
            self._answers.append(f"{what}: {response.message if response is not None else 'no answer'}")

        future.add_done_callback(said)

    # What the operator sees

    def _say(self, text: str) -> None:
        self._view.say(text, bells=1)

    def _listed(self, number: int, attempt: int, verdict: str) -> None:
        if self._page is not None:
            self._page.list_episode(number, attempt, verdict)

    def _show(self, now: float) -> None:
        episodes = self._episodes
        about = episodes.counts(now) if episodes is not None else ("watching", 0, 0, 0, 0, 0.0)
        gate = self._inputs.gate_state if self._inputs.gate_silence() < 1.0 else ""
        shown = Shown(
            *about,
            gate=gate,
            gate_reason=self._inputs.gate_reason if gate else "",
            held=self._held,
            share=self._operator.share,
            notice=self._notice,
        )
        self._view.show(shown)
        if self._page is not None:
            self._page.show(shown)
            if (picture := self._feed.picture()) is not None:
                self._page.show_picture(picture)

    # Parts

    def _start_recorder(self, folder: Path) -> None:
        space = self.get_namespace()
        remap = ("-r", f"__ns:={space}") if space.strip("/") else ()
        command = (sys.executable, "-m", "ros_nodes.recorder", "--ros-args", "-p", f"out:={folder}")
        self._children.start("recorder", (*command, "-p", "stop_arm:=true", *remap), layer=1)

    def _on_recorder(self, message: String) -> None:
        try:
            report = read_report(message.data, "state", "reason")
        except SpecError as error:
            self._recorder = f"recorder: {error}"
            return
        state = report["state"]
        self._recorder = "" if state == "recording" else f"recorder: {state}: {report['reason']}"


@contextlib.contextmanager
def _ros(args: list[str] | None) -> Iterator[threading.Event]:
    ended = process.start(args)
    try:
        yield ended
    finally:
        rclpy.try_shutdown()


def main(args: list[str] | None = None) -> int:
    """Steer until the operator quits, SIGINT or SIGTERM; return the exit status."""
    try:
        settings = read_settings(args)
        with ExitStack() as outer:
            if settings.out:
                outer.enter_context(FolderLock(settings.out))
            folder = settings.out or outer.enter_context(tempfile.TemporaryDirectory(prefix="teleop_"))
            logs = Path(folder) / "logs"
            children = outer.enter_context(lab_processes(settings.scene, settings.gripper, logs))
            ended = outer.enter_context(_ros(args))
            with ExitStack() as stack:
                node = TeleopNode(children, settings.scene, stack)
                stack.callback(node.close)
                stack.enter_context(process.spinning(node))
                process.prioritise()
                node.run(ended)
        return 0
    except (*ERRORS, NameValidationException) as error:
        return process.fail("teleop", str(error))


if __name__ == "__main__":
    raise SystemExit(main())
