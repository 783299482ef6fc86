"""Can anything that a policy says make the arm exceed a limit? A million commands through the filter and the gate.

    python benchmarks/limits.py [--quick] [--commands N] [--json FILE]

Random, adversarial and not-finite commands on three arms, with their own workspaces, keep-out boxes and
self-collision, and through the gate for a gripper's fingers where the arm has one. Every setpoint that comes out is
judged from outside: finite differences of the stream against the limits of position, velocity, acceleration and jerk,
forward kinematics against the workspace, a second collision model against the margins, the fingers against their range
and speed. The peer, what LeRobot's `max_relative_target` does (clip the step to the present position,
`utils.ensure_safe_goal_position`), is judged by the same rules on the same commands.

Then the same at the arm, at 1 kHz: commands through the gate, its messages and models of the arm's controllers, with
jitter, missed cycles, late messages and a gate that is killed (`benchmarks/parts/at_controller.py`; needs ROS). There
the peer is what most nodes send, one position two periods ahead.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import rclpy
import tyro
from rclpy.context import Context
from rclpy.node import Node
from rich.console import Console
from rich.table import Table

from benchmarks.parts import at_controller
from benchmarks.parts.record import heading, origin, save
from policies.runtime.collision import CollisionModel
from policies.runtime.gate import SafetyGate
from policies.runtime.gripper import GripperFilter
from policies.runtime.limits import Box, SafetyError, SafetyLimits, default_limits
from policies.runtime.safety_filter import Command, SafetyFilter
from robots.model import RobotModel
from robots.observation import RobotState
from robots.registry import ROBOTS, load_robot
from robots.shapes.hulls import arm_hulls

DT = 0.01
"""[s] between two setpoints."""
BLOCK = 500
"""Commands from one start."""
COLLISION_EVERY = 5
"""Every so many setpoints the second collision model looks at one."""
ROUNDING = 1e-5
"""Of a limit: third differences of positions in double precision, divided by dt³, are good to about this."""
STEP = 0.1
"""[rad] the peer's `max_relative_target`."""


@dataclass(frozen=True)
class Arguments:
    """Feed commands, count what exceeds a limit."""

    quick: bool = False
    """9,000 commands: less than a minute."""
    commands: int = 1_000_000
    """How many, over all arms and both paths."""
    minutes: float = 10.0
    """Time of each arm at each of its controllers; half of one with --quick."""
    seed: int = 0
    """Of the commands."""
    json: Path | None = None
    """Write the figures to this file."""


@dataclass
class Judge:
    """Looks at a stream of setpoints from outside."""

    robot: RobotModel
    limits: SafetyLimits
    watcher: CollisionModel
    exceeded: Counter[str] = field(default_factory=Counter)
    worst: dict[str, float] = field(default_factory=dict)

    def look(self, q: np.ndarray) -> None:
        """Judge setpoints `q` (m, n), DT apart, that start at rest."""
        if not np.isfinite(q).all():
            self.exceeded["not finite"] += int((~np.isfinite(q).all(1)).sum())
            q = q[np.isfinite(q).all(1)]
        q = np.vstack([q[:1]] * 3 + [q])
        limits = self.limits
        self._note("q", np.maximum(np.array(limits.q_low) - q, q - np.array(limits.q_high)).max(1), 1e-9)
        for order, name in ((1, "dq"), (2, "ddq"), (3, "jerk")):
            share = np.abs(np.diff(q, order, axis=0)) / DT**order / np.array(getattr(limits, name))
            self._note(name, share.max(1) - 1, ROUNDING)
        p = self.robot.chain.positions(q)
        outside = np.maximum(np.array(limits.workspace.low) - p, p - np.array(limits.workspace.high))
        self._note("workspace", outside.max(1), 1e-6)
        room = [(self.watcher.distances(row) - self.watcher.margins).min() for row in q[::COLLISION_EVERY]]
        self._note("collision", -np.array(room), 1e-6)

    def look_at_fingers(self, fingers: GripperFilter, stream: list[float]) -> None:
        """Judge the fingers' setpoints [m], DT apart."""
        opening = np.array(stream)
        outside = np.maximum(fingers.low - opening, opening - fingers.high)
        self._note("fingers", np.where(np.isfinite(opening), outside, np.inf), 1e-12)
        if len(stream) > 1:
            self._note("fingers", np.abs(np.diff(opening)) / DT / fingers.speed - 1, ROUNDING)

    def _note(self, name: str, excess: np.ndarray, rounding: float) -> None:
        self.worst[name] = max(self.worst.get(name, -np.inf), float(excess.max()))
        self.exceeded[name] += int((excess > rounding).sum())


def cell(robot: RobotModel) -> tuple[SafetyLimits, tuple[Box, ...]]:
    """Return the limits and boxes of a table-top cell round the arm's home."""
    p = robot.chain.pose(np.array(robot.home))[1]
    (x, y, z) = p.tolist()
    workspace = Box((x - 0.25, y - 0.35, z - 0.25), (x + 0.2, y + 0.35, z + 0.25))
    wall = Box((-0.6, 0.35, -0.2), (1.2, 0.6, 1.2))
    return default_limits(robot, 20.0, workspace), (wall,)


