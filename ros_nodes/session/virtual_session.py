"""A session over ROS 2: every policy of a protocol at the same places, on the virtual arm or a real one.

It starts one policy node per bundle, and for the virtual arm that and its safety gate too, in a ROS domain of their
own; it works through topics and services alone, and writes each trial to the store before it starts the next.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.signals import SignalHandlerOptions

from evaluation.session.protocol import Protocol, Registration
from evaluation.session.scheduler import TrialScheduler
from evaluation.session.session_folder import SessionFolder, begin_session
from evaluation.session.store import TrialStore
from evaluation.session.trials import Trial
from policies.bundle import PolicyBundle
from policies.bundle.things import check_asked
from robots.camera import CameraModel
from robots.host.locks import FolderLock
from robots.host.writing import write_arrays, write_text
from robots.rig import load_rig
from ros_nodes.arm.calibrated_cameras import read_calibrated, with_pose
from ros_nodes.session.child_processes import Children, Interruption
from ros_nodes.session.connection import Connection
from ros_nodes.session.homing import Homing
from ros_nodes.session.operator_interface import OperatorInterface, Unattended
from ros_nodes.session.ros_environment import free_domain, isolated
from ros_nodes.session.session_node import SessionError, SessionNode
from ros_nodes.session.trial_runner import RecordingOptions, TrialProgress, TrialRunner
from ros_nodes.topics import camera_topics
from ros_nodes.virtual_arm import BARE_RIG
from sim.tasks import load_task
from sim.tasks.reach import ABOVE
from sim.virtual_arm.hidden_arms import hidden_reality

CUBE = 0.04
"""Edge of the nominal cube of `reach` [m]."""
CommandLine = Sequence[str]
Robot = Literal["virtual", "ros"]
RENDERER_FILE = "renderer.txt"
IMAGES, LATENCIES = "images.npz", "latency.npz"
"""In the session's folder: recorded frames, and computing times of the policies."""
GOAL_HEIGHT = {"reach": CUBE / 2 + ABOVE}
"""Height above the table [m] of the goal, of tasks whose success follows from the measured joints of a real arm."""


def _policy_command(node: str, bundle: Path) -> CommandLine:
    return (
        *(sys.executable, "-m", "ros_nodes.policy_node", "--ros-args"),
        *("-r", f"policy_node:__node:={node}", "-p", f"bundle:={bundle}"),
    )


def _gate_command(bundle: Path) -> CommandLine:
    return (sys.executable, "-m", "ros_nodes.safety_gate", "--ros-args", "-p", f"bundle:={bundle}")


def _arm_command(bundle: Path, hidden: Path | None) -> CommandLine:
    chosen = ("-p", f"hidden:={hidden}") if hidden is not None else ()
    return (sys.executable, "-m", "ros_nodes.virtual_arm", "--ros-args", "-p", f"bundle:={bundle}", *chosen)


def _recorder_command(folder: Path) -> CommandLine:
    stop = ("-p", "stop_arm:=true")
    return (sys.executable, "-m", "ros_nodes.recorder", "--ros-args", "-p", f"out:={folder}", *stop)


@dataclass(frozen=True)
class Processes:
    """How a session's processes are started."""

    policy: Callable[[str, Path], CommandLine] = _policy_command
    """From the node's name and the bundle."""
    gate: Callable[[Path], CommandLine] = _gate_command
    """From any of the bundles, for its arm."""
    arm: Callable[[Path, Path | None], CommandLine] = _arm_command
    """From any of the bundles, for arm, task and cameras, and the file with the hidden reality, if any."""
    recorder: Callable[[Path], CommandLine] = _recorder_command
    """From the folder of the recording."""


@dataclass(frozen=True)
class SessionResult:
    """Trials and recordings of a session."""

    trials: tuple[Trial, ...]
    renderer: str
    """Renderer of the camera's images."""
    wall: float
    """Seconds for everything, start-up included."""
    seconds_per_trial: float
    """Median wall time of one trial [s]."""
    images: Path | None = None
    videos: Mapping[str, Path] = field(default_factory=dict)
    """By `<policy>_<index>`."""
    latencies: Path | None = None
    """`latency.npz`: `policy` (N,) str, `index` (N,), `latency` (N, 5) [s] as on `topics.POLICY_LATENCY`."""


FIRST_START = 60.0
"""Longest wait for processes that compile their kinematics and read an arm's meshes, all at once [s]."""
ARM_THERE = 30.0
"""Longest wait for an arm that is there already [s]."""
MakeInterface = Callable[[SessionNode, TrialScheduler, CameraModel], OperatorInterface]
"""Makes the operator interface of a session; the camera's pose is known."""


