"""A session on the virtual arm: every policy of a protocol, at the same places, through ROS 2 topics alone.

The session starts the virtual arm, the safety gate and one policy node a bundle as processes of their own,
in a ROS domain of its own; it does by topic and service what an operator does by hand, and writes each
trial to the store before it starts the next.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rclpy
from lifecycle_msgs.msg import Transition
from rclpy.context import Context
from rclpy.signals import SignalHandlerOptions
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from evaluation.protocol import PlannedPolicy, PlannedTrial, Protocol, Workspace
from evaluation.trials import LatencySummary, Trial, TrialStore
from policies.bundle import PolicyBundle
from ros_nodes.children import Children, Interruption
from ros_nodes.frame_recorder import FrameRecorder, save_video
from ros_nodes.ros_environment import free_domain, isolated
from ros_nodes.session_node import SessionError, SessionNode
from ros_nodes.trial_judge import TrialJudge
from sim.hidden_reality import HiddenReality
from sim.tasks.reach import TOLERANCE, X_RANGE, Y_RANGE, Reach

Command = Sequence[str]
RENDERER_FILE = "renderer.txt"
FIRST_COMMAND = 5.0
"""Longest wait for an activated policy's first command [s]: discovery alone may take three."""


def _policy_command(node: str, bundle: Path) -> Command:
    return (
        *(sys.executable, "-m", "ros_nodes.policy_node", "--ros-args"),
        *("-r", f"policy_node:__node:={node}", "-p", f"bundle:={bundle}"),
    )


def _gate_command(bundle: Path) -> Command:
    return (sys.executable, "-m", "ros_nodes.safety_gate", "--ros-args", "-p", f"bundle:={bundle}")


def _arm_command(hidden: Path | None) -> Command:
    chosen = ("--ros-args", "-p", f"hidden:={hidden}") if hidden is not None else ()
    return (sys.executable, "-m", "ros_nodes.virtual_arm", *chosen)


@dataclass(frozen=True)
class Processes:
    """How a session's processes are started."""

    policy: Callable[[str, Path], Command] = _policy_command
    """From the node's name and the bundle."""
    gate: Callable[[Path], Command] = _gate_command
    """From any of the bundles: it takes the arm from it."""
    arm: Callable[[Path | None], Command] = _arm_command
    """From the file with the hidden reality, if any."""


@dataclass(frozen=True)
class Recording:
    """What a session keeps beside the outcomes."""

    images: bool = False
    """Every `image_stride`-th frame as the policies see it, with the joints: `images.npz`."""
    image_stride: int = 2
    videos: int = 0
    """Raw frames of each policy's first trials: `video_<policy>_<index>.npz`."""


@dataclass(frozen=True)
class SessionResult:
    """What came of a session."""

    trials: tuple[Trial, ...]
    renderer: str
    """What drew the camera's pictures."""
    wall: float
    """Seconds for everything, start-up included."""
    seconds_per_trial: float
    """Median wall time of one trial [s]."""
    images: Path | None = None
    videos: Mapping[str, Path] = field(default_factory=dict)
    """By `<policy>_<index>`."""
    latencies: Path | None = None
    """`latency.npz`: `policy` (N,) str, `index` (N,), `latency` (N, 4) [s] as on `topics.POLICY_LATENCY`."""


def reach_protocol(bundles: Mapping[str, Path], trials: int, seed: int, name: str = "virtual") -> Protocol:
    """Plan `trials` a policy where `reach` was trained, judged as there; equal seeds give equal places."""
    policies = tuple(PlannedPolicy(policy, PolicyBundle.load(path).hash) for policy, path in bundles.items())
    return Protocol(
        name=name,
        task="reach",
        policies=policies,
        trials=trials,
        seed=seed,
        workspace=Workspace(*X_RANGE, *Y_RANGE),
        success_radius=TOLERANCE,
        hold_time=Reach.hold_time,
        timeout=Reach.time_limit,
    )


