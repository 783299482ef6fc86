"""The trials of one session over ROS 2, while its processes run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lifecycle_msgs.msg import Transition
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from evaluation.operator_page.operator_state import Reply
from evaluation.report.video import save_video
from evaluation.session.protocol import PlannedTrial, Protocol
from evaluation.session.scheduler import AT_RESET, BY_OPERATOR, INTERRUPTED, OpenAttempt, TrialScheduler
from evaluation.session.store import UNDONE
from evaluation.session.trial_outcome import TrialOutcome
from evaluation.session.trials import LatencySummary, Trial
from policies.bundle import PolicyBundle
from ros_nodes import topics
from ros_nodes.recording.frame_recorder import FrameRecorder
from ros_nodes.session.homing import Homing
from ros_nodes.session.operator_interface import LOST, OperatorInterface, Undo
from ros_nodes.session.session_node import SessionError, SessionNode
from ros_nodes.session.trial_ending import BY_POLICY, Ending, by_gate, by_policy, computing_times

CONFIGURING = 120.0
"""Longest that the policy nodes take to load their bundles, all at once [s]: on a busy machine numba compiles for half
a minute the first time."""
FIRST_COMMAND = 5.0
"""Longest wait for an activated policy's first command [s]: discovery alone may take three."""
VIDEO_PERIOD = 0.1
"""Between two frames of a video that is kept for its outcome [s]."""


