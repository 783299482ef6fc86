"""Runs a launch file as a process: with ROS's own `launch` and `launch_ros` where they can be imported, else with the
stand-in of the tests, which ends processes as `launch` does.

    python -m benchmarks.fault_injection.launch_run FILE [name:=value ...]
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

from tests.robots.host.test_processes import MARK, living
from tests.support.launch_stand_in import ROOT, LaunchError, evaluate
from tests.support.velocity_arm import end_as_launch_does

PACKAGE = "sim2real_arms"


def real() -> bool:
    """Return whether ROS's launch is installed."""
    try:
        from launch import LaunchService  # noqa: F401
        from launch_ros.actions import Node  # noqa: F401
    except ImportError:  # this repository's folder of launch files has the same name
        return False
    return True


def name() -> str:
    """Return which launch runs the files."""
    return "ROS's launch" if real() else "a stand-in of ROS's launch"


class Launched:
    """A launch file that runs in a process of its own; a context manager, which ends what it has started."""

    def __init__(self, file: str, environment: dict[str, str], folder: Path, **arguments: object):
        """Start `file` of the launch files; `folder` holds the ament prefix and what the processes say."""
        self._mark = uuid.uuid4().hex
        prefix = _prefix(folder / "prefix")
        paths = [str(prefix), *filter(None, [os.environ.get("AMENT_PREFIX_PATH")])]
        words = [f"{key}:={value}" for key, value in arguments.items()]
        self.said = folder / "launch.txt"
        with self.said.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.fault_injection.launch_run", str(ROOT / "launch" / file), *words],
                cwd=ROOT,
                env={**environment, MARK: self._mark, "AMENT_PREFIX_PATH": os.pathsep.join(paths)},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Launched:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for left in living(self._mark):
            os.kill(left, signal.SIGKILL)

    def kill(self, node: str, timeout: float = 60.0) -> None:
        """Kill the process of a node.

        Raises:
            AssertionError: unless it is there within `timeout` [s].
        """
        until = time.monotonic() + timeout
        while not (found := [pid for pid, words in living(self._mark).items() if f"-m ros_nodes.{node} " in words]):
            assert time.monotonic() < until, f"{node} is not running: {self.said.read_text()[-1500:]}"
            time.sleep(0.05)
        os.kill(found[0], signal.SIGKILL)

    def status(self, timeout: float) -> int | None:
        """Return the launch's exit status; None if it goes on for `timeout` [s]."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None


def _prefix(folder: Path) -> Path:
    """Install the package for `launch_ros` as colcon does: a marker, the shared files and the nodes' executables."""
    (folder / "share" / "ament_index" / "resource_index" / "packages").mkdir(parents=True)
    (folder / "share" / "ament_index" / "resource_index" / "packages" / PACKAGE).touch()
    (folder / "share" / PACKAGE).symlink_to(ROOT / "launch")
    programs = folder / "lib" / PACKAGE
    programs.mkdir(parents=True)
    for module in (ROOT / "ros_nodes").glob("*.py"):
        program = programs / module.stem
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ros_nodes.{module.stem} "$@"\n')
        program.chmod(0o755)
    return folder


def run_real(file: Path, arguments: dict[str, str]) -> int:
    """Run a launch file as `ros2 launch` does; return the exit status."""
    from launch import LaunchDescription, LaunchService
    from launch.actions import IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    service = LaunchService(noninteractive=True)
    source = PythonLaunchDescriptionSource(str(file))
    included = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    service.include_launch_description(LaunchDescription([included]))
    return int(service.run())


def run_stand_in(file: Path, arguments: dict[str, str]) -> int:
    """Start the processes of a launch file and end them all when one has ended; return the exit status."""
    try:
        launch = evaluate(file, arguments)
    except LaunchError as error:
        print(error, file=sys.stderr)
        return 1
    children = {
        command.executable: subprocess.Popen(
            [sys.executable, "-m", f"ros_nodes.{command.executable}", *command.arguments],
            cwd=ROOT,
            env={**os.environ, **launch.environment},
        )
        for command in launch.commands
    }
    watch = end_as_launch_does(children)
    while not (ended := [key for key, child in children.items() if child.poll() is not None]):
        time.sleep(0.005)
    failed = children[ended[0]].returncode != 0
    watch.join()
    return int(failed and all(command.fails_the_launch for command in launch.commands))


def main(words: list[str]) -> int:
    """Run the launch file of the command line."""
    file, *given = words
    arguments = dict(word.split(":=", 1) for word in given)
    return (run_real if real() else run_stand_in)(Path(file), arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
