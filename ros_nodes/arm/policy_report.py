"""What a policy node publishes about itself: its state, its diagnostics, and the timing of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from std_msgs.msg import Float64MultiArray

from policies.bundle import PolicyBundle
from policies.runtime.loop import LoopStep


@dataclass(frozen=True)
class PolicyReport:
    """A policy node's state."""

    state: str
    """Of its lifecycle."""
    reason: str = ""
    """Why it is not doing what it was asked to do; empty while all is well."""
    key: str = ""
    """Under which that is counted."""
    warning: str = ""
    """What is wrong while it goes on; empty while all is well."""
    done: bool | None = None
    """Whether the task is done; None for a policy that does not tell."""
    thing: str = ""
    """What it acts on among several things; empty where it is about one, and until it is asked."""

    def to_dict(self, bundle: PolicyBundle | None) -> dict:
        """Return plain JSON types, with the policy's name and hash."""
        about = {"bundle": bundle.name if bundle else "", "hash": bundle.hash if bundle else ""}
        return {**asdict(self), **about}

    def diagnostics(self, node: str, bundle: PolicyBundle | None, counts: Mapping[str, object]) -> DiagnosticStatus:
        """Return the status of the node called `node`, with its `counts`."""
        said = self.reason or self.warning
        level = DiagnosticStatus.ERROR if self.reason else DiagnosticStatus.WARN if said else DiagnosticStatus.OK
        return DiagnosticStatus(
            name=node,
            hardware_id=bundle.name if bundle is not None else "",
            level=level,
            message=f"{self.state}: {said}" if said else self.state,
            values=[KeyValue(key=key, value=str(n)) for key, n in sorted(counts.items())],
        )


def latency_message(step: LoopStep) -> Float64MultiArray:
    """Return what is published of a step's timing, see `topics.POLICY_LATENCY`."""
    return Float64MultiArray(data=[step.state_age, step.frame_age, step.compute, step.period_error, step.frame_wait])
