"""The trials of one session over ROS 2, while its processes run."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from lifecycle_msgs.msg import Transition
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from evaluation.report.video import save_video
from evaluation.session.protocol import PlannedTrial, Protocol
from evaluation.session.scheduler import AT_RESET, TrialScheduler
from evaluation.session.trial_outcome import TrialOutcome
from evaluation.session.trials import LatencySummary, Trial
from policies.bundle import PolicyBundle
from ros_nodes import topics
from ros_nodes.recording.frame_recorder import FrameRecorder
from ros_nodes.session.homing import Homing
from ros_nodes.session.operator_interface import LOST, VOID, OperatorInterface
from ros_nodes.session.session_node import SessionError, SessionNode

ATTEMPTS = 3
"""Attempts of a trial that ends by a stall of the machine; the last one counts in any case."""
STALE = re.compile(r"no frame for|no command for|no heartbeat for|silent for|s old \(limit")
"""Messages of policy node and gate that data did not come in time. One such stop may be a stall of the machine; a
policy that is itself too slow stops so in every attempt."""
FIRST_COMMAND = 5.0
"""Longest wait for an activated policy's first command [s]: discovery alone may take three."""
VIDEO_PERIOD = 0.1
"""Between two frames of a video that is kept for its outcome [s]."""


Mcap = Literal["none", "signals", "all"]
"""What the recorder writes beside the trials."""


@dataclass(frozen=True)
class RecordingOptions:
    """Recordings of a session beside the outcomes."""

    images: bool = False
    """Every `image_stride`-th frame, rectified to the policies' camera, with the joints: `images.npz`."""
    image_stride: int = 2
    videos: int = 0
    """Raw frames of each policy's first trials: `video_<policy>_<index>.npz`."""
    failures: int = 0
    """Videos of each policy's first failures, ten frames a second, and of one success, likewise."""
    mcap: Mcap = "none"
    """`signals`: all topics but the pictures, `all`: those too (some 10 MB a second)."""


