"""A chunk policy from the other side: late, overlapping, contradictory, not finite, at the wrong rate, too long.

Each chunk reaches the gate on one of two ways: as the product sends it (`ChunkBlender`, which drops or refuses what it
can tell), or raw, as a plain queue of actions does, one a period, whatever they are.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.node import Node

from benchmarks.parts import at_controller
from policies.foreign.chunks import Chunk, ChunkBlender, ChunkError
from policies.runtime.limits import SafetyLimits
from robots.registry import load_robot

CHUNK_DT = 1 / 30
"""Between two actions that the policy should give [s]."""
KINDS = {
    **{"walk": 0.4, "late": 0.15, "ten times the rate": 0.1},
    **dict.fromkeys(("leap", "flip", "future", "not finite", "declared rate", "short", "jump"), 0.05),
}
"""Chunks by how often they come; most must be followed, or the gate would only ever stop."""
PERIOD = 0.25
"""Mean time between two chunks [s]: they overlap."""


class HostilePolicy:
    """Returns the gate's next command."""

    def __init__(self, rng: np.random.Generator, limits: SafetyLimits, raw: bool, clock: Callable[[], float]):
        """Prepare; with `raw` the blender is left out."""
        self._rng, self._limits, self._raw, self._clock = rng, limits, raw, clock
        self._blender = ChunkBlender(len(limits.q_low), CHUNK_DT)
        self._queue: deque[np.ndarray] = deque()
        self._next = 0.0
        self.chunks: Counter[str] = Counter()
        """Chunks by kind, and those that were refused."""

    def command(self, q: np.ndarray, v: np.ndarray) -> np.ndarray | None:
        """Return what is commanded after the setpoint `q` (n,) [rad]; None releases the arm."""
        now = self._clock()
        if now >= self._next:
            self._next = now + self._rng.exponential(PERIOD)
            chunk = self._draw(q, now)
            if self._raw:
                if self._rng.random() < 0.5:
                    self._queue.clear()
                self._queue.extend(chunk.actions)
            else:
                try:
                    self._blender.add(chunk, now)
                except ChunkError:
                    self.chunks["refused"] += 1
        if self._raw:
            return self._queue.popleft() if self._queue else None
        return self._blender.target(now)

    def _draw(self, q: np.ndarray, now: float) -> Chunk:
        rng, n = self._rng, len(q)
        kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
        self.chunks[kind] += 1
        k, reach = int(rng.integers(2, 60)), self._limits.command_jump * 0.999
        fastest = np.array(self._limits.dq) * CHUNK_DT
        steps = rng.normal(0, 0.3, (k, n)) * fastest
        stamp, dt = now, None
        if kind == "leap":
            steps = rng.choice([-1.0, 1.0], (k, n)) * reach
        elif kind == "flip":
            steps = np.where(np.arange(k) % 2 == 0, 1.0, -1.0)[:, None] * rng.uniform(0, reach, n)
        elif kind == "late":
            stamp = now - rng.uniform(0, 3)
        elif kind == "future":
            stamp = now + rng.uniform(0, 1)
        elif kind == "ten times the rate":
            steps = rng.normal(0, 3.0, (k, n)) * fastest
        elif kind == "declared rate":
            dt = CHUNK_DT * rng.choice([0.1, 1.5, 10.0])
        actions = q + np.cumsum(steps, 0)
        if kind == "not finite":
            actions[rng.random((k, n)) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
        elif kind == "short":
            actions = actions[:1]
        elif kind == "jump":
            actions = actions + rng.uniform(-3, 3, n)
        return Chunk(stamp, actions, dt)


def chunk_limits_exceeded(robot_name: str, commands: int, seed: int, limits: SafetyLimits) -> dict[str, float]:
    """Feed the gate at least `commands` commands; return how many of the arm's, 1000 a second, exceed a limit.

    Half go the raw way. A joint_trajectory_controller turns the gate's messages into what the arm gets; the gate is
    disturbed and killed meanwhile (`at_controller`). Positions are measured exactly: a gate that starts at a joint's
    end holds the arm where it is measured, which an error puts outside, whatever is commanded.
    """
    robot, path = load_robot(robot_name), at_controller.PATHS[1]
    context = Context()
    rclpy.init(context=context)
    node = Node("hostile_chunks", context=context)
    low, high = np.array(limits.q_low), np.array(limits.q_high)
    limits = at_controller.share_of(path, limits)
    figures: dict[str, float] = {"chunk_commands": 0, "chunk_exceeded": 0, "chunk_judged": 0, "chunk_worst_share": 0.0}
    try:
        for raw in (False, True):
            rng = np.random.default_rng([seed, raw])
            bench = at_controller.Bench(node, robot, limits, path, rng, share=1.0, offset=0.0)
            policy = HostilePolicy(rng, limits, raw, lambda bench=bench: bench.now)
            while bench.given < commands / 2:
                began = len(bench.q)
                bench.run(60.0, policy.command)
                q = np.array(bench.q[max(0, began - 4) :])
                del bench.q[:-8]  # judged
                figures["chunk_judged"] += len(q)
                figures["chunk_exceeded"] += int((np.maximum(low - q, q - high).max(1) > at_controller.ROUNDING).sum())
                for order, limit in enumerate(at_controller.judged(path, robot, limits).values(), start=1):
                    share = (np.abs(np.diff(q, order, axis=0)) / at_controller.TICK**order / limit).max(1)
                    figures["chunk_exceeded"] += int((share > 1 + at_controller.ROUNDING).sum())
                    figures["chunk_worst_share"] = max(figures["chunk_worst_share"], float(share.max()))
            figures["chunk_commands"] += bench.given
            print(f"{'raw' if raw else 'blended'}: {bench.given} commands of chunks {dict(policy.chunks)}")
    finally:
        rclpy.shutdown(context=context)
    return figures
