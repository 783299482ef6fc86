"""A session's trials as a table that others read, and their videos."""

from __future__ import annotations

import csv

import numpy as np
import pyarrow.parquet
import pytest

from evaluation.report.video import save_video, write_mp4
from evaluation.session.trial_table import write_trial_table
from evaluation.session.trials import LatencySummary, Trial, TrialError
from robots.datasets.videos import pyav

TRIALS = (
    Trial("tuesday", "a", "0" * 64, 0, 7, True, 2.5, {"x": 0.4}, latency=LatencySummary.of([0.01, 0.02])),
    Trial("tuesday", "b", "1" * 64, 0, 7, False, 3.0, {"x": 0.4, "yaw": 0.1}, void=True, void_reason="camera, lost"),
)


def test_csv_and_parquet_have_the_same_rows(tmp_path):
    names = write_trial_table(TRIALS, tmp_path / "t.csv")
    write_trial_table(TRIALS, tmp_path / "t.parquet")
    with (tmp_path / "t.csv").open() as file:
        rows = list(csv.DictReader(file))
    table = pyarrow.parquet.read_table(tmp_path / "t.parquet").to_pylist()
    assert list(rows[0]) == names == list(table[0])
    for mine, theirs in zip(rows, table):
        assert {key: "" if value is None else str(value) for key, value in theirs.items()} == mine
    assert table[0]["success"] is True
    assert table[0]["latency.p99"] == pytest.approx(0.02, rel=0.1)
    assert (table[0]["initial.yaw"], table[1]["initial.yaw"]) == (None, 0.1)
    assert table[1]["void_reason"] == "camera, lost"


def test_what_cannot_be_written_is_said(tmp_path):
    with pytest.raises(TrialError, match=r"ends in \.csv or \.parquet"):
        write_trial_table(TRIALS, tmp_path / "t.xlsx")
    with pytest.raises(TrialError, match="no trial yet"):
        write_trial_table((), tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("mine")
    with pytest.raises(TrialError, match="exists already"):
        write_trial_table(TRIALS, tmp_path / "t.csv")


def test_a_video_is_as_long_as_its_trial_though_frames_were_lost(tmp_path):
    stamps = np.delete(np.arange(40) / 20.0, [7, 8, 9])
    frames = [np.full((32, 48, 3), 6 * k, np.uint8) for k in range(len(stamps))]
    path = save_video(frames, stamps, tmp_path / "video_a_0.npz")
    fps = write_mp4(path, tmp_path / "a_0.mp4")
    with pyav().open(str(tmp_path / "a_0.mp4")) as container:
        shown = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)]
    assert len(shown) / fps == pytest.approx(stamps[-1], abs=0.15)
    assert shown[-1] == pytest.approx(6 * (len(stamps) - 1), abs=8)
    assert (np.diff(shown) >= -2).all()
