"""An arm of two unequal joints, so that nothing rests on the Panda's numbers."""

from __future__ import annotations

from dataclasses import replace

from robots.model import RobotModel
from robots.registry import load_robot


def planar_arm() -> RobotModel:
    """Return a shoulder that lifts and a slide, with limits that are made up."""
    link = '<link name="{}"/>'
    joint = (
        '<joint name="{n}" type="{t}"><parent link="{p}"/><child link="{c}"/><origin xyz="{x} 0 0"/><axis xyz="{a}"/>'
        "</joint>"
    )
    urdf = "".join(
        [
            '<robot name="planar">',
            *(link.format(name) for name in ("base", "upper", "lower", "tip")),
            joint.format(n="shoulder", t="revolute", p="base", c="upper", x=0, a="0 -1 0"),
            joint.format(n="slide", t="prismatic", p="upper", c="lower", x=0.3, a="1 0 0"),
            joint.format(n="end", t="fixed", p="lower", c="tip", x=0.1, a="1 0 0"),
            "</robot>",
        ]
    )
    limits = replace(
        load_robot("franka_panda").limits,
        q_low=(-1.0, 0.0),
        q_high=(1.5, 0.4),
        dq=(3.0, 0.5),
        ddq=(20.0, 2.0),
        jerk=(300.0, 40.0),
        tau=(10.0, 10.0),
        source="made up",
    )
    return RobotModel("planar", ("shoulder", "slide"), "base", "tip", (0.5, 0.1), limits, urdf_xml=urdf)
