"""Files appear whole or not at all; a full disk says so and leaves what was there."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from robots.host.writing import (
    WriteError,
    whole_file,
    whole_folder,
    write_arrays,
    write_bytes,
    write_json,
    write_text,
    write_with,
)
from tests.support.full_disk import room_for

ROOT = Path(__file__).resolve().parents[3]
BIG = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_bytes(path, BIG.tobytes()),
        lambda path: write_json(path, BIG.tolist()),
        lambda path: write_arrays(path, {"a": BIG, "b": BIG}),
        lambda path: write_arrays(path, {"a": BIG, "b": BIG}, compress=False),
        lambda path: write_with(path, partial(torch.save, {"a": torch.from_numpy(BIG)})),
    ],
    ids=["bytes", "json", "npz", "npz stored", "torch"],
)
def test_full_disk_is_named_and_the_old_file_stays(tmp_path, write):
    path = tmp_path / "file"
    write_text(path, "before")
    with (
        room_for(100_000),
        pytest.raises(WriteError, match=r"^'.*file' could not be written: the disk is full \(File too"),
    ):
        write(path)
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    write(path)
    assert path.stat().st_size > 200_000


def test_a_folder_appears_whole_or_not_at_all(tmp_path):

    def fill() -> None:
        with whole_folder(tmp_path / "a") as scratch:
            (scratch / "one").write_text("1")
            (scratch / "two").write_bytes(BIG.tobytes())

    with room_for(100_000), pytest.raises(WriteError, match="disk is full"):
        fill()
    assert not list(tmp_path.iterdir())
    with whole_folder(tmp_path / "a") as scratch:
        (scratch / "one").write_text("1")
    with pytest.raises(WriteError, match="exists already"), whole_folder(tmp_path / "a"):
        pass
    assert [each.name for each in (tmp_path / "a").iterdir()] == ["one"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(WriteError, match=r"no/file' could not be written: No such file or directory; does its folder"):
        write_text(tmp_path / "no" / "file", "x")


def test_another_exception_passes_and_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "file", {"a": object()})

    def break_off() -> None:
        with whole_file(tmp_path / "file") as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    assert not list(tmp_path.iterdir())


def test_file_and_folder_are_flushed_in_order(tmp_path):
    """As the kernel is asked: the file, then its new name, then the folder's list."""
    script = "import sys; from robots.host.writing import write_text; write_text(sys.argv[1], 'x')"
    code = (
        "import os\n"
        "seen = []\n"
        "def note(name):\n"
        "    real = getattr(os, name)\n"
        "    def call(*a):\n"
        "        at = os.readlink(f'/proc/self/fd/{a[0]}') if isinstance(a[0], int) else str(a[1])\n"
        "        seen.append((name, os.path.basename(at)))\n"
        "        return real(*a)\n"
        "    setattr(os, name, call)\n"
        "note('fsync'); note('replace')\n"
        f"{script}\n"
        "print(seen)\n"
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    done = subprocess.run([sys.executable, "-c", code, folder / "f"], capture_output=True, text=True, check=True)
    (first, name), second, third = ast.literal_eval(done.stdout)
    assert (first, name.startswith(".f."), second, third) == ("fsync", True, ("replace", "f"), ("fsync", "folder"))


def test_new_files_have_ordinary_permissions(tmp_path):
    (tmp_path / "plain").write_text("x")
    write_text(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


APPENDING = {
    "robots/host/writing.py",  # is the writer
    "policies/sweep.py",  # logs of its runs
    "ros_nodes/session/child_processes.py",  # logs of its processes
    "evaluation/session/ledger.py",  # appends a line under a lock
    "evaluation/report/images.py",  # a video into memory
    "ros_nodes/recording/bag.py",  # reserves room for what it appends
    "policies/foreign/messages.py",  # a message into memory
    "robots/datasets/videos.py",  # into the folder that `write_dataset` makes whole
}
"""May open files for writing themselves; so may what writes into a temporary folder."""
WRITES = {"write_text", "write_bytes", "savez", "savez_compressed", "imwrite", "json.dump", "torch.save"}
BUFFERED = ("whole_file(", "whole_folder(", "tempfile", "os.devnull")
"""What a module has that writes into what it is given."""


def own_writers(path: Path) -> list[str]:
    """Calls in a module that write a file in place."""
    text = path.read_text()
    if any(each in text for each in BUFFERED):
        return []
    found = []
    for call in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)):
        written = ast.unparse(call.func)
        name = written.rpartition(".")[2]
        modes = [a.value for a in (*call.args, *(k.value for k in call.keywords)) if isinstance(a, ast.Constant)]
        opens = name in ("open", "ZipFile") and any(isinstance(m, str) and m[:1] in ("w", "a", "x") for m in modes)
        if opens or ("." in written and WRITES & {name, written}):
            found.append(f"{path.relative_to(ROOT)}:{call.lineno} {written}")
    return found


def test_every_writer_of_the_product_goes_through_here():
    rooms = ("robots", "sim", "policies", "adaptation", "evaluation", "ros_nodes", "sim2real")
    modules = [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]
    found = [w for path in modules if str(path.relative_to(ROOT)) not in APPENDING for w in own_writers(path)]
    assert found == []


def test_a_writer_in_place_is_found():
    assert any("write_text" in each for each in own_writers(Path(__file__).with_name("test_processes.py")))
