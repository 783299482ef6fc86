"""Data sets: what is written is read, by this reader and by LeRobot's conventions; what is wrong is named."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robots.datasets.checks import problems
from robots.datasets.conversion import Conversion, convert_dataset
from robots.datasets.layout import (
    ACTION,
    CAMERA,
    STATE,
    About,
    DatasetError,
    DatasetFeature,
    joint_names,
    video_feature,
)
from robots.datasets.reader import open_dataset, read_tasks
from robots.datasets.summaries import combine, summarise
from robots.datasets.units import JointReader
from robots.datasets.writer import write_dataset
from robots.registry import load_robot

ROBOT = load_robot("franka_panda")
NAMES = joint_names(ROBOT.joint_names, True)
FRONT = f"{CAMERA}front"
FEATURES = {
    STATE: DatasetFeature("float32", (8,), NAMES),
    ACTION: DatasetFeature("float32", (8,), NAMES),
    "next.reward": DatasetFeature("float32", (1,)),
    "next.success": DatasetFeature("bool", (1,)),
    FRONT: video_feature(48, 64),
}
LENGTHS = (12, 7, 20)


def motion(count: int, seed: int) -> dict[str, np.ndarray]:
    """A slow motion about home, the fingers from open to closed."""
    t = np.arange(count)[:, None] / 20.0
    q = np.array(ROBOT.home) + 0.2 * np.sin(t * np.linspace(0.5, 1.5, 7) + seed)
    opening = np.linspace(0.04, 0.0, count)[:, None]
    state = np.hstack([q, opening]).astype(np.float32)
    reward = np.linspace(-1, 0, count, dtype=np.float32)
    return {STATE: state, ACTION: np.roll(state, -1, 0), "next.reward": reward, "next.success": reward > -0.2}


def pictures(count: int, seed: int) -> list[np.ndarray]:
    """A bright square that moves over a gradient."""
    found = []
    for k in range(count):
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[...] = np.linspace(30, 200, 64, dtype=np.uint8)[None, :, None]
        picture[10:22, k + 4 * seed : k + 4 * seed + 12] = (220, 40, 60)
        found.append(picture)
    return found


@pytest.fixture
def episodes() -> list[tuple[dict[str, np.ndarray], list[np.ndarray]]]:
    return [(motion(n, k), pictures(n, k)) for k, n in enumerate(LENGTHS)]


@pytest.fixture
def v3(tmp_path: Path, episodes) -> Path:
    """A data set as `sim2real dataset export` writes it."""
    with write_dataset(tmp_path / "v3", 20.0, FEATURES, About(ROBOT.name, "push")) as writer:
        for k, (columns, shown) in enumerate(episodes):
            writer.add(columns, f"push {k % 2}", {"success": k != 1, "note": None, "seed": k}, {FRONT: shown})
    return tmp_path / "v3"


@pytest.fixture
def v2(tmp_path: Path, episodes) -> Path:
    """A data set as lerobot wrote v2.1: a file an episode, degrees, a gripper of 0 to 100, names of its own."""
    folder, first = tmp_path / "v2", 0
    names = [f"main_{name}" for name in ROBOT.joint_names] + ["main_gripper"]
    joints = {"dtype": "float32", "shape": [8], "names": {"motors": names}}
    plain = {"dtype": "int64", "shape": [1], "names": None}
    keys = ("frame_index", "episode_index", "index", "task_index")
    features = {"action": joints, STATE: joints, **dict.fromkeys(keys, plain)}
    features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
    features[FRONT] = {"dtype": "video", "shape": [3, 48, 64], "names": ["channels", "height", "width"]}
    info = {
        "codebase_version": "v2.1",
        "robot_type": "panda",
        "total_episodes": len(LENGTHS),
        "total_frames": sum(LENGTHS),
        "total_tasks": 1,
        "total_videos": 3,
        "total_chunks": 1,
        "chunks_size": 1000,
        "fps": 20,
        "splits": {"train": "0:3"},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": features,
    }
    for part in ("meta", "data/chunk-000", f"videos/chunk-000/{FRONT}"):
        (folder / part).mkdir(parents=True)
    described, statistics = [], []
    for k, (columns, shown) in enumerate(episodes):
        count = len(shown)
        degrees = {key: np.degrees(columns[key]) for key in (STATE, ACTION)}
        for key in degrees:
            degrees[key][:, 7] = columns[key][:, 7] / 0.04 * 100
        rows = {key: pa.array(list(values), pa.list_(pa.float32(), 8)) for key, values in degrees.items()}
        numbers = {
            "timestamp": np.arange(count, dtype=np.float32) / 20,
            "frame_index": np.arange(count),
            "episode_index": np.full(count, k),
            "index": first + np.arange(count),
            "task_index": np.zeros(count, int),
        }
        first += count
        pq.write_table(pa.table(rows | numbers), folder / f"data/chunk-000/episode_{k:06d}.parquet")
        with av.open(str(folder / f"videos/chunk-000/{FRONT}/episode_{k:06d}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=20)
            stream.height, stream.width, stream.pix_fmt, stream.bit_rate = 48, 64, "yuv420p", 4_000_000
            for picture in shown:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode())
        described.append({"episode_index": k, "tasks": ["push it"], "length": count})
        stats = {key: {n: v.tolist() for n, v in summarise(each).items()} for key, each in (degrees | numbers).items()}
        stats[FRONT] = {name: [[[0.5]]] * 3 for name in ("min", "max", "mean", "std")} | {"count": [count]}
        statistics.append({"episode_index": k, "stats": stats})
    write = lambda rows: "".join(json.dumps(row) + "\n" for row in rows)  # noqa: E731
    (folder / "meta/info.json").write_text(json.dumps(info))
    (folder / "meta/episodes.jsonl").write_text(write(described))
    (folder / "meta/episodes_stats.jsonl").write_text(write(statistics))
    (folder / "meta/tasks.jsonl").write_text(write([{"task_index": 0, "task": "push it"}]))
    return folder


def faults(folder: Path) -> list[str]:
    """What `sim2real dataset check` prints."""
    try:
        return list(problems(open_dataset(folder)))
    except DatasetError as error:
        return [str(error)]


def edit(path: Path, change) -> None:
    """Change a file of JSON."""
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def edit_table(path: Path, change) -> None:
    """Change the columns of a Parquet file."""
    columns = pq.read_table(path).to_pydict()
    change(columns)
    pq.write_table(pa.table(columns), path)


def test_what_is_written_is_read(v3: Path, episodes) -> None:
    dataset = open_dataset(v3)
    assert (len(dataset), dataset.info.fps, dataset.info.cameras) == (3, 20.0, (FRONT,))
    assert dataset.about is not None
    assert (dataset.about.robot, dataset.about.task) == ("franka_panda", "push")
    assert dataset.info.features[STATE].names == NAMES
    assert list(problems(dataset)) == []
    tasks = read_tasks(dataset)
    for k, (columns, shown) in enumerate(episodes):
        for key, values in columns.items():
            np.testing.assert_array_equal(dataset.column(k, key), values)
        np.testing.assert_allclose(dataset.column(k, "timestamp"), np.arange(LENGTHS[k]) / 20, atol=1e-6)
        assert tasks[int(dataset.column(k, "task_index")[0])] == f"push {k % 2}"
        assert dataset.entries[k].facts == {"success": k != 1, "note": None, "seed": k}
        again = np.stack(list(dataset.pictures(k, FRONT)))
        assert again.shape == (LENGTHS[k], 48, 64, 3)
        assert np.abs(again.astype(int) - np.stack(shown)).mean() < 4


def test_the_files_are_laid_out_as_lerobot_lays_them_out(v3: Path) -> None:
    info = json.loads((v3 / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert info["data_path"] == "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    assert info["video_path"] == "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    assert type(info["fps"]) is int
    episodes = pq.read_table(v3 / "meta/episodes/chunk-000/file-000.parquet").to_pydict()
    assert episodes["dataset_from_index"] == [0, 12, 19]
    np.testing.assert_allclose(episodes[f"videos/{FRONT}/from_timestamp"], [0, 0.6, 0.95])
    data = pq.ParquetFile(v3 / "data/chunk-000/file-000.parquet")
    assert data.metadata.num_row_groups == 3
    assert data.schema_arrow.field(STATE).type == pa.list_(pa.float32(), 8)
    tasks = pq.read_table(v3 / "meta/tasks.parquet")
    assert tasks.to_pydict() == {"task_index": [0, 1], "task": ["push 0", "push 1"]}
    assert tasks.schema.pandas_metadata["index_columns"] == ["task"]
    stats = json.loads((v3 / "meta/stats.json").read_text())
    assert np.shape(stats[FRONT]["mean"]) == (3, 1, 1)
    assert {"min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"} == set(stats[STATE])


def test_statistics_of_episodes_combine_to_those_of_all() -> None:
    values = np.random.default_rng(0).normal(2.0, 3.0, (300, 4))
    whole, parts = summarise(values), combine([summarise(values[:50]), summarise(values[50:])])
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(parts[name], whole[name])


def test_an_old_data_set_in_degrees_becomes_one_in_si(v2: Path, episodes, tmp_path: Path) -> None:
    assert faults(v2) == []
    with pytest.raises(DatasetError, match=r"these are no radians; say --units degrees"):
        convert_dataset(open_dataset(v2), tmp_path / "no", Conversion(ROBOT))
    done = convert_dataset(open_dataset(v2), tmp_path / "si", Conversion(ROBOT, "degrees"))
    assert "action: joints from degrees" in done
    assert "action: gripper from 0–100" in done
    again = open_dataset(tmp_path / "si")
    assert list(problems(again)) == []
    for k, (columns, shown) in enumerate(episodes):
        for key in (STATE, ACTION):
            np.testing.assert_allclose(again.column(k, key), columns[key], atol=1e-6)
        found = np.stack(list(again.pictures(k, FRONT))).astype(int)
        assert np.abs(found - np.stack(shown)).mean() < 8
    assert not (tmp_path / "no").exists()


def test_another_rate_interpolates_positions_and_holds_pictures(v3: Path, tmp_path: Path, episodes) -> None:
    done = convert_dataset(open_dataset(v3), tmp_path / "slow", Conversion(ROBOT, rate=10.0))
    assert "resampled from 20 to 10 Hz" in done
    assert "left out next.reward, next.success" in done
    again = open_dataset(tmp_path / "slow")
    assert again.info.frames == 6 + 4 + 10
    np.testing.assert_allclose(again.column(0, STATE), episodes[0][0][STATE][::2], atol=1e-6)
    convert_dataset(open_dataset(v3), tmp_path / "fast", Conversion(ROBOT, rate=40.0))
    fast, slow = open_dataset(tmp_path / "fast").column(0, STATE), episodes[0][0][STATE]
    assert len(fast) == 23
    np.testing.assert_allclose(fast[1::2], (slow[1:] + slow[:-1]) / 2, atol=1e-6)
    assert len(list(open_dataset(tmp_path / "fast").pictures(0, FRONT))) == 23


def test_units_are_refused_that_cannot_be() -> None:
    q = motion(40, 0)[STATE]
    reader = JointReader("'action'", ROBOT, NAMES, (), 8)
    np.testing.assert_allclose(reader.convert(q, "unknown")[0], q)
    with pytest.raises(DatasetError, match="look like radians"):
        reader.convert(q, "degrees")
    full = np.array(ROBOT.limits.q_low), np.array(ROBOT.limits.q_high)
    percent = np.hstack([(q[:, :7] - full[0]) / (full[1] - full[0]) * 200 - 100, q[:, 7:] / 0.04 * 100])
    np.testing.assert_allclose(reader.convert(percent, "normalised")[0], q, atol=1e-6)
    with pytest.raises(DatasetError, match=r"in degrees is outside its limits"):
        reader.convert(np.hstack([q[:, :7] * 200, percent[:, 7:]]), "degrees")
    with pytest.raises(DatasetError, match=r"gripper reads .*expected 0 to 0.04 m, or 0 \(closed\) to 100"):
        reader.convert(np.hstack([q[:, :7], q[:, 7:] * 20]), "unknown")
    with pytest.raises(DatasetError, match="lacks joint 'panda_joint1' of 'franka_panda'"):
        JointReader("'action'", ROBOT, [f"joint_{k}" for k in range(8)], (), 8)
    with pytest.raises(DatasetError, match="has 8 elements and 0 names; name them in their order"):
        JointReader("'action'", ROBOT, None, (), 8)
    assert JointReader("'action'", ROBOT, None, (*ROBOT.joint_names, "gripper"), 8).has_gripper


def test_a_wrong_rate_shows_as_speed(v3: Path, tmp_path: Path) -> None:
    edit(v3 / "meta/info.json", lambda info: info.update(fps=400))
    assert any("0.050 s behind the one before, expected 0.003 (400 Hz)" in line for line in faults(v3))
    dataset = open_dataset(v3)
    columns = [dataset.columns(k) for k in range(3)]
    kept = {key: feature for key, feature in FEATURES.items() if key != FRONT}
    with write_dataset(tmp_path / "fast", 400.0, kept, About(ROBOT.name)) as writer:
        for each in columns:
            writer.add({key: each[key] for key in kept}, "push")
    with pytest.raises(DatasetError, match=r"moves at .* rad/s, its limit is .*; is 400 Hz the rate"):
        convert_dataset(open_dataset(tmp_path / "fast"), tmp_path / "no", Conversion(ROBOT))


DATA, EPISODES = "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"
VIDEO = f"videos/{FRONT}/chunk-000/file-000.mp4"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def drop_row(columns: dict, row: int = 5) -> None:
    for values in columns.values():
        del values[row]


def lie(stats: dict) -> None:
    stats[ACTION]["std"][2] *= 1.5


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        (VIDEO, Path.unlink, r"video '.*file-000.mp4' is missing; copy the data set again"),
        (VIDEO, cut, r"video '.*' cannot be read: .*; was its recorder killed\?"),
        (DATA, Path.unlink, r"'.*file-000.parquet' is missing"),
        (DATA, cut, r"'.*file-000.parquet' cannot be read: .*; was its recorder killed before it had finished\?"),
        (EPISODES, Path.unlink, r"half-written: meta/episodes/chunk-\*/file-\*.parquet is missing"),
        (
            EPISODES,
            lambda p: edit_table(p, lambda c: drop_row(c, 2)),
            r"half-written: .* says 3 episodes and 39 frames",
        ),
        (DATA, lambda p: edit_table(p, drop_row), r"has 38 rows, its episodes 39"),
        (
            DATA,
            lambda p: edit_table(p, lambda c: c["timestamp"].__setitem__(slice(6, 12), [1.3] * 6)),
            r"episode 0: frame 6 is 1.050 s behind the one before, expected 0.050 \(20 Hz\): frames are missing",
        ),
        (
            DATA,
            lambda p: edit_table(p, lambda c: c["action"][3].__setitem__(1, float("nan"))),
            r"episode 0: 'action' has values that are not finite",
        ),
        (
            "meta/stats.json",
            lambda p: edit(p, lie),
            r"statistics lie: std of 'action' of panda_joint3.pos is .*compute",
        ),
        (
            "meta/stats.json",
            lambda p: edit(p, lambda s: s.pop(STATE)),
            r"statistics of 'observation.state' are missing",
        ),
        (
            "meta/stats.json",
            lambda p: edit(p, lambda s: s[FRONT].update(mean=[[[120.0]]] * 3)),
            r"statistics lie: those of 'observation.images.front' are not three channels between 0 and 1",
        ),
        ("meta/stats.json", Path.unlink, r"stats.json' cannot be read"),
        ("meta/info.json", lambda p: edit(p, lambda i: i.update(codebase_version="v2.0")), r"expected v2.1 or v3.0"),
        ("meta/info.json", lambda p: edit(p, lambda i: i.update(fps=float(0))), r"fps is 0.0, expected a rate"),
        ("meta/info.json", lambda p: edit(p, lambda i: i.update(data_path="../{file_index}")), r"leads out of"),
        ("meta/info.json", lambda p: edit(p, lambda i: i.update(data_path="{a.__class__}")), r"expected a path with"),
        ("meta/info.json", lambda p: edit(p, lambda i: i["features"][STATE]["names"].pop()), r"7 names for 8 elements"),
        ("meta/info.json", cut, r"cannot be read"),
        ("meta/info.json", Path.unlink, r"meta/info.json is missing; give the folder that holds meta, data and videos"),
    ],
)
def test_a_bad_data_set_is_named_in_one_line(v3: Path, file: str, change, told: str) -> None:
    change(v3 / file)
    found = faults(v3)
    assert len(found) >= 1
    assert re.search(told, found[0]), found
    assert all("\n" not in line for line in found)


def test_frames_that_a_video_lacks_are_counted(v3: Path, tmp_path: Path, episodes) -> None:
    short = tmp_path / "short"
    with write_dataset(short, 20.0, FEATURES, About(ROBOT.name)) as writer:
        writer.add(episodes[0][0], "push", None, {FRONT: episodes[0][1]})
    (v3 / VIDEO).write_bytes((short / VIDEO).read_bytes())
    assert [line.split(": ")[0] for line in faults(v3)] == ["episode 1", "episode 2"]
    assert "7 of 7 frames are missing, the first at 0.600 s; it has 12" in faults(v3)[0]


def test_an_export_that_fails_leaves_nothing(tmp_path: Path, episodes) -> None:
    columns, shown = episodes[0]
    with (
        pytest.raises(DatasetError, match=r"'observation.images.front' has 11 pictures, expected 12"),
        write_dataset(tmp_path / "out", 20.0, FEATURES, About(ROBOT.name)) as writer,
    ):
        writer.add(columns, "push", None, {FRONT: shown[:-1]})
    assert list(tmp_path.iterdir()) == []
    wrong = {**columns, ACTION: columns[ACTION][:, :7]}
    with (
        pytest.raises(DatasetError, match=r"'action' has shape \(12, 7\), expected \(12, 8\)"),
        write_dataset(tmp_path / "out", 20.0, FEATURES, About(ROBOT.name)) as writer,
    ):
        writer.add(wrong, "push", None, {FRONT: shown})
    with (
        pytest.raises(DatasetError, match="rates are whole numbers"),
        write_dataset(tmp_path / "out", 12.5, FEATURES, About(ROBOT.name)),
    ):
        pass


def test_a_missing_library_is_named_with_its_extra(v3: Path) -> None:
    code = f"""if True:
        import sys
        sys.modules["pyarrow"] = None
        from robots.datasets.reader import open_dataset
        try:
            open_dataset({str(v3)!r})
        except ValueError as error:
            print(error)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'sim2real-arms[datasets]'" in done.stdout, done.stderr


def test_the_arm_must_be_that_of_the_data_set(v3: Path, tmp_path: Path) -> None:
    other = replace(ROBOT, name="other")
    with pytest.raises(DatasetError, match="is of arm 'franka_panda', not 'other'"):
        convert_dataset(open_dataset(v3), tmp_path / "no", Conversion(other))
    with pytest.raises(DatasetError, match="is in SI units already, not in degrees; leave --units out"):
        convert_dataset(open_dataset(v3), tmp_path / "no", Conversion(ROBOT, "degrees"))