def run_session(
    protocol: Protocol | Registration,
    bundles: Mapping[str, Path],
    out_dir: Path,
    *,
    robot: Robot = "virtual",
    hidden: Path | None = None,
    recording: RecordingOptions | None = None,
    processes: Processes | None = None,
    make_interface: MakeInterface | None = None,
    camera_calibration: Path | None = None,
    connection: Connection | None = None,
    progress: TrialProgress | None = None,
) -> SessionResult:
    """Carry out `protocol` and return its trials; a session broken off goes on where it stopped.

    Args:
        protocol: what to try, where, and what success is; registered in `out_dir` if it was not before.
        bundles: path of each of the protocol's policies.
        out_dir: gets `trials.sqlite`, `hidden_reality.json`, what `recording` asks for, and the processes' `logs`.
        robot: `virtual` starts a virtual arm and its gate in a ROS domain of their own; `ros` uses the arm and the
            gate that are there in this environment's domain.
        hidden: JSON of a `HiddenReality` for the virtual arm; the default reality if None.
        recording: frames to keep; none by default.
        processes: how to start them; the project's own nodes by default.
        make_interface: makes what starts and judges the trials; for the virtual arm `Unattended` by default.
        camera_calibration: JSON of the camera as `sim2real calibrate` found it, instead of its CameraInfo.
        connection: names of a real arm's topics, and its policy nodes' parameters; the usual ones by default.
        progress: called after each trial; a bar on the terminal by default.

    Raises:
        ProtocolError, BundleError, SpecError: before anything is started.
        LockedError: if another process carries the session out.
        ChildDied, SessionError: if a process ends or stays silent; trials done by then are kept.
    """
    started = time.monotonic()
    plan = protocol.protocol if isinstance(protocol, Registration) else protocol
    plan.validate()
    recording, processes = recording or RecordingOptions(), processes or Processes()
    connection = connection or Connection()
    loaded = _load(plan, bundles)
    cameras = _cameras(loaded)
    calibrated = read_calibrated(str(camera_calibration), list(cameras)) if camera_calibration is not None else {}
    if robot != "virtual" and make_interface is None:
        raise SessionError("a real arm needs an operator, who clears its stops and starts it; run it with --page")
    out_dir.mkdir(parents=True, exist_ok=True)
    details = {}
    if robot == "virtual":
        reality = hidden_reality(next(iter(loaded.values())).robot, hidden)
        reality.save(out_dir / "hidden_reality.json")
        details = {"hidden": str(hidden or "")}
    folder = begin_session(out_dir, protocol, robot, details)
    with folder.store() as store:
        scheduler = TrialScheduler(plan, store)
        if scheduler.finished and scheduler.open_attempt is None:
            return _kept(store.trials(plan.name), folder)
    with (
        FolderLock(out_dir),
        Interruption() as interruption,
        folder.store() as store,
        _domain(robot) as domain,
        Children(out_dir / "logs", _environment(robot, domain, out_dir)) as children,
    ):
        any_bundle = next(iter(bundles.values()))
        asked = ("-p", f"goal_thing:={plan.thing}") if plan.thing else ()
        if robot == "virtual":
            children.start("virtual_arm", (*processes.arm(any_bundle, hidden), *asked))
            children.start("safety_gate", processes.gate(any_bundle), layer=1)
        nodes = {policy: f"policy_{i}" for i, policy in enumerate(loaded)}
        for policy, node_name in nodes.items():
            command = connection.policy_command((*processes.policy(node_name, bundles[policy]), *asked))
            if camera_calibration is not None:
                command = (*command, "-p", f"camera_calibration:={camera_calibration}")
            children.start(node_name, command, layer=2)
        if recording.mcap != "none":
            recorder = (*processes.recorder(_next_recording(out_dir)), *connection.ros_arguments)
            if recording.mcap == "signals":
                usual = camera_topics(list(cameras))
                images = [connection.cameras.get(name, usual[name]).image for name in cameras]
                recorder = (*recorder, "-p", f"exclude:={','.join(images)}")
            children.start("recorder", recorder, layer=1)
        context = Context()
        rclpy.init(context=context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
        first = next(iter(loaded.values()))
        operator: OperatorInterface | None = None

        def check() -> None:
            interruption.check()
            children.check()
            if operator is not None:
                operator.update()

        height = None if robot == "virtual" else GOAL_HEIGHT.get(plan.task, math.nan)
        node = SessionNode(context, first.robot, list(cameras), check, goal_height=height, connection=connection)
        node.by_task = robot == "virtual" and _by_task(plan, first)  # only the virtual arm tells
        try:
            scheduler = TrialScheduler(plan, store)
            real = node.wait_for_arm(FIRST_START if robot == "virtual" else ARM_THERE, calibrated)
            main = next(iter(cameras))
            if make_interface is not None:
                operator = make_interface(node, scheduler, with_pose(real[main], cameras[main]))
            else:
                operator = Unattended(node.spin)
            homing = Homing(node, first.robot) if robot == "ros" else None
            runner = TrialRunner(scheduler, loaded, nodes, node, operator, out_dir, recording, homing, progress)
            if recording.images:
                runner.record_images()
                assert node.recorder is not None
                for camera in real.values():
                    node.recorder.calibrate(camera)
            renderer = node.renderer() if robot == "virtual" else "the camera"
            write_text(out_dir / RENDERER_FILE, renderer + "\n")
            node.gate_at_rest(FIRST_START)
            runner.configure()
            folder.note(store, "resumed" if scheduler.resumed else "started", f"{robot}, pictures by {renderer}")
            runner.run()
            folder.note(store, "finished")
            operator.finish("All trials are done. The report is being written.")
            return _result(runner, store, plan, node, renderer, out_dir, time.monotonic() - started)
        finally:
            node.close()
            context.try_shutdown()


def _result(
    runner: TrialRunner,
    store: TrialStore,
    plan: Protocol,
    node: SessionNode,
    renderer: str,
    out_dir: Path,
    wall: float,
) -> SessionResult:
    """Write what was recorded."""
    latencies = None
    if runner.latencies:
        latencies = out_dir / LATENCIES
        policies, indexes, rows = zip(*runner.latencies)
        arrays = {"policy": np.array(policies), "index": np.array(indexes), "latency": np.array(rows)}
        write_arrays(latencies, arrays)
    return SessionResult(
        store.trials(plan.name),
        renderer,
        wall,
        float(np.median(runner.walls)) if runner.walls else 0.0,
        node.recorder.save(out_dir / IMAGES) if node.recorder is not None else None,
        runner.videos,
        latencies,
    )


def _kept(trials: tuple[Trial, ...], folder: SessionFolder) -> SessionResult:
    """Return what a finished session left in its folder."""
    images, latencies = (folder.path / name if (folder.path / name).exists() else None for name in (IMAGES, LATENCIES))
    videos = {f"{policy}_{index}": path for (policy, index), path in folder.videos().items()}
    return SessionResult(trials, _renderer_of(folder.path), 0.0, 0.0, images, videos, latencies)


def _next_recording(out_dir: Path) -> Path:
    """A folder of its own for each time that the session is taken up."""
    taken = out_dir / "recording"
    taken.mkdir(exist_ok=True)
    return taken / f"run_{len(list(taken.iterdir()))}"


@contextmanager
def _domain(robot: Robot) -> Iterator[int]:
    """A domain of its own for the virtual arm; the user's for a real one."""
    if robot == "virtual":
        with free_domain() as domain:
            yield domain
    else:
        yield int(os.environ.get("ROS_DOMAIN_ID") or 0)


def _environment(robot: Robot, domain: int, out_dir: Path) -> dict[str, str]:
    return isolated(domain, out_dir / "logs") if robot == "virtual" else {**os.environ, "PYTHONUNBUFFERED": "1"}


def _cameras(bundles: Mapping[str, PolicyBundle]) -> dict[str, CameraModel]:
    """Return the cameras of the bundles' rig; the one that shows the arm where no policy takes images.

    Raises:
        SessionError: if two policies need different rigs: they cannot stand before one arm at a time.
    """
    rigs = {name: bundle.cameras for name, bundle in bundles.items() if bundle.cameras}
    (first, rig), *others = rigs.items() or [("", {})]
    for name, other in others:
        if other != rig:
            raise SessionError(
                f"policies '{first}' and '{name}' were trained with different camera rigs; evaluate each in a session "
                "of its own, or with --robot sim"
            )
    if rig:
        return rig
    bundle = next(iter(bundles.values()))
    return {camera.name: camera for camera in load_rig(BARE_RIG, bundle.robot).cameras}


def _by_task(plan: Protocol, bundle: PolicyBundle) -> bool:
    """Whether the task's own tolerance decides: where the plan has the same, or the task's is not one distance."""
    own = load_task(bundle.task).success_radius
    return own is None or plan.success_radius == own


def _renderer_of(out_dir: Path) -> str:
    path = out_dir / RENDERER_FILE
    return path.read_text().strip() if path.is_file() else "unknown"


def _load(protocol: Protocol, bundles: Mapping[str, Path]) -> dict[str, PolicyBundle]:
    """Load every bundle, in the protocol's order, and check that it is the registered one."""
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
        bundle.check_placed()
        check_asked(policy.name, bundle.things, protocol.thing)
        loaded[policy.name] = bundle
    return loaded
