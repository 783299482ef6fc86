"""DESIGN: who may import whom, what stays out of the robot side, and that nothing is there twice or for nothing.

Each rule is a function of a `SourceTree` that returns what breaks it; it is asked about this repository, and about a
small one that breaks it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.support.source_tree import PRODUCT, Source, SourceTree, circle

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
TREE = SourceTree(ROOT)

ALLOWED = {
    "robots": set(),
    "sim": {"robots"},
    "policies": {"robots", "sim"},
    "adaptation": {"policies", "robots", "sim"},
    "evaluation": {"policies", "robots", "sim"},
    "ros_nodes": {"evaluation", "launch", "policies", "robots", "sim"},  # `launch` is ROS's own
    "sim2real": {"adaptation", "evaluation", "policies", "robots", "ros_nodes", "sim"},
}
"""The rooms that each room may import from."""
OWNERS = {"pybullet": "sim", "mujoco": "sim", "rclpy": "ros_nodes"}
"""The one room that imports an engine, or ROS."""
MOST_MODULES = 16
"""Modules that a folder may hold."""
MOST_LINES = 400
"""Lines that a module may have."""
HEAVY = ("pybullet", "gymnasium", "torch", "stable_baselines3", "rclpy", "mujoco")
"""What the robot side must not load. numba counts too, but is used where it is installed."""
LEARNING_SIDE = {"policies.bundle.export", "policies.bundle.weights", "policies.language.fitting"}
"""Modules of the robot side's folders that write or fit what the robot reads, for which torch is needed."""
SHARED_NAMES = {"main"}
"""Public names that several modules define for the same purpose."""


def wrong_rooms(tree: SourceTree) -> list[str]:
    """Imports of a room from one that it may not import from."""
    rooms = {*PRODUCT, "launch", "tests", "benchmarks"}
    return [
        f"{module} imports {name}"
        for module in tree.product
        for name in sorted({name.split(".")[0] for name, _ in tree.sources[module].imported})
        if name in rooms - {module.split(".")[0]} - ALLOWED[module.split(".")[0]]
    ]


def wrong_engines(tree: SourceTree) -> list[str]:
    """Imports of an engine, or of ROS, outside its room."""
    foreign = tree.foreign(tree.product)
    return [
        f"{module} imports {library}"
        for library, owner in OWNERS.items()
        for module in sorted(foreign.get(library, ()))
        if module.split(".")[0] != owner
    ]


def circles(tree: SourceTree) -> list[str]:
    """A circle of modules, and a circle of what lies directly in a folder, for every folder."""
    packages = [module for module in tree.product if tree.is_package(module)]
    all_found = [circle(tree.edges), *(circle(tree.between_children(package)) for package in packages)]
    return [" -> ".join(each) for each in all_found if each]


def large_folders(tree: SourceTree) -> list[str]:
    """Folders of more modules than a reader can keep in mind."""
    folders = [source.path.parent for module, source in tree.sources.items() if not tree.is_package(module)]
    return sorted(f"{folder.relative_to(tree.root)}" for folder in set(folders) if folders.count(folder) > MOST_MODULES)


def long_modules(tree: SourceTree) -> list[str]:
    """Modules of more lines than one job needs."""
    return [module for module in tree.product if len(tree.sources[module].path.read_text().splitlines()) > MOST_LINES]


def unreached(tree: SourceTree) -> list[str]:
    """Modules that no command, node, launch file, benchmark or public name leads to."""
    return sorted(set(tree.product) - tree.reached())


def shared_names(tree: SourceTree) -> list[str]:
    """Public classes, functions and type aliases that two modules define; sim2real's are named after commands."""
    homes: dict[str, list[str]] = {}
    for module in (module for module in tree.product if module.split(".")[0] != "sim2real"):
        for name in tree.sources[module].public_names - SHARED_NAMES:
            homes.setdefault(name, []).append(module)
    return sorted(f"{name}: {', '.join(modules)}" for name, modules in homes.items() if len(modules) > 1)


