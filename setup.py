"""Self-sufficient for colcon, which reads this file and not pyproject.toml's metadata."""

from glob import glob

from setuptools import setup

package = "sim2real_arms"

setup(
    name="sim2real-arms",
    version="0.1.0",
    python_requires=">=3.10,<3.14",  # colcon reads this text, and fails on pyproject.toml's
    packages=[
        "robots",
        "robots.host",
        "robots.shapes",
        "sim",
        "sim.datasets",
        "sim.physics",
        "sim.randomization",
        "sim.rendering",
        "sim.sensing",
        "sim.tasks",
        "sim.vector",
        "sim.virtual_arm",
        "policies",
        "policies.bundle",
        "policies.imitation",
        "policies.models",
        "policies.models.filters",
        "policies.reinforcement",
        "policies.runtime",
        "policies.scoring",
        "policies.training",
        "policies.transfer",
        "adaptation",
        "adaptation.calibration",
        "adaptation.gap",
        "adaptation.identification",
        "adaptation.visual",
        "evaluation",
        "evaluation.operator_page",
        "evaluation.report",
        "evaluation.session",
        "evaluation.simulation",
        "evaluation.statistics",
        "ros_nodes",
        "ros_nodes.arm",
        "ros_nodes.recording",
        "ros_nodes.session",
        "sim2real",
        "sim2real.demo",
    ],
    package_data={"evaluation.operator_page": ["page/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package}"]),
        (f"share/{package}", ["package.xml"]),
        (f"share/{package}/launch", glob("launch/*.launch.py")),
        (f"share/{package}/config", glob("launch/config/*")),
        (f"share/{package}/presets", glob("launch/presets/*")),
        (f"share/{package}/security", glob("launch/security/*")),
    ],
    entry_points={
        "console_scripts": [
            "sim2real = sim2real.command_line:main",
            "policy_node = ros_nodes.policy_node:main",
            "safety_gate = ros_nodes.safety_gate:main",
            "recorder = ros_nodes.recorder:main",
            "lab_session = ros_nodes.lab_session:main",
            "supervisor = ros_nodes.supervisor:main",
            "virtual_arm = ros_nodes.virtual_arm:main",
        ]
    },
)
