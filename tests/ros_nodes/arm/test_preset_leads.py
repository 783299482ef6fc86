"""Launch files' parameters: a policy presses no harder than its gate takes for an arm that is free."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from policies.runtime.limits import DEFAULT_TIGHTENING
from policies.runtime.loop_limits import LoopLimits

LAUNCH = Path(__file__).resolve().parents[3] / "launch"
PRESETS = sorted((LAUNCH / "presets").glob("*.yaml"))


def parameters(path: Path, node: str) -> dict:
    return yaml.safe_load(path.read_text()).get(node, {}).get("ros__parameters", {})


@pytest.mark.parametrize(
    "files",
    [["virtual.yaml"], ["robot.yaml"], *(["robot.yaml", f"../presets/{each.name}"] for each in PRESETS)],
    ids=lambda files: files[-1],
)
def test_an_arm_that_touches_something_is_not_taken_for_blocked(files: list[str]) -> None:
    gate = {"stall_error": DEFAULT_TIGHTENING["stall_error"]}
    policy = {"rest_lead": LoopLimits().rest_lead}
    for name in files:
        path = LAUNCH / "config" / name
        gate |= parameters(path, "safety_gate")
        policy |= parameters(path, "policy_node")
    assert policy["rest_lead"] < gate["stall_error"]