def test_rooms_import_only_what_they_may() -> None:
    assert wrong_rooms(TREE) == []


def test_each_engine_and_ros_has_one_room() -> None:
    assert wrong_engines(TREE) == []


def test_nothing_is_imported_in_a_circle() -> None:
    assert circles(TREE) == []


def test_folders_are_small() -> None:
    assert large_folders(TREE) == []


def test_modules_are_short() -> None:
    assert long_modules(TREE) == []


def test_every_module_is_reached() -> None:
    assert unreached(TREE) == []


def test_no_name_is_used_for_two_things() -> None:
    assert shared_names(TREE) == []


@pytest.fixture
def write(tmp_path: Path):
    """Return a function that writes files, each folder a package, and returns their tree."""

    def write(**sources: str) -> SourceTree:
        (tmp_path / "launch").mkdir()
        for name, text in {"setup": "", **sources}.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            for folder in path.relative_to(tmp_path).parents[:-1]:
                (tmp_path / folder / "__init__.py").touch()
        return SourceTree(tmp_path)

    return write


def test_a_wrong_room_is_found(write) -> None:
    tree = write(
        robots__arm="def f():\n    from sim import env\n",
        sim__env="import tests.support\nimport robots.arm\n",
        ros_nodes__node="import sim2real.demo\nimport launch\n",
    )
    assert wrong_rooms(tree) == ["robots.arm imports sim", "sim.env imports tests", "ros_nodes.node imports sim2real"]


def test_a_wrong_engine_is_found(write) -> None:
    tree = write(
        policies__score="def f():\n    import pybullet.thing\n    from rclpy import node\n", sim__env="import pybullet"
    )
    assert wrong_engines(tree) == ["policies.score imports pybullet", "policies.score imports rclpy"]


def test_a_circle_of_modules_is_found(write) -> None:
    tree = write(sim__one="from sim import two", sim__two="def f():\n    from sim.one import x\n")
    assert circles(tree)[0] in ("sim.one -> sim.two -> sim.one", "sim.two -> sim.one -> sim.two")


def test_a_circle_of_folders_is_found_where_no_modules_form_one(write) -> None:
    tree = write(
        sim__physics__world="import sim.rendering.mesh",
        sim__rendering__mesh="",
        sim__rendering__draw="import sim.physics.world",
    )
    (found,) = circles(tree)
    assert set(found.split(" -> ")) == {"sim.physics", "sim.rendering"}


def test_a_circle_of_a_folder_and_a_module_beside_it_is_found(write) -> None:
    tree = write(sim__env="import sim.physics.world", sim__physics__world="", sim__physics__load="import sim.env")
    assert len(circles(tree)) == 1


def test_a_package_that_reexports_a_module_forms_a_circle_with_its_user(write) -> None:
    tree = write(sim__physics__world="from sim.physics import load", sim__physics__load="")
    assert circles(tree) == []
    (tree.root / "sim" / "physics" / "__init__.py").write_text("from sim.physics.world import World")
    (tree.root / "sim" / "physics" / "world.py").write_text("from sim.physics import Load")
    assert len(circles(SourceTree(tree.root))) == 1


def test_a_large_folder_is_found(write) -> None:
    tree = write(sim__env="", **{f"sim__tasks__task_{k}": "" for k in range(MOST_MODULES)})
    assert large_folders(tree) == []
    (tree.root / "sim" / "tasks" / "one_more.py").touch()
    assert large_folders(SourceTree(tree.root)) == ["sim/tasks"]


def test_a_long_module_is_found(write) -> None:
    tree = write(sim__env="x = 1\n" * MOST_LINES, sim__scene="x = 1\n" * (MOST_LINES + 1))
    assert long_modules(tree) == ["sim.scene"]