class TrialRunner:
    """Runs the open trials, one after the other."""

    def __init__(
        self,
        scheduler: TrialScheduler,
        bundles: Mapping[str, PolicyBundle],
        nodes: Mapping[str, str],
        node: SessionNode,
        operator: OperatorInterface,
        out_dir: Path,
        recording: RecordingOptions,
        homing: Homing | None = None,
    ):
        """Prepare to run.

        Args:
            scheduler: returns the open trials, and records.
            bundles: by the policy's name.
            nodes: names of the policy nodes, by the policy's name.
            node: the session's topics and services.
            operator: starts and judges the trials.
            out_dir: gets the videos.
            recording: which.
            homing: brings a real arm home before each trial; None where placing the object does.
        """
        self._scheduler, self._bundles, self._nodes = scheduler, bundles, nodes
        self._protocol: Protocol = scheduler.protocol
        self._node, self._operator, self._out_dir, self._recording = node, operator, out_dir, recording
        self._homing = homing
        self._filmed: Counter[tuple[str, bool]] = Counter()
        self._again = ""
        self.walls: list[float] = []
        """Of each trial [s]."""
        self.videos: dict[str, Path] = {}
        self.latencies: list[tuple[str, int, list[float]]] = []

    def record_images(self) -> None:
        """Record the policies' images from now on. Raises SessionError if no policy has a camera."""
        cameras = {name: each for bundle in self._bundles.values() for name, each in bundle.cameras.items()}
        if not cameras:
            raise SessionError("no bundle of this session has a camera: there are no images to record")
        self._node.recorder = FrameRecorder(cameras, self._recording.image_stride)

    def run(self) -> None:
        """Run the trials that the store does not hold yet."""
        progress_of = self._scheduler.progress
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns) as progress:
            bar = progress.add_task("trials", total=progress_of.planned, completed=progress_of.counted)
            while planned := self._scheduler.next():
                begun = time.monotonic()
                number, attempt = self._scheduler.number(planned), self._scheduler.attempt(planned)
                self._operator.take_up(planned, number, attempt, self._again if attempt else "")
                self._prepare(number, planned)
                trial = self._try(planned, attempt)
                self._scheduler.record(trial)
                self._again = trial.void_reason
                self.walls.append(time.monotonic() - begun)
                outcome = "void" if trial.void else "done" if self._protocol.blinded else _word(trial.success)
                said = f"trial {number}{f' ({planned.code})' if planned.code else ''}: {outcome}"
                progress.update(bar, description=said, completed=self._scheduler.progress.counted)

    def _prepare(self, number: int, planned: PlannedTrial) -> None:
        """Return when a person has started the trial: no stop is latched, the arm is at home, the object placed."""
        while True:
            try:
                if self._is_prepared(number, planned):
                    return
            except SessionError as error:
                self._operator.pause(str(error))

    def _is_prepared(self, number: int, planned: PlannedTrial) -> bool:
        """Take the next step; return whether it was the last. Whatever stops the arm begins anew with the stop."""
        node, operator, homing = self._node, self._operator, self._homing
        if operator.stopped:
            node.wait(lambda: node.gate.state == "stopped", 5.0, "the safety gate to stop; see its log")
        node.gate_at_rest()
        if node.gate.state == "stopped":
            self._clear_stop()
        elif homing is not None and not homing.at_home:
            if operator.move_home():
                homing.go(lambda: bool(operator.stopped))
        else:
            operator.placing()
            # The seed of the appearance is the place's: every policy gets the same light and the same cube
            node.place(number, planned.initial["x"], planned.initial["y"], planned.seed % 2**31)
            # The arm may have been moved while its operator placed the object
            return operator.prepare() and node.gate.state == "ready" and (homing is None or homing.at_home)
        return False

    def _clear_stop(self) -> None:
        stopped, gate = self._operator.stopped, self._node.gate.reason
        self._operator.clear_stop(f"{stopped}; safety gate: {gate}" if stopped else gate)
        refused = self._node.clear_stop()
        if refused:
            raise SessionError(f"the safety gate stays stopped: {refused}")

    def _try(self, planned: PlannedTrial, attempt: int) -> Trial:
        node, protocol = self._node, self._protocol
        outcome = TrialOutcome.of(protocol)
        counts = dict(node.gate.counts)
        node.latencies.clear()
        first = planned.index < self._recording.videos
        film = first or any(self._wants_video(planned.policy, success) for success in (True, False))
        node.video_period = 0.0 if first else VIDEO_PERIOD
        node.video = [] if film else None
        node.watch_camera(film or node.recorder is not None or node.keep_frame)
        node.outcome = outcome
        node.policy_reason = ""
        lifecycle = [self._nodes[planned.policy]]
        note = ""
        self._operator.begin(protocol.timeout)
        try:
            if not self._ended():
                node.change_states(lifecycle, Transition.TRANSITION_ACTIVATE)
            node.wait(lambda: outcome.started is not None or self._ended(), FIRST_COMMAND, "the policy's first command")
            node.wait(lambda: outcome.over or self._ended(), protocol.timeout + 2.0, "the end of the trial")
        except SessionError as error:
            note = str(error)
        node.outcome = None
        stopped = self._operator.stopped
        ended = self._ended() and not outcome.over
        try:
            node.change_states(lifecycle, Transition.TRANSITION_DEACTIVATE)
        except SessionError as error:
            if not node.policy_reason:  # else it has deactivated itself, and said why
                note = note or str(error)
        note = note or (self._cause() if ended else "")
        node.watch_camera(node.recorder is not None or node.keep_frame)
        node.wait(lambda: node.gate.state not in ("moving", "stopping"), 3.0, "the arm to come to rest")
        bundle = self._bundles[planned.policy]
        rows = [row for row in node.latencies if len(row) == topics.LATENCY_COLUMNS]
        self.latencies += [(planned.policy, planned.index, row) for row in rows]
        compute = [row[2] for row in rows if np.isfinite(row[2])]
        measured = outcome.success if outcome.distance is not None else None
        void_reason = ""
        if outcome.at_goal_from_start:
            void_reason = f"{AT_RESET}: the goal was reached before the policy moved"
        elif stopped == LOST:
            void_reason = LOST
        elif not outcome.success and not stopped and STALE.search(note) and attempt + 1 < ATTEMPTS:
            void_reason = note
        reply = None if void_reason else self._operator.verdict()
        if reply is not None and reply.answer == "void":
            void_reason = f"{VOID}{reply.note or 'no reason given'}"
        said = None if reply is None or reply.answer == "void" else reply.answer == "success"
        if measured is None and said is None and not void_reason:
            raise SessionError(
                f"task '{protocol.task}' has no measured success without an operator on a real arm; run it with --page"
            )
        success = bool(said if measured is None else measured)
        if not void_reason:
            self._keep_video(planned, success)
        node.video = None
        interventions = {key: n - counts.get(key, 0) for key, n in node.gate.counts.items() if n > counts.get(key, 0)}
        return Trial(
            session=protocol.name,
            policy=planned.policy,
            bundle=bundle.hash,
            index=planned.index,
            seed=planned.seed,
            success=success,
            duration=outcome.duration,
            # A person turns the object as the plan says; the virtual arm draws its turn from the seed
            initial={**planned.initial, "yaw": planned.yaw} if self._homing is not None else planned.initial,
            final_distance=outcome.distance,
            time_to_success=outcome.time_to_success if success else None,
            hold=outcome.hold,
            interventions=interventions,
            latency=LatencySummary.of(compute, deadline=bundle.action.dt) if compute else None,
            verdict="operator" if measured is None else "task",
            automatic=measured,
            operator=said,
            operator_note=reply.note if reply is not None else "",
            stopped=stopped or (note if ended else ""),
            void=bool(void_reason),
            void_reason=void_reason,
            attempt=attempt,
            note=note,
        )

    def _wants_video(self, policy: str, success: bool) -> bool:
        wanted = min(1, self._recording.failures) if success else self._recording.failures
        return self._filmed[policy, success] < wanted

    def _keep_video(self, planned: PlannedTrial, success: bool) -> None:
        wanted = planned.index < self._recording.videos or self._wants_video(planned.policy, success)
        if not wanted or not self._node.video:
            return
        self._filmed[planned.policy, success] += 1
        stamps, frames = zip(*self._node.video)
        path = self._out_dir / f"video_{planned.policy}_{planned.index}.npz"
        self.videos[f"{planned.policy}_{planned.index}"] = save_video(frames, stamps, path)

    def _ended(self) -> bool:
        """Whether gate, policy or operator ended the trial before its time."""
        stopped = self._node.gate.state in ("stopping", "stopped")
        return stopped or bool(self._node.policy_reason) or bool(self._operator.stopped)

    def _cause(self) -> str:
        """Why. The policy's own reason comes after it is inactive."""
        if self._operator.stopped:
            return self._operator.stopped
        if self._node.policy_reason:
            return f"the policy stopped: {self._node.policy_reason}"
        return f"the safety gate stopped the arm: {self._node.gate.reason}"


def _word(success: bool) -> str:
    return "success" if success else "failure"
