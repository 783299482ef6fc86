"""Recordings read back by two other libraries; files cut anywhere are repaired."""

from __future__ import annotations

import io
import re
import resource
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from ros_nodes.recording.bag import AppendFile, Bag, message_definition, repair_bag
from ros_nodes.recording.repair import RecordingError

STORE = get_typestore(Stores.ROS2_KILTED)
STRING = "std_msgs/msg/String"


def words(text: str) -> bytes:
    return bytes(STORE.serialize_cdr(STORE.types[STRING](data=text), STRING))


def record(folder: Path, messages: int = 60) -> Bag:
    bag = Bag(folder)
    for i in range(messages):
        topic = f"/t{i % 3}"
        bag.write(bag.add_topic(topic, STRING), 10**9 + i * 10**7, words(f"message {i}"))
        if i % 7 == 6:
            bag.flush()
        if i == 20:
            bag.add_metadata("parameters", {"safety_gate.rate": "100.0"})
    return bag


def read(folder: Path) -> list[str]:
    with Reader(folder) as reader:
        return [STORE.deserialize_cdr(raw, c.msgtype).data for c, _, raw in reader.messages()]


def test_other_libraries_read_it_back(tmp_path):
    bag = record(tmp_path / "bag")
    bag.close()
    assert read(bag.folder) == [f"message {i}" for i in range(60)]
    with (bag.folder / "bag_0.mcap").open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert summary.statistics.message_count == 60
        assert sorted(c.topic for c in summary.channels.values()) == ["/t0", "/t1", "/t2"]
        assert [m.name for m in reader.iter_metadata()] == ["parameters"]
        late = list(reader.iter_messages(topics=["/t1"], starting_at=10**9 + 30 * 10**7))
        assert len(late) == 10
    assert not (bag.folder / ".reserve").exists()


def test_definitions_are_whole():
    text, type_hash = message_definition("sensor_msgs/msg/JointState")
    assert "float64[] position" in text
    assert "MSG: std_msgs/Header" in text
    assert type_hash.startswith("RIHS01_")
    assert message_definition("no_such_msgs/msg/Thing") == ("", "")


def test_definition_of_a_sourced_package(tmp_path, monkeypatch):
    for package, name, text in (
        ("lab_msgs", "Bench", "Tool tool\nstd_msgs/Header header # when\n"),
        ("lab_msgs", "Tool", "string name\n"),
    ):
        path = tmp_path / "share" / package / "msg" / f"{name}.msg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    text, _ = message_definition("lab_msgs/msg/Bench")
    assert text.startswith("Tool tool")
    assert "MSG: lab_msgs/Tool\nstring name" in text


def repaired(path: Path, content: bytes) -> tuple[Path, int, bytes]:
    """Repair a recording of this content; return the readable file, the bytes left out, and its content."""
    shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(path.with_name(f"{path.name}_repaired"), ignore_errors=True)
    path.mkdir()
    file = path / f"{path.name}_0.mcap"
    file.write_bytes(content)
    (path / "metadata.yaml").write_text("{}")
    found = repair_bag(path)
    assert file.read_bytes() == content, "the original has changed"
    assert {each.name for each in path.iterdir()} == {file.name, "metadata.yaml"}
    (made,) = found.folder.glob("*.mcap")
    assert (found.folder == path) == (made == file)
    return made, found.skipped, made.read_bytes()


def numbers(file: Path, **options) -> list[int]:
    """The numbers in the messages of a file, as the library reads them with all checks."""
    with file.open("rb") as stream:
        messages = make_reader(stream, validate_crcs=True).iter_messages(**options)
        return [int(m.data[4:-1].split()[-1]) for _, _, m in messages]


def test_file_cut_anywhere_is_repaired(tmp_path):
    """Whatever was flushed and lies before the cut is kept, in order; an intact file gets no copy."""
    bag = record(tmp_path / "whole")
    bag.close()
    whole = (bag.folder / "whole_0.mcap").read_bytes()
    rng = np.random.default_rng(0)
    cuts = sorted({*rng.integers(40, len(whole), 40).tolist(), len(whole) - 1, len(whole) - 9})
    last = -1
    for cut in cuts:
        file, _, _ = repaired(tmp_path / "cut", whole[:cut])
        kept = numbers(file)
        if kept:
            assert read(file.parent) == [f"message {i}" for i in kept]
        assert kept == list(range(len(kept)))
        assert len(kept) >= last
        last = len(kept)
    assert last == 60
    found = repair_bag(bag.folder)
    assert (found.folder, found.skipped, found.summary.statistics.message_count) == (bag.folder, 0, 60)
    assert not (tmp_path / "whole_repaired").exists()


def chunked(folder: Path) -> tuple[bytes, list[tuple[int, int]]]:
    """A recording of four chunks of three messages on two topics, and where the chunks are."""
    bag = Bag(folder)
    for i in range(12):
        bag.write(bag.add_topic(f"/t{i % 2}", STRING), 10**9 + i, words(f"message {i}"))
        if i % 3 == 2:
            bag.flush()
    bag.close()
    whole = (folder / f"{folder.name}_0.mcap").read_bytes()
    chunks = make_reader(io.BytesIO(whole)).get_summary().chunk_indexes
    assert (len(chunks), bag.messages) == (4, 12)
    return whole, [(chunk.chunk_start_offset, chunk.chunk_start_offset + chunk.chunk_length) for chunk in chunks]