def next_command(rng: np.random.Generator, q: np.ndarray, v: np.ndarray, limits: SafetyLimits) -> np.ndarray:
    """Draw one command: near, far, at the ends of the ranges, against the motion, or broken."""
    n, reach = len(q), limits.command_jump * 0.999
    kind = rng.choice(7, p=[0.3, 0.2, 0.15, 0.15, 0.1, 0.05, 0.05])
    if kind == 0:
        return q + rng.uniform(-1, 1, n) * reach
    if kind == 1:
        return q + rng.uniform(-1, 1, n) * reach * rng.choice([1e-6, 1e-3, 0.05])
    if kind == 2:  # towards the ends of the ranges, and beyond them
        ends = np.where(rng.random(n) < 0.5, limits.q_low, limits.q_high) + rng.uniform(-1, 1, n)
        return q + np.clip(ends - q, -reach, reach)
    if kind == 3:  # against the motion: as much braking as there is
        return q - np.sign(v) * reach
    if kind == 4:  # bang-bang, all joints at once
        return q + rng.choice([-1.0, 1.0], n) * reach
    broken = q + rng.uniform(-1, 1, n) * 0.1
    if kind == 5:
        broken[rng.integers(n)] = rng.choice([np.nan, np.inf, -np.inf])
        return broken
    return 100.0 * broken + rng.choice([-1.0, 1.0], n)


def next_opening(rng: np.random.Generator, fingers: GripperFilter) -> float:
    """Draw where the fingers should go [m]: inside their range, at its ends, far beyond, or nowhere."""
    kind = rng.choice(4, p=[0.45, 0.3, 0.24, 0.01])
    if kind == 0:
        return float(rng.uniform(fingers.low, fingers.high))
    if kind == 1:
        return fingers.low if rng.random() < 0.5 else fingers.high
    return float(rng.normal(scale=10.0)) if kind == 2 else float(rng.choice([np.nan, np.inf, -np.inf]))


