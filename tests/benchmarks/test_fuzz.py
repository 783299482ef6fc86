"""Damaged files of every kind end in one line; seeds that once did not are kept."""

from __future__ import annotations

import io
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import fuzz
from benchmarks.fuzz import OUTCOMES, examine, fuzz_kind
from benchmarks.fuzzing.fuzz_kinds import KINDS, Kind, endless_graph
from benchmarks.fuzzing.mutations import damage
from policies.bundle import BundleError, PolicyBundle, graph_check
from policies.bundle.contents import StoredArrays
from robots.host.reading import FileError, parse_arrays, parse_json, read_bytes, read_json
from robots.specs import SpecError
from robots.urdf import UrdfError, read_urdf
from tests.support.tiny_bundle import tiny_bundle

QUICK = ("limits", "camera", "parameter space", "hidden reality", "arm", "motion", "demonstrations", "dry run")
"""Kinds whose example is small, and that are read in milliseconds."""
KEPT = [
    ("bundle behind its hashes", 48),  # hulls of NaN
    ("bundle zip", 35),  # a pipe
    ("arm", 5),  # a name that no file can have
    ("arm", 18),  # a joint that leads nowhere
    ("arm", 326),  # a limit of zero
    ("collision mesh", 32),  # flat geometry
    ("protocol", 10),  # a whole number beyond a float
    ("protocol", 24),
    ("hidden reality", 123),  # a link without a centre of mass
    ("hidden reality", 166),
    ("target", 311),  # joints of NaN
    ("demonstrations", 26),  # a column that is a matrix
]
"""Files that once gave a traceback, hung, or were accepted."""


def fine(outcome) -> bool:
    assert outcome.result in OUTCOMES
    return outcome.result in ("refused", "accepted")


