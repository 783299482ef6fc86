"""What a policy node says of itself."""

from __future__ import annotations

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from ros_nodes.arm.policy_report import PolicyReport
from tests.support.tiny_bundle import tiny_bundle

WARNING = "camera 'side': no frame for 0.300 s. Going on with 'front', predicted error of goal 1.9 cm instead of 0.9"


@pytest.mark.parametrize(
    ("report", "level", "message"),
    [
        (PolicyReport("active"), DiagnosticStatus.OK, "active"),
        (PolicyReport("active", warning=WARNING), DiagnosticStatus.WARN, f"active: {WARNING}"),
        (
            PolicyReport("inactive", "it says why", "camera_stale", WARNING),
            DiagnosticStatus.ERROR,
            "inactive: it says why",
        ),
    ],
)
def test_a_warning_is_published_unless_there_is_a_reason(report: PolicyReport, level: bytes, message: str) -> None:
    status = report.diagnostics("policy_node", None, {"camera_masked": 1, "residual_px_front": "2.3"})
    assert (status.level, status.message) == (level, message)
    assert [(value.key, value.value) for value in status.values] == [
        ("camera_masked", "1"),
        ("residual_px_front", "2.3"),
    ]
    bundle = tiny_bundle()
    said = report.to_dict(bundle)
    assert (said["state"], said["warning"]) == (report.state, report.warning)
    assert (said["bundle"], said["hash"]) == (bundle.name, bundle.hash)
