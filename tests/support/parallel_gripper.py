"""A parallel gripper as a vendor describes it: a URDF of its own, to be mounted on any flange."""

import json
from pathlib import Path

BOX = '<{0}><origin xyz="{1}"/><geometry><box size="{2}"/></geometry></{0}>'
INERTIAL = (
    '<inertial><origin xyz="0 0 {1}"/><mass value="{0}"/>'
    '<inertia ixx="{2}" iyy="{2}" izz="{2}" ixy="0" ixz="0" iyz="0"/></inertial>'
)
MOUNTED = {"joint_names": ["left_slide", "right_slide"], "opened": 0.05, "closed": 0.0, "force": 60}
"""What an arm file says of it beside `urdf` and `mount`."""
TCP = 0.11
"""From its base to between the fingertips [m]."""


def gripper_urdf() -> str:
    """A palm, and two fingers that slide 5 cm from the middle along x, 12 cm long."""

    def link(name: str, mass: float, at: str, size: str, com: float) -> str:
        shapes = "".join(BOX.format(kind, at, size) for kind in ("visual", "collision"))
        return f'<link name="{name}">{INERTIAL.format(mass, com, mass * 1e-3)}{shapes}</link>'

    parts = [link("palm", 0.8, "0 0 0.03", "0.12 0.05 0.06", 0.03)]
    for side, yaw in (("left", 0.0), ("right", 3.14159265)):
        parts.append(link(f"{side}_finger", 0.08, "-0.01 0 0.09", "0.02 0.024 0.06", 0.09))
        parts.append(
            f'<joint name="{side}_slide" type="prismatic"><parent link="palm"/><child link="{side}_finger"/>'
            f'<origin xyz="0 0 0" rpy="0 0 {yaw}"/><axis xyz="-1 0 0"/>'
            '<limit lower="0" upper="0.05" effort="60" velocity="0.4"/></joint>'
        )
    return f'<robot name="parallel">{"".join(parts)}</robot>'


def write_arm(
    folder: Path, name: str, urdf: Path | str, flange: str, home: dict[str, float], rpy: tuple[float, ...] = (0, 0, 0)
) -> str:
    """Write the arm file of an arm whose `flange` carries the gripper, turned by `rpy` [rad]; return its path."""
    (folder / "gripper.urdf").write_text(gripper_urdf())
    data = {
        "name": name,
        "urdf": str(urdf),
        "ee_link": "tcp",
        "frames": {"tcp": {"link": "palm", "xyz": [0, 0, TCP]}},
        "gripper": {**MOUNTED, "urdf": "gripper.urdf", "mount": {"link": flange, "xyz": [0, 0, 0], "rpy": list(rpy)}},
        "home": home,
        "limits": {
            "source": "URDF; accelerations and jerks made up for tests",
            "ddq": dict.fromkeys(home, 12.0),
            "jerk": dict.fromkeys(home, 1000.0),
        },
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(data))
    return str(path)
