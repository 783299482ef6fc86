"""DESIGN: who may import whom, and what must stay out of the robot side."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("robots", "sim", "policies", "adaptation", "evaluation", "ros_nodes")
ALLOWED = {
    "robots": set(),
    "sim": {"robots"},
    "policies": {"robots", "sim"},
    "adaptation": {"policies", "robots", "sim"},
    "evaluation": {"policies", "robots", "sim"},
    "ros_nodes": {"evaluation", "launch", "policies", "robots", "sim"},
}
OWNERS = {"pybullet": {"sim"}, "rclpy": {"ros_nodes"}, "mujoco": {"sim"}}
ROBOT_SIDE = (
    "policies.bundle.policy_bundle",
    "policies.runtime.collision",
    "policies.runtime.deadlines",
    "policies.runtime.gate",
    "policies.runtime.limits",
    "policies.runtime.loop",
    "policies.runtime.safety_filter",
    "robots.hulls",
    "robots.specs",
    "robots.model",
    "robots.camera",
    "robots.observation",
    "robots.action",
)
HEAVY = ("pybullet", "gymnasium", "torch", "stable_baselines3", "rclpy", "numba", "mujoco")


def imports(path: Path) -> set[str]:
    """Top-level names that a file imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_what_they_may(room: str) -> None:
    assert files(room)
    for path in files(room):
        others = imports(path) & {*ROOMS, "launch", "tests", "benchmarks", "sim2real"} - {room}
        # `launch` is ROS's own: the repository's folder of that name holds no module
        assert others <= ALLOWED[room], f"{path.relative_to(ROOT)} imports {sorted(others - ALLOWED[room])}"


@pytest.mark.parametrize(("library", "owners"), OWNERS.items())
def test_each_engine_and_ros_has_one_room(library: str, owners: set[str]) -> None:
    for room in ROOMS:
        for path in files(room):
            if library in imports(path):
                assert room in owners, f"{path.relative_to(ROOT)} imports {library}"


def test_the_rule_would_catch_a_wrong_import(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def f():\n    from ros_nodes.topics import JOINT_STATES\n    import pybullet.thing\n")
    assert imports(wrong) == {"ros_nodes", "pybullet"}


@pytest.mark.parametrize("module", ROBOT_SIDE)
def test_robot_side_stays_light(module: str) -> None:
    # numba is used where it is installed, so it may not count as heavy where robots.compiled found it
    heavy = [name for name in HEAVY if name != "numba"]
    code = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"


def test_what_launch_files_import_needs_no_library() -> None:
    """`ros2 launch` runs in the system's Python, where the nodes' libraries need not be."""
    assert imports(ROOT / "ros_nodes" / "launching.py") == {"__future__", "os", "launch", "launch_ros"}
    assert not imports(ROOT / "ros_nodes" / "__init__.py")
    for path in (ROOT / "launch").glob("*.launch.py"):
        assert imports(path) <= {"launch", "ros_nodes"}


def test_launch_is_no_package() -> None:
    assert not (ROOT / "launch" / "__init__.py").exists(), "it would shadow ROS's own `launch`"


def test_every_room_is_packaged() -> None:
    """setup.py and pyproject.toml name the same packages: all there are, and neither launch nor tests."""
    packages = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for r in ("sim2real", *ROOMS)
        for path in (ROOT / r).rglob("__init__.py")
    }
    setup = ast.parse((ROOT / "setup.py").read_text())
    (call,) = (n for n in ast.walk(setup) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "setup")
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    assert set(ast.literal_eval(keywords["packages"])) == packages
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["tool"]["setuptools"]["packages"]) == packages


def test_versions_agree() -> None:
    import re
    import xml.etree.ElementTree as ElementTree

    in_project = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    in_setup = re.search(r'version="(.+?)"', (ROOT / "setup.py").read_text())
    in_package = ElementTree.parse(ROOT / "package.xml").getroot().findtext("version")
    assert in_project
    assert in_setup
    assert in_project[1] == in_setup[1] == in_package
