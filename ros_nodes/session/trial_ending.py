"""Why a trial ended before its time, and whose fault it was: the policy's, which counts, or the machinery's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ros_nodes import topics

MACHINERY = frozenset(
    {
        *("state_missing", "state_stale", "state_invalid"),
        *("gripper_missing", "gripper_stale", "gripper_lost"),
        *("camera_missing", "camera_stale", "camera_frozen", "pose_missing", "pose_stale"),
        *("controller_lost", "controller_inactive", "controller_contested", "two_policies", "clock_step"),
        *("gate_silent", "gate_unwilling", "command_stale", "policy_dead", "e_stop_silent", "shutdown"),
    }
)
"""Counts of policy node and gate that tell of a stalled camera, driver, controller, process or clock."""
BY_POLICY = frozenset({"observation_invalid", "input_unknown", "action_invalid"})
"""Counts of the policy node that tell of a policy outside its specification, or of unknown inputs."""
SILENT_POLICY = frozenset({"command_stale", "policy_dead"})
"""Those that a policy which is itself too slow brings about as well."""


@dataclass(frozen=True)
class Ending:
    """How a trial ended."""

    reason: str = ""
    """Why before its time; empty if it was not."""
    machinery: bool = False
    """Whether the machinery failed: then the trial is void, and the session pauses."""


def by_policy(reason: str, key: str) -> Ending:
    """The policy node refused or stopped with `reason`, counted under `key`."""
    return Ending(f"the policy stopped: {reason}", key in MACHINERY)


def by_gate(reason: str, keys: Sequence[str], latencies: Sequence[Sequence[float]], period: float) -> Ending:
    """The gate stopped the arm.

    Args:
        reason: the gate's.
        keys: counts that grew in the trial.
        latencies: the policy's cycles, as on `topics.POLICY_LATENCY`.
        period: of the policy [s].
    """
    said = f"the safety gate stopped the arm: {reason}"
    failed = MACHINERY.intersection(keys)
    compute = np.median(computing_times(latencies) or [0.0])
    if failed and failed <= SILENT_POLICY and compute > period:
        return Ending(f"{said}; the policy computes for {compute:.3f} s an action, its period is {period:.3f} s")
    return Ending(said, bool(failed))


def computing_times(latencies: Sequence[Sequence[float]]) -> list[float]:
    """The finite times of computation [s] of a policy's cycles."""
    return [row[2] for row in latencies if len(row) == topics.LATENCY_COLUMNS and np.isfinite(row[2])]