@pytest.mark.parametrize(("kind", "number"), KEPT)
def test_kept_files_end_in_one_line(kind, number):
    (outcome,) = fuzz_kind(kind, range(number, number + 1))
    assert fine(outcome), outcome


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A sound example of each quick kind."""
    places = {}
    for name in QUICK:
        places[name] = tmp_path_factory.mktemp("sound") / "sound"
        places[name].mkdir()
        KINDS[name].make(places[name])
    return places


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(name=st.sampled_from(QUICK), number=st.integers(0, 1 << 32))
def test_damaged_files_are_refused_or_sound(sound, name, number):
    folder = sound[name].with_name("damaged")
    shutil.copytree(sound[name], folder)
    try:
        outcome = examine(name, number, folder, "")
    finally:
        shutil.rmtree(folder)
    assert fine(outcome), outcome


@pytest.mark.slow
def test_the_benchmark_finds_nothing(tmp_path):
    command = [sys.executable, "benchmarks/fuzz.py", "--quick", "--json", str(tmp_path / "figures.json")]
    done = subprocess.run(command, cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    figures = read_json(tmp_path / "figures.json", "figures")
    assert figures["files"] == 5 * len(KINDS)
    assert [figures[key] for key in ("tracebacks", "hangs", "crashes", "accepted_wrongly")] == [0, 0, 0, 0]


def test_the_fuzzer_finds_what_is_wrong(monkeypatch, tmp_path):
    """Readers that raise, hang, die and accept everything count as what they are."""

    def make(folder: Path) -> None:
        (folder / "a.json").write_text('{"a": 1.5, "b": [1, 2]}')

    readers = {
        "traceback": lambda folder: {}["nothing"],
        "hang": lambda folder: time.sleep(60),
        "crash": lambda folder: os.abort(),
        "accepted_wrongly": lambda folder: float("nan"),
    }
    monkeypatch.setattr(fuzz, "PATIENCE", 1.0)
    for expected, read in readers.items():
        folder = tmp_path / expected
        folder.mkdir()
        make(folder)
        monkeypatch.setitem(fuzz.KINDS, "made up", Kind(make, ("a.json",), read))
        assert examine("made up", 0, folder, "").result == expected


@pytest.mark.slow
def test_a_graph_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(graph_check, "SECONDS", 2)
    path = replace(tiny_bundle(), onnx=endless_graph()).save(tmp_path / "endless")
    began = time.monotonic()
    with pytest.raises(BundleError, match=r"endless': policy\.onnx does not end within 2 s of computing; export it"):
        PolicyBundle.load(path)
    assert time.monotonic() - began < 30


def test_a_graph_that_needs_too_much_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(graph_check, "MEMORY", 1 << 30)
    graph = onnx.load_from_string(tiny_bundle().onnx)
    shape = onnx.helper.make_tensor("shape", onnx.TensorProto.INT64, [1], [1 << 30])
    graph.graph.node.append(onnx.helper.make_node("Constant", [], ["many"], value=shape))
    graph.graph.node.append(onnx.helper.make_node("ConstantOfShape", ["many"], ["zeros"]))
    graph.graph.node.append(onnx.helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0))
    graph.graph.output.append(onnx.helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, []))
    path = replace(tiny_bundle(), onnx=graph.SerializeToString()).save(tmp_path / "greedy")
    with pytest.raises(BundleError, match=r"greedy': policy\.onnx|policy\.onnx cannot be run"):
        PolicyBundle.load(path)


def test_weights_are_unpacked_at_their_first_use_and_bounded():
    zeros = _packed(a=np.zeros(1 << 24, np.float32))
    with pytest.raises(FileError, match=r"x: weights unpacks to 67\d+ bytes, expected at most 1000000"):
        StoredArrays(zeros, "x: weights", 1_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stored = StoredArrays(zeros, "x", 1 << 27)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10
    assert bool(stored)
    assert stored["a"].shape == (1 << 24,)


def _packed(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": NaN}', "NaN is no number in JSON"),
        (b'{"a": 1e999}', "1e999 is no finite number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "has more than 80 digits"),
        (b'{"a": 1, "a": 2}', "the name 'a' stands twice"),
        (b"\xff", "cannot be read"),
        (b"[]", "holds list, expected names with values"),
    ],
)
def test_json_is_bounded(content, words):
    with pytest.raises(FileError, match=f"^file 'x' .*{words}"):
        parse_json(content, "file 'x'")


def test_only_ordinary_files_of_limited_size_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "large").write_bytes(bytes(100))
    for name, words in (
        ("pipe", "is no ordinary file"),
        ("loop", "cannot be read: Too many levels of symbolic links"),
        ("large", "has 100 bytes, expected at most 10"),
        (".", "is no ordinary file"),
        ("nothing", "cannot be read: No such file"),
        ("\0", "cannot be read"),
    ):
        with pytest.raises(FileError, match=f"^thing .*{words}"):
            read_bytes(f"{tmp_path}/{name}", "thing", 10)


def test_arrays_with_objects_are_refused():
    with pytest.raises(FileError, match="x is not a plain npz file"):
        parse_arrays(_packed(a=np.array([{}], object)), "x")


def test_joints_in_a_loop_are_refused():
    joint = '<joint name="{0}" type="fixed"><parent link="{1}"/><child link="{2}"/></joint>'
    links = "".join(f'<link name="{name}"/>' for name in "rabc")
    loop = joint.format("x", "a", "b") + joint.format("y", "b", "c") + joint.format("z", "c", "a")
    with pytest.raises(UrdfError, match=r"the joints .* form a loop; expected a tree"):
        read_urdf(f'<robot name="l">{links}{loop}</robot>')
    assert issubclass(UrdfError, SpecError)


def test_damage_follows_from_the_seed(tmp_path):
    for kind in ("limits", "motion"):
        results = []
        for place in ("a", "b"):
            folder = tmp_path / f"{kind} {place}"
            folder.mkdir()
            KINDS[kind].make(folder)
            target = folder / KINDS[kind].targets[0]
            done = damage(target, np.random.default_rng(5))
            results.append((done, target.read_bytes()))
        assert results[0] == results[1]