def test_an_unreached_module_is_found(write) -> None:
    tree = write(
        setup='entry_points = {"console_scripts": ["gate = ros_nodes.gate:main"]}',
        ros_nodes__gate="import robots.arm",
        ros_nodes__child="",
        robots__arm='command = ["python", "-m", "ros_nodes.child"]',
        robots__alone="import robots.with_it",
        robots__with_it="",
        benchmarks__speed="import sim.env",
        sim__env="",
    )
    assert unreached(tree) == ["robots.alone", "robots.with_it"]


def test_a_name_for_two_things_is_found(write) -> None:
    tree = write(
        sim__one="class Draw: ...\ndef main(): ...\ndef _own(): ...\nMOST = 1\nAct = int",
        sim__two="def Draw(): ...\ndef main(): ...\ndef _own(): ...\nMOST = 2\nAct: type = str",
        sim__three="from sim.one import Draw",
        sim2real__draw="def Draw(): ...",
    )
    assert shared_names(tree) == ["Act: sim.one, sim.two", "Draw: sim.one, sim.two"]


def loaded(modules: list[str], blocked: tuple[str, ...] = ()) -> list[str]:
    """Import `modules` in a new process, where `blocked` ones cannot be; return which of `HEAVY` it then has."""
    code = (
        f"import importlib, sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
        f"for module in {modules!r}: importlib.import_module(module)\n"
        f"print(*[name for name in {HEAVY!r} if sys.modules.get(name)])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def robot_side() -> list[str]:
    """Modules that run on the robot, beside the nodes."""
    folders = ("robots", "policies.bundle", "policies.language", "policies.runtime")
    return [m for m in TREE.product if m.startswith(tuple(f"{f}." for f in folders)) and m not in LEARNING_SIDE]


def test_robot_side_stays_light() -> None:
    assert loaded(robot_side()) == []


def test_robot_side_needs_nothing_heavy() -> None:
    """As on a robot, where numba is missing too."""
    assert loaded(robot_side(), blocked=(*HEAVY, "numba")) == []


def test_heavy_modules_are_noticed() -> None:
    assert loaded(["robots.model", "gymnasium"]) == ["gymnasium"]
    with pytest.raises(AssertionError, match="gymnasium"):
        loaded(["gymnasium"], blocked=HEAVY)


def test_the_command_starts_light() -> None:
    """Gymnasium alone is loaded, where it is installed, as the tasks are registered with it."""
    assert loaded(["sim2real", "sim2real.command_line"]) == ["gymnasium"]
    assert loaded(["sim2real", "sim2real.command_line"], blocked=(*HEAVY, "numba")) == []


def test_what_launch_files_import_needs_no_library() -> None:
    """`ros2 launch` runs in the system's Python, where the nodes' libraries need not be."""
    launching = Source(ROOT / "ros_nodes" / "launching.py")
    assert {name.split(".")[0] for name, _ in launching.imported} - set(sys.stdlib_module_names) == {
        "launch",
        "launch_ros",
        "yaml",
    }
    assert not Source(ROOT / "ros_nodes" / "__init__.py").imported
    for path in (ROOT / "launch").glob("*.launch.py"):
        assert {name.split(".")[0] for name, _ in Source(path).imported} <= {"launch", "ros_nodes"}


def test_launch_is_no_package() -> None:
    assert not (ROOT / "launch" / "__init__.py").exists(), "it would shadow ROS's own `launch`"


def test_every_room_is_packaged() -> None:
    """setup.py and pyproject.toml name the same packages: all there are, and neither launch nor tests."""
    packages = {module for module in TREE.product if TREE.is_package(module)}
    setup = Source(ROOT / "setup.py").tree
    (call,) = (n for n in ast.walk(setup) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "setup")
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    assert set(ast.literal_eval(keywords["packages"])) == packages
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["tool"]["setuptools"]["packages"]) == packages


def test_versions_agree() -> None:
    in_project = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    in_setup = re.search(r'version="(.+?)"', (ROOT / "setup.py").read_text())
    in_package = ElementTree.parse(ROOT / "package.xml").getroot().findtext("version")
    assert in_project
    assert in_setup
    assert in_project[1] == in_setup[1] == in_package