def through_filter(robot: RobotModel, judge: Judge, model: CollisionModel, rng, commands: int) -> Counter[str]:
    """Feed the filter alone; after a fault it is reset where the arm rests."""
    safety = SafetyFilter(robot, judge.limits, DT, model)
    state, now = np.array(robot.home), 0.0
    for _ in range(commands // BLOCK):
        safety.reset(state)
        stream = [state]
        for _ in range(BLOCK):
            q = stream[-1]
            v = (stream[-1] - stream[-2]) / DT if len(stream) > 1 else np.zeros_like(q)
            command = Command(next_command(rng, q, v, judge.limits), now)
            for _ in range(int(rng.integers(1, 6))):
                setpoint = safety.filter(command, RobotState(now, stream[-1], v), now)
                stream.append(setpoint.q)
                now += DT
            if safety.fault and safety.at_rest:
                judge.look(np.array(stream))
                safety.reset(stream[-1])
                stream = [stream[-1]]
        while not safety.at_rest:
            safety.release()
            stream.append(safety.filter(None, RobotState(now, stream[-1], v), now).q)
            now += DT
        judge.look(np.array(stream))
        state = stream[-1]
    return safety.counts


def through_gate(robot: RobotModel, judge: Judge, model: CollisionModel, rng, commands: int) -> Counter[str]:
    """Feed the gate's state machine in a closed loop with an arm that follows; each stop is reset by an operator."""
    fingers = GripperFilter(robot, DT) if robot.gripper is not None else None
    gate = SafetyGate(robot, judge.limits, DT, 0.1, model, fingers)
    q, v, now = np.array(robot.home), np.zeros(len(robot.home)), 0.0
    gate.on_controller(True, gripper=True)
    stream, given, last = [q], 0, 0.0
    openings = [fingers.high if fingers is not None else 0.0]
    while given < commands:
        gate.on_state(RobotState(now, q, v))
        gate.on_opening(openings[-1], now)
        gate.on_heartbeat(now)
        state = gate.report.state
        if state == "stopped":
            if now - last > judge.limits.command_timeout:
                gate.request_reset(now)
        elif rng.random() < 0.5:
            opening = next_opening(rng, fingers) if fingers is not None else None
            gate.on_command(next_command(rng, q, v, judge.limits), now, "policy", opening)
            given, last = given + 1, now
        setpoint = gate.tick(now)
        if setpoint is not None:
            v, q = (setpoint.q - q) / DT, setpoint.q
            stream.append(q)
            openings += [] if setpoint.opening is None else [setpoint.opening]
        elif len(stream) > 1:
            v = np.zeros_like(q)
            judge.look(np.array(stream))
            stream = [q]
        now += DT
    judge.look(np.array(stream))
    if fingers is not None:
        judge.look_at_fingers(fingers, openings)
    return Counter(gate.report.counts)


def through_peer(robot: RobotModel, judge: Judge, rng, commands: int) -> None:
    """Clip each command to STEP round the present position, joint by joint, as LeRobot does."""
    q = np.array(robot.home)
    for _ in range(commands // BLOCK):
        stream = [q]
        for _ in range(BLOCK):
            v = (stream[-1] - stream[-2]) / DT if len(stream) > 1 else np.zeros_like(q)
            goal = next_command(rng, stream[-1], v, judge.limits)
            step = np.minimum(goal - stream[-1], STEP)
            stream.append(stream[-1] + np.maximum(step, -STEP))
            if not np.isfinite(stream[-1]).all():
                break
        judge.look(np.array(stream))
        q = np.array(robot.home)


def at_the_arm(arguments: Arguments, console: Console) -> tuple[int, int]:
    """Judge what controllers command at 1 kHz; print it and return how many exceed a limit, and how many the peers'."""
    table = Table(title="commands to the arm, 1000 a second, that exceeded a limit; worst share of the limit")
    for column in ("arm", "controller", "seconds", "q", "dq", "ddq", "jerk"):
        table.add_column(column)
    exceeded = {False: 0, True: 0}
    context = Context()
    rclpy.init(context=context)
    node = Node("limits", context=context)
    seconds = 30.0 if arguments.quick else 60.0 * arguments.minutes
    for name in sorted(ROBOTS):
        robot = load_robot(name)
        for path in at_controller.PATHS:
            rng = np.random.default_rng(arguments.seed)
            limits = at_controller.share_of(path, cell(robot)[0])
            bench = at_controller.Bench(node, robot, limits, path, rng)
            streams = bench.run(seconds, lambda q, v, rng=rng, limits=limits: next_command(rng, q, v, limits))
            low, high = np.array(limits.q_low), np.array(limits.q_high)
            beyond = sum(int((np.maximum(low - q, q - high).max(1) > ROUNDING).sum()) for q in streams)
            cells = [str(beyond)]
            exceeded[path.peer] += beyond
            for order, limit in enumerate(at_controller.judged(path, robot, limits).values(), start=1):
                shares = [np.abs(np.diff(q, order, axis=0)) / at_controller.TICK**order / limit for q in streams]
                share = np.concatenate([each.max(1) for each in shares])
                count = int((share > 1 + at_controller.ROUNDING).sum())
                exceeded[path.peer] += count
                cells.append(f"{count} ({share.max():.2f})")
            cells += ["not judged"] * (4 - len(cells))
            table.add_row(name, str(path), f"{sum(map(len, streams)) * at_controller.TICK:.0f}", *cells)
    rclpy.shutdown(context=context)
    console.print(table)
    return exceeded[False], exceeded[True]


def main(arguments: Arguments) -> None:
    """Feed and print."""
    total = 9_000 if arguments.quick else arguments.commands
    each = BLOCK * -(-total // (2 * len(ROBOTS) * BLOCK))  # whole blocks, at least as many as asked for
    console = Console(width=130)
    described = origin([arguments.seed])
    console.print(heading(described))
    table = Table(title="setpoints that exceeded a limit")
    kinds = ("q", "dq", "ddq", "jerk", "workspace", "collision", "fingers", "not finite")
    for column in ("arm", "path", "commands", *kinds, "s"):
        table.add_column(column)
    exceeded, peer_exceeded, given = 0, 0, 0
    reasons: Counter[str] = Counter()
    for name in sorted(ROBOTS):
        robot = load_robot(name)
        limits, boxes = cell(robot)
        hulls = arm_hulls(robot)
        for path in ("filter", "gate", "peer"):
            rng = np.random.default_rng(arguments.seed)
            judge = Judge(robot, limits, CollisionModel(robot, hulls, boxes))
            model = CollisionModel(robot, hulls, boxes)
            began = time.monotonic()
            commands = each
            try:
                if path == "filter":
                    reasons += through_filter(robot, judge, model, rng, each)
                elif path == "gate":
                    reasons += through_gate(robot, judge, model, rng, each)
                else:
                    commands = min(each, 10_000)
                    through_peer(robot, judge, rng, commands)
            except SafetyError as error:
                raise SystemExit(f"{name}, {path}: {error}") from None
            count = sum(judge.exceeded.values())
            if path == "peer":
                peer_exceeded += count
            else:
                exceeded, given = exceeded + count, given + commands
            label = "peer: clipped step" if path == "peer" else path
            spent = f"{time.monotonic() - began:.0f}"
            table.add_row(name, label, f"{commands:,}", *(str(judge.exceeded[kind]) for kind in kinds), spent)
    console.print(table)
    console.print(f"{given:,} commands, {exceeded} setpoints exceeded a limit; interventions: {dict(reasons)}")
    at_arm, peer_at_arm = at_the_arm(arguments, console)
    console.print(f"at the arm {at_arm} commands exceeded a limit, the peer's {peer_at_arm}")
    figures = {
        "commands": given,
        "exceeded": exceeded,
        "peer_exceeded": peer_exceeded,
        "exceeded_at_controller": at_arm,
        "peer_exceeded_at_controller": peer_at_arm,
    }
    save(arguments.json, described, figures)
    if exceeded or at_arm:
        raise SystemExit(1)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