def run_session(
    protocol: Protocol,
    bundles: Mapping[str, Path],
    out_dir: Path,
    *,
    hidden: Path | None = None,
    recording: Recording | None = None,
    processes: Processes | None = None,
) -> SessionResult:
    """Carry out `protocol` on a virtual arm and return its trials; a session broken off goes on where it stopped.

    Args:
        protocol: what to try, where, and what success is.
        bundles: path of each of the protocol's policies.
        out_dir: gets `trials.sqlite`, `hidden_reality.json`, what `recording` asks for, and the processes' `logs`.
        hidden: JSON of a `HiddenReality`; the default reality if None.
        recording: frames to keep; none by default.
        processes: how to start them; the project's own nodes by default.

    Raises:
        ProtocolError, BundleError, SpecError: before anything is started.
        ChildDied, SessionError: if a process ends or stays silent; trials done by then are kept.
    """
    started = time.monotonic()
    protocol.validate()
    recording, processes = recording or Recording(), processes or Processes()
    loaded = _load(protocol, bundles)
    out_dir.mkdir(parents=True, exist_ok=True)
    reality = HiddenReality.load(hidden) if hidden is not None else HiddenReality()
    reality.save(out_dir / "hidden_reality.json")
    with TrialStore(out_dir / "trials.sqlite") as store:
        if _is_complete(protocol, store):
            return SessionResult(store.trials(protocol.name), _renderer_of(out_dir), 0.0, 0.0)
    with (
        Interruption() as interruption,
        TrialStore(out_dir / "trials.sqlite") as store,
        free_domain() as domain,
        Children(out_dir / "logs", isolated(domain, out_dir / "logs")) as children,
    ):
        any_bundle = next(iter(bundles.values()))
        children.start("virtual_arm", processes.arm(hidden))
        children.start("safety_gate", processes.gate(any_bundle), layer=1)
        nodes = {policy: f"policy_{i}" for i, policy in enumerate(loaded)}
        for policy, node in nodes.items():
            children.start(node, processes.policy(node, bundles[policy]), layer=2)
        context = Context()
        rclpy.init(context=context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
        first = next(iter(loaded.values()))

        def check() -> None:
            interruption.check()
            children.check()

        operator = SessionNode(context, first.robot, check)
        try:
            runner = _Runner(protocol, loaded, nodes, operator, store, out_dir, recording)
            runner.prepare()
            runner.run()
            return runner.result(time.monotonic() - started)
        finally:
            operator.close()
            context.try_shutdown()


class _Runner:
    """The trials of one session, while its processes run."""

    def __init__(
        self,
        protocol: Protocol,
        bundles: Mapping[str, PolicyBundle],
        nodes: Mapping[str, str],
        node: SessionNode,
        store: TrialStore,
        out_dir: Path,
        recording: Recording,
    ):
        self._protocol, self._bundles, self._nodes = protocol, bundles, nodes
        self._node, self._store, self._out_dir, self._recording = node, store, out_dir, recording
        self._walls: list[float] = []
        self._videos: dict[str, Path] = {}
        self._latencies: list[tuple[str, int, list[float]]] = []
        self._renderer = ""

    def prepare(self) -> None:
        """Wait for the arm, configure the policies."""
        camera = self._node.wait_for_arm()
        if self._recording.images:
            policy_camera = next((c for b in self._bundles.values() for c in b.cameras.values()), None)
            if policy_camera is None:
                raise SessionError("no bundle of this session has a camera: there are no images to record")
            self._node.recorder = FrameRecorder(policy_camera, self._recording.image_stride)
            self._node.recorder.calibrate(camera)
        self._renderer = self._node.renderer()
        (self._out_dir / RENDERER_FILE).write_text(self._renderer + "\n")
        # Long enough for a first start, when every process compiles the kinematics at once
        self._node.ready_gate(timeout=60.0)
        self._node.change_states(list(self._nodes.values()), Transition.TRANSITION_CONFIGURE, timeout=30.0)

    def run(self) -> None:
        """Carry out what the store does not hold yet."""
        schedule = self._protocol.schedule()
        done = {policy: self._store.done(self._protocol.name, policy) for policy in self._nodes}
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns) as progress:
            bar = progress.add_task("trials", total=len(schedule))
            for number, planned in enumerate(schedule, start=1):
                if planned.index not in done[planned.policy]:
                    begun = time.monotonic()
                    trial = self._try(number, planned)
                    self._store.add(trial)
                    self._walls.append(time.monotonic() - begun)
                    distance = "" if trial.final_distance is None else f", {100 * trial.final_distance:.1f} cm"
                    outcome = ("success" if trial.success else "failure") + distance
                    progress.update(bar, description=f"trial {number} ({planned.code}): {outcome}")
                progress.advance(bar)

    def result(self, wall: float) -> SessionResult:
        """Write what was recorded."""
        recorder = self._node.recorder
        latencies = None
        if self._latencies:
            latencies = self._out_dir / "latency.npz"
            policies, indexes, rows = zip(*self._latencies)
            np.savez_compressed(latencies, policy=np.array(policies), index=np.array(indexes), latency=np.array(rows))
        return SessionResult(
            self._store.trials(self._protocol.name),
            self._renderer,
            wall,
            float(np.median(self._walls)) if self._walls else 0.0,
            recorder.save(self._out_dir / "images.npz") if recorder is not None else None,
            self._videos,
            latencies,
        )

    def _try(self, number: int, planned: PlannedTrial) -> Trial:
        node, protocol = self._node, self._protocol
        judge = TrialJudge(protocol.success_radius, protocol.hold_time, protocol.timeout)
        film = planned.index < self._recording.videos
        x, y = planned.initial["x"], planned.initial["y"]
        # The seed of looks is the place's: every policy sees the same light and the same cube
        node.place(number, x, y, planned.seed % 2**31)
        node.ready_gate()
        counts = dict(node.gate.counts)
        node.latencies.clear()
        node.video = [] if film else None
        node.watch_camera(film or node.recorder is not None)
        node.judge = judge
        node.policy_reason = ""
        lifecycle = [self._nodes[planned.policy]]
        note = ""
        try:
            node.change_states(lifecycle, Transition.TRANSITION_ACTIVATE)
            node.wait(
                lambda: judge.started is not None or bool(self._ended()), FIRST_COMMAND, "the policy's first command"
            )
            node.wait(lambda: judge.over or bool(self._ended()), protocol.timeout + 2.0, "the end of the trial")
            note = self._ended()
        except SessionError as error:
            note = str(error)
        node.judge = None
        if not node.policy_reason:  # else it has deactivated itself
            try:
                node.change_states(lifecycle, Transition.TRANSITION_DEACTIVATE)
            except SessionError as error:
                note = f"{note}; {error}" if note else str(error)
        node.watch_camera(node.recorder is not None)
        node.wait(lambda: node.gate.state not in ("moving", "stopping"), 3.0, "the arm to come to rest")
        if film and node.video:
            stamps, frames = zip(*node.video)
            path = self._out_dir / f"video_{planned.policy}_{planned.index}.npz"
            self._videos[f"{planned.policy}_{planned.index}"] = save_video(list(frames), list(stamps), path)
        bundle = self._bundles[planned.policy]
        rows = [row for row in node.latencies if len(row) == 4]
        self._latencies += [(planned.policy, planned.index, row) for row in rows]
        compute = [row[2] for row in rows if np.isfinite(row[2])]
        interventions = {key: n - counts.get(key, 0) for key, n in node.gate.counts.items() if n > counts.get(key, 0)}
        return Trial(
            session=protocol.name,
            policy=planned.policy,
            bundle=bundle.hash,
            index=planned.index,
            seed=planned.seed,
            success=judge.success,
            duration=judge.duration,
            initial=planned.initial,
            final_distance=judge.distance,
            time_to_success=judge.time_to_success,
            hold=judge.hold,
            interventions=interventions,
            latency=LatencySummary.of(compute, deadline=bundle.action.dt) if compute else None,
            void=judge.at_goal_from_start,
            void_reason="the goal was reached before the policy moved" if judge.at_goal_from_start else "",
            attempt=self._store.attempts(protocol.name, planned.policy, planned.index),
            note=note,
        )

    def _ended(self) -> str:
        """Why the trial is over before its time; empty while it is not."""
        gate = self._node.gate
        if gate.state in ("stopping", "stopped"):
            return f"the safety gate stopped the arm: {gate.reason}"
        return f"the policy stopped: {self._node.policy_reason}" if self._node.policy_reason else ""


def _is_complete(protocol: Protocol, store: TrialStore) -> bool:
    every = set(range(protocol.trials))
    return all(store.done(protocol.name, policy.name) >= every for policy in protocol.policies)


def _renderer_of(out_dir: Path) -> str:
    path = out_dir / RENDERER_FILE
    return path.read_text().strip() if path.is_file() else "unknown"


def _load(protocol: Protocol, bundles: Mapping[str, Path]) -> dict[str, PolicyBundle]:
    """Load every bundle, in the protocol's order, and see that it is the registered one."""
    names = [policy.name for policy in protocol.policies]
    if sorted(names) != sorted(bundles):
        raise SessionError(f"the protocol's policies are {sorted(names)}, the bundles given {sorted(bundles)}")
    loaded = {}
    for policy in protocol.policies:
        bundle = PolicyBundle.load(bundles[policy.name])
        if bundle.hash != policy.bundle:
            raise SessionError(
                f"policy '{policy.name}': the bundle {bundles[policy.name]} has SHA-256 {bundle.hash}, the protocol "
                f"registered {policy.bundle}; use that bundle, or register a new protocol"
            )
        loaded[policy.name] = bundle
    return loaded
