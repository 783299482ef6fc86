"""What a killed node leaves in shared memory is freed; what a living one uses is not."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from ros_nodes import topics
from ros_nodes.session.shared_memory import FOLDER, free_leftovers


def make(folder: Path, name: str) -> None:
    for suffix in ("", "_el"):
        (folder / (name + suffix)).write_bytes(b"x" * 1000)


def test_only_what_nobody_holds_is_removed(tmp_path):
    for name in ("fastdds_dead", "fastdds_alive", "fastrtps_dead", "fastdds_mapped", "other_dead"):
        make(tmp_path, name)
    (tmp_path / "fastdds_port7411_sl").touch()
    (tmp_path / "fastdds_port7411").write_bytes(b"x" * 1000)
    held = os.open(tmp_path / "fastdds_alive_el", os.O_RDONLY)
    port = os.open(tmp_path / "fastdds_port7411_sl", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    fcntl.flock(port, fcntl.LOCK_SH)
    assert free_leftovers(tmp_path) == 0  # all are too young to tell
    with (tmp_path / "fastdds_mapped").open("rb") as opened:
        assert free_leftovers(tmp_path, young=-1.0) == 4000
        assert (tmp_path / "fastdds_mapped").exists()  # unlocked, but somebody has it
    assert opened.closed
    assert free_leftovers(tmp_path, young=-1.0) == 2000
    assert not list(tmp_path.glob("fast*_dead*"))
    assert len(list(tmp_path.glob("fastdds_alive*"))) == len(list(tmp_path.glob("fastdds_port7411*"))) == 2
    assert len(list(tmp_path.glob("other*"))) == 2
    os.close(held)
    os.close(port)
    assert free_leftovers(tmp_path, young=-1.0) == 3000
    assert free_leftovers(tmp_path / "nowhere") == 0


def segments_of(pid: int) -> set[str]:
    """Shared-memory files of Fast DDS that a process has mapped or open."""
    mapped = {
        Path(line.split(None, 5)[5].strip()).name
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines()
        if "/dev/shm/fast" in line
    }
    return {name for name in mapped if "port" not in name}


@pytest.mark.ros
def test_killed_node_leaves_nothing_and_the_living_go_on(ros):
    living = ros.start("safety_gate", robot="franka_panda")
    ros.wait(lambda: ros.observer.count_publishers(topics.GATE_STATE) == 1, "the gate", 40.0)
    ros.environment = {**ros.environment, "ROS_DOMAIN_ID": str((int(ros.environment["ROS_DOMAIN_ID"]) + 50) % 100)}
    lonely = ros.start("safety_gate", robot="franka_panda")  # nobody else maps what is its own
    ros.wait(lambda: bool(segments_of(lonely.pid)), "its segment", 40.0)
    left, used = segments_of(lonely.pid), segments_of(living.pid)
    lonely.kill()
    lonely.wait()

    def gone() -> bool:
        free_leftovers(young=2.0)
        return not any((FOLDER / name).exists() for name in left)

    ros.wait(gone, "the segments to go", 30.0)
    assert used
    assert all((FOLDER / name).exists() for name in used)
    assert living.poll() is None