Mcap = Literal["none", "signals", "all"]
"""What the recorder writes beside the trials."""
TrialProgress = Callable[[int, int, str], None]
"""Called with the number of trials that count so far, the number planned, and the last one's outcome."""


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
        progress: TrialProgress | None = None,
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
            progress: called after each trial; None for a bar on the terminal.
        """
        self._scheduler, self._bundles, self._nodes = scheduler, bundles, nodes
        self._protocol: Protocol = scheduler.protocol
        self._node, self._operator, self._out_dir, self._recording = node, operator, out_dir, recording
        self._homing, self._progress = homing, progress
        self._filmed: Counter[tuple[str, bool]] = Counter()
        self._again = ""
        self._fault = ""  # of the machinery, for which the session has to pause
        self._unconfigured: set[str] = set()  # nodes whose policy refuses what it observes
        self._counts: dict[str, int] = {}  # the gate's, before the trial
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

    def configure(self) -> None:
        """Configure the policy nodes; one whose policy refuses what it observes is tried again in each of its trials.

        Raises:
            SessionError: if a node cannot be configured for another reason.
        """
        node, names = self._node, list(self._nodes.values())
        for name, accepted in zip(names, node.try_states(names, Transition.TRANSITION_CONFIGURE, CONFIGURING)):
            if accepted:
                continue
            node.policy_reason = node.policy_key = ""
            try:  # alone, so that the reason is its own
                node.change_states([name], Transition.TRANSITION_CONFIGURE, CONFIGURING)
            except SessionError:
                if node.policy_key not in BY_POLICY:
                    raise
                self._unconfigured.add(name)

    def run(self) -> None:
        """Run the trials that the store does not hold yet."""
        with _bar() if self._progress is None else nullcontext(self._progress) as progress:
            progress(self._scheduler.progress.counted, self._scheduler.progress.planned, "trials")
            if (interrupted := self._scheduler.open_attempt) is not None:
                self._settle(interrupted, f"{INTERRUPTED} {interrupted.since}")
            while planned := self._next():
                begun = time.monotonic()
                number, attempt = self._scheduler.number(planned), self._scheduler.attempt(planned)
                self._operator.take_up(planned, number, attempt, self._again if attempt else "")
                try:
                    if self._fault:
                        self._operator.pause(self._fault)
                        self._fault = ""
                    self._prepare(number, planned)
                except Undo as undo:
                    self._undo(undo.by)
                    continue
                trial, ending = self._try(planned, attempt)
                self._scheduler.record(trial)
                self._again = trial.void_reason
                self.walls.append(time.monotonic() - begun)
                outcome = "void" if trial.void else "done" if self._protocol.blinded else _word(trial.success)
                said = f"trial {number}{f' ({planned.code})' if planned.code else ''}: {outcome}"
                progress(self._scheduler.progress.counted, self._scheduler.progress.planned, said)
                self._fault = ending.reason if ending.machinery else ""

    def _next(self) -> PlannedTrial | None:
        """Return the next trial; None once there is none and the last verdict stands."""
        while True:
            planned = self._scheduler.next()
            if planned is not None:
                return planned
            try:
                self._operator.conclude()
                return None
            except Undo as undo:
                self._undo(undo.by)

    def _undo(self, by: str) -> None:
        self._scheduler.undo(by)
        undone = self._scheduler.open_attempt
        assert undone is not None
        self._settle(undone, "its verdict was undone", UNDONE)

    def _settle(self, attempt: OpenAttempt, why: str, void_reason: str = "") -> None:
        """Ask for the verdict of an attempt that has none, and record it; without an answer or a measurement: void.

        `void_reason` is that of the attempt before it.
        """
        planned, protocol = attempt.planned, self._protocol
        self._operator.take_up(planned, self._scheduler.number(planned), attempt.attempt, void_reason)
        reply = self._operator.verdict(f"Once more, how did this trial end? {why[0].upper()}{why[1:]}.")
        trial = attempt.measured or Trial(
            session=protocol.name,
            policy=planned.policy,
            bundle=self._bundles[planned.policy].hash,
            index=planned.index,
            seed=planned.seed,
            success=False,
            duration=0.0,
            initial=self._initial(planned),
            attempt=attempt.attempt,
        )
        unknown = reply is None and trial.automatic is None
        lost = f"{why}, and not measured" if unknown else ""
        note = f"{trial.note}; {why}" if trial.note else why
        trial = _judged(replace(trial, note=note), reply, lost)
        self._scheduler.record(trial)
        self._again = trial.void_reason

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

    def _try(self, planned: PlannedTrial, attempt: int) -> tuple[Trial, Ending]:
        """Drive the arm by the policy, and ask for a verdict; the attempt is on disk before the arm moves."""
        node, protocol, bundle = self._node, self._protocol, self._bundles[planned.policy]
        self._scheduler.begin(planned)
        outcome, ending = self._drive(planned)
        # What comes after the trial's end does not change its outcome
        stopped, fault = ("", "") if outcome.over else (self._operator.stopped, ending.reason)
        rows = [row for row in node.latencies if len(row) == topics.LATENCY_COLUMNS]
        self.latencies += [(planned.policy, planned.index, row) for row in rows]
        compute = computing_times(rows)
        measured = outcome.success if outcome.distance is not None else None
        trial = Trial(
            session=protocol.name,
            policy=planned.policy,
            bundle=bundle.hash,
            index=planned.index,
            seed=planned.seed,
            success=bool(measured),
            duration=outcome.duration,
            initial=self._initial(planned),
            final_distance=outcome.distance,
            time_to_success=outcome.time_to_success if measured else None,
            hold=outcome.hold,
            interventions=self._interventions(),
            latency=LatencySummary.of(compute, deadline=bundle.action.dt) if compute else None,
            automatic=measured,
            stopped=stopped or fault,
            attempt=attempt,
            note="; ".join(filter(None, (node.policy_warning, ending.reason))),
        )
        void_reason = ""
        if outcome.at_goal_from_start:
            void_reason = f"{AT_RESET}: the goal was reached before the policy moved"
        elif stopped == LOST:
            void_reason = LOST
        elif ending.machinery:
            void_reason = fault
        if not void_reason:
            self._scheduler.measured(trial)
        reply = None if void_reason else self._operator.verdict()
        if measured is None and reply is None and not void_reason:
            raise SessionError(
                f"task '{protocol.task}' has no measured success without an operator on a real arm; run it with --page"
            )
        trial = _judged(trial, reply, void_reason)
        if not trial.void:
            self._keep_video(planned, trial.success)
        node.video = None
        return trial, ending

    def _drive(self, planned: PlannedTrial) -> tuple[TrialOutcome, Ending]:
        """Let the policy drive until the trial is over, or policy, gate, operator or machinery end it."""
        node, protocol = self._node, self._protocol
        outcome = TrialOutcome.of(protocol)
        self._counts = dict(node.gate.counts)
        node.latencies.clear()
        first = planned.index < self._recording.videos
        film = first or any(self._wants_video(planned.policy, success) for success in (True, False))
        node.video_period = 0.0 if first else VIDEO_PERIOD
        node.video = [] if film else None
        node.watch_camera(film or node.recorder is not None or node.keep_frame)
        node.outcome = outcome
        node.policy_reason = node.policy_key = node.policy_warning = ""
        node.policy_done = False
        lifecycle = [self._nodes[planned.policy]]
        failure = ""
        self._operator.begin(protocol.timeout)
        try:
            if not self._ended() and self._unconfigured.intersection(lifecycle):
                node.change_states(lifecycle, Transition.TRANSITION_CONFIGURE, CONFIGURING)
                self._unconfigured.difference_update(lifecycle)
            if not self._ended():
                node.change_states(lifecycle, Transition.TRANSITION_ACTIVATE)
            node.wait(lambda: outcome.started is not None or self._ended(), FIRST_COMMAND, "the policy's first command")
            node.wait(
                lambda: outcome.over or self._ended() or (outcome.distance is None and node.policy_done),
                protocol.timeout + 2.0,
                "the end of the trial",
            )
        except SessionError as error:
            failure = str(error)
        node.outcome = None
        ended = self._ended() and not outcome.over
        for work in (
            lambda: node.change_states(lifecycle, Transition.TRANSITION_DEACTIVATE),
            lambda: node.wait(lambda: node.gate.state not in ("moving", "stopping"), 3.0, "the arm to come to rest"),
        ):
            try:
                work()
            except SessionError as error:
                failure = failure or str(error)
        node.watch_camera(node.recorder is not None or node.keep_frame)
        if ended or (failure and node.policy_reason):  # a policy that stopped by itself refuses to be deactivated
            return outcome, self._cause(planned)
        return outcome, Ending(failure, bool(failure))

    def _cause(self, planned: PlannedTrial) -> Ending:
        """Why the trial ended before its time. The policy's own reason comes after it is inactive."""
        node = self._node
        if self._operator.stopped:
            return Ending(self._operator.stopped)
        if node.policy_reason and node.policy_key != "gate_unwilling":
            return by_policy(node.policy_reason, node.policy_key)
        if node.gate.state in ("stopping", "stopped"):
            period = self._bundles[planned.policy].action.dt
            return by_gate(node.gate.reason, list(self._interventions()), node.latencies, period)
        return by_policy(node.policy_reason, node.policy_key)

    def _initial(self, planned: PlannedTrial) -> Mapping[str, float]:
        """Where the object stands; a person turns it as the plan says, the virtual arm draws its turn from the seed."""
        return {**planned.initial, "yaw": planned.yaw} if self._homing is not None else planned.initial

    def _interventions(self) -> dict[str, int]:
        """The gate's counts since the trial began."""
        before = self._counts
        return {key: n - before.get(key, 0) for key, n in self._node.gate.counts.items() if n > before.get(key, 0)}

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


def _judged(trial: Trial, reply: Reply | None, void_reason: str) -> Trial:
    """Return the trial with the operator's verdict, which decides where nothing was measured."""
    if reply is not None and reply.answer == "void":
        void_reason = f"{BY_OPERATOR}{reply.note or 'no reason given'}"
    said = None if reply is None or reply.answer == "void" else reply.answer == "success"
    return replace(
        trial,
        success=bool(said if trial.automatic is None else trial.automatic),
        verdict="operator" if trial.automatic is None else "task",
        operator=said,
        operator_note=reply.note if reply is not None else "",
        operator_name=reply.by if reply is not None else "",
        void=bool(void_reason),
        void_reason=void_reason,
    )


@contextmanager
def _bar() -> Iterator[TrialProgress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as bars:
        bar = bars.add_task("")
        yield lambda counted, planned, said: bars.update(bar, completed=counted, total=planned, description=said)


def _word(success: bool) -> str:
    return "success" if success else "failure"