@pytest.mark.slow
def test_cut_recording_loses_its_last_chunk_only(tmp_path):
    """The chunks before the cut are kept, and nothing else is."""
    whole, chunks = chunked(tmp_path / "whole")
    for cut in range(60, len(whole), 17):
        content = whole[:cut] + bytes(20 * (cut % 2))  # zeros: what a file system may append at a power loss
        file, _, again = repaired(tmp_path / "cut", content)
        kept = 3 * sum(content[:end] == whole[:end] for _, end in chunks)
        assert numbers(file) == list(range(kept))
        assert repaired(tmp_path / "again", again)[:2] == (tmp_path / "again" / "again_0.mcap", 0)  # it is whole now
        if kept:
            assert numbers(file, topics=["/t1"]) == list(range(1, kept, 2))


@pytest.mark.slow
def test_a_flipped_bit_loses_one_chunk_at_most(tmp_path):
    """Wherever it is, in lengths and declarations too; the original stays."""
    whole, chunks = chunked(tmp_path / "whole")
    rng = np.random.default_rng(1)
    for at in rng.permutation(np.arange(8, len(whole) - 8))[:150]:
        content = bytearray(whole)
        content[at] ^= 1 << int(rng.integers(8))
        file, skipped, _ = repaired(tmp_path / "flipped", bytes(content))
        hit = [k for k, (start, end) in enumerate(chunks) if start <= at < end]
        kept = numbers(file)
        assert set(range(12)) - set(kept) <= {3 * k + i for k in hit for i in range(3)}, f"byte {at}"
        assert (skipped > 0) or not hit


def test_one_bit_of_a_thousand_messages(tmp_path):
    bag = Bag(tmp_path / "long")
    channel = bag.add_topic("/t", STRING)
    for i in range(1000):
        bag.write(channel, 10**9 + i, words(f"message {i}"))
        if i % 10 == 9:
            bag.flush()
    bag.close()
    content = bytearray((bag.folder / "long_0.mcap").read_bytes())
    content[content.index(b"message 150")] ^= 1
    file, skipped, _ = repaired(tmp_path / "bit", bytes(content))
    assert numbers(file) == [i for i in range(1000) if not 150 <= i < 160]
    assert 0 < skipped < 2000
    assert len(read(file.parent)) == 990
    with pytest.raises(RecordingError, match="bit_repaired' exists already; use that, or remove it"):
        repair_bag(tmp_path / "bit")


@pytest.mark.parametrize("compression", list(CompressionType))
def test_recording_of_another_program_is_repaired(tmp_path, compression):
    path, rng = tmp_path / "other.mcap", np.random.default_rng(0)
    with path.open("wb") as stream:
        writer = Writer(stream, chunk_size=100_000, compression=compression)
        writer.start("ros2")
        schema = writer.register_schema(STRING, "ros2msg", b"string data")
        channel = writer.register_channel("/t", "cdr", schema)
        for i in range(100):
            writer.add_message(channel, 10**9 + i, rng.bytes(10_000), 10**9 + i)
        writer.finish()
    whole = path.read_bytes()
    file, skipped, _ = repaired(tmp_path / "whole", whole)
    assert (file, skipped) == (tmp_path / "whole" / "whole_0.mcap", 0)
    file, _, _ = repaired(tmp_path / "cut", whole[: int(0.8 * len(whole))])
    with file.open("rb") as stream:
        assert 50 < len(list(make_reader(stream, validate_crcs=True).iter_messages(topics=["/t"]))) < 100


def test_full_disk_is_named_and_the_rest_is_kept(tmp_path):
    """A limit on the file's size stands in for the disk: the write fails the same way."""
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    bag = Bag(tmp_path / "full")
    channel = bag.add_topic("/t", STRING)
    written = 0
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        for i in range(100):
            bag.write(channel, 10**9 + i, words("x" * 3000))
            bag.flush()
            written += 1
    except RecordingError as error:
        assert re.search(r"full_0\.mcap: File too large after \d+ bytes; what was written is kept", str(error))  # noqa: PT017
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert 50 < written < 100
    bag.close()
    assert len(read(bag.folder)) == written


def test_full_disk_at_the_end_keeps_what_was_flushed(tmp_path):
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    bag = record(tmp_path / "full")
    flushed = bag.messages
    bag.write(bag.add_topic("/t0", STRING), 2 * 10**9, words("x" * 3000))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bag.size + 2500, hard))
        with pytest.raises(RecordingError, match="File too large"):
            bag.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert read(bag.folder) == [f"message {i}" for i in range(flushed)]


def test_existing_recording_is_never_overwritten(tmp_path):
    record(tmp_path / "bag").close()
    with pytest.raises(RecordingError, match="File exists; its recording is kept"):
        Bag(tmp_path / "bag")
    with pytest.raises(RecordingError, match="File exists"):
        AppendFile(tmp_path / "bag" / "bag_0.mcap")


def test_what_is_no_recording_is_refused(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "x_0.mcap").write_bytes(b"something else entirely")
    with pytest.raises(RecordingError, match="not an MCAP file"):
        repair_bag(tmp_path / "x")
    assert not (tmp_path / "x_repaired").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordingError, match=r"holds no \.mcap file"):
        repair_bag(tmp_path / "empty")
