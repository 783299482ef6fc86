import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from evaluation.session.store import TrialStore
from evaluation.session.trials import LATENCY_EDGES, LatencySummary, Trial, TrialError


def make_trial(index: int = 0, **changes) -> Trial:
    trial = Trial(
        session="tuesday",
        policy="adapted",
        bundle="ab" * 32,
        index=index,
        seed=1000 + index,
        success=True,
        duration=3.5,
        initial={"x": 0.5, "y": -0.1},
        final_distance=0.012,
        time_to_success=2.25,
        hold=0.5,
        interventions={"velocity": 3},
        latency=LatencySummary.of([0.001, 0.002, 0.004], deadline=0.003),
        parameters={"friction": 0.7},
        note="lamp on; “evening”",
    )
    return replace(trial, **changes)


def test_a_trial_comes_back_as_it_went_in(tmp_path):
    trials = (
        make_trial(0),
        make_trial(1, success=False, time_to_success=None, final_distance=None, latency=None),
        make_trial(2, void=True, void_reason="success at reset", verdict="operator"),
    )
    with TrialStore(tmp_path / "trials.sqlite") as store:
        for trial in trials:
            store.add(trial)
        assert store.trials() == trials
    with TrialStore(tmp_path / "trials.sqlite") as store:
        assert store.trials("tuesday", "adapted") == trials
        assert store.trials("monday") == ()


def test_numpy_scalars_are_stored_as_numbers(tmp_path):
    trial = make_trial(
        np.int64(3),
        success=np.bool_(True),
        final_distance=np.float32(0.5),
        initial={"x": np.float32(0.25)},
        interventions={"velocity": np.int64(2)},
    )
    with TrialStore(tmp_path / "t.sqlite") as store:
        store.add(trial)
        (stored,) = store.trials()
    assert (stored.index, stored.success, stored.final_distance) == (3, True, 0.5)
    assert type(stored.success) is bool
    assert stored.initial == {"x": 0.25}


def test_done_says_where_to_resume(tmp_path):
    with TrialStore(tmp_path / "t.sqlite") as store:
        for index in (0, 1, 4):
            store.add(make_trial(index))
        store.add(make_trial(0, policy="other"))
        store.add(make_trial(2, void=True, void_reason="camera unplugged"))
        assert store.done("tuesday", "adapted") == {0, 1, 4}
        assert store.done("tuesday", "other") == {0}
        assert store.done("monday", "adapted") == set()


def test_nothing_counts_twice(tmp_path):
    with TrialStore(tmp_path / "t.sqlite") as store:
        store.add(make_trial(0))
        other_outcome = make_trial(0, success=False, time_to_success=None)
        for again in (make_trial(0), make_trial(0, attempt=1), other_outcome):
            with pytest.raises(TrialError, match=r"tuesday/adapted/0 .*already recorded.*resume"):
                store.add(again)
        assert len(store.trials()) == 1


def test_a_void_trial_is_tried_again_and_kept(tmp_path):
    with TrialStore(tmp_path / "t.sqlite") as store:
        store.add(make_trial(0, void=True, void_reason="cable"))
        with pytest.raises(TrialError, match="already recorded"):
            store.add(make_trial(0))  # the same attempt
        store.add(make_trial(0, attempt=1))
        with pytest.raises(TrialError, match="already recorded"):
            store.add(make_trial(0, attempt=2, void=True, void_reason="regret"))
        assert [t.void for t in store.trials()] == [True, False]
        assert store.done("tuesday", "adapted") == {0}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log SET kind = 'event'",
        "DELETE FROM log",
        "REPLACE INTO log (seq, at, kind, content, previous, hash) "
        "SELECT seq, at, kind, content, previous, hash FROM log",
        "INSERT OR REPLACE INTO log (seq, at, kind, content, previous, hash) "
        "SELECT seq + 1, at, kind, content, previous, hash FROM log",
        "INSERT INTO log (seq, at, kind, content, previous, hash) "
        "SELECT seq + 1, at, kind, content, hash, hash FROM log",
    ],
)
def test_the_file_itself_refuses_changes(tmp_path, statement):
    path = tmp_path / "t.sqlite"
    with TrialStore(path) as store:
        store.add(make_trial(0))
    other = sqlite3.connect(path)  # any program, not only ours
    with pytest.raises(sqlite3.IntegrityError, match=r"append-only|already recorded"):
        other.execute(statement)
    other.rollback()
    other.close()
    with TrialStore(path) as store:
        assert store.trials() == (make_trial(0),)


def test_a_row_is_on_disk_when_add_returns(tmp_path):
    with TrialStore(tmp_path / "t.sqlite") as store:
        assert store._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
        store.add(make_trial(0))
        with TrialStore(tmp_path / "t.sqlite") as reader:
            assert len(reader.trials()) == 1


def test_a_full_disk_is_named_and_the_store_stays_usable(tmp_path):
    path = tmp_path / "t.sqlite"
    with TrialStore(path) as store:
        store.add(make_trial(0))
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(TrialError, match=r"adapted/1 .*not recorded.*full.*free space"):
            store.add(make_trial(1, note="x" * 20_000))
        store._db.execute("PRAGMA max_page_count = 100000")
        store.add(make_trial(1))
        assert store.done("tuesday", "adapted") == {0, 1}


def test_what_is_not_a_store_is_refused_and_left_alone(tmp_path):
    (tmp_path / "text.sqlite").write_text("these are my holiday pictures, not a database at all")
    with pytest.raises(TrialError, match="is it a trial store"):
        TrialStore(tmp_path / "text.sqlite")
    foreign = sqlite3.connect(tmp_path / "foreign.sqlite")
    foreign.execute("CREATE TABLE songs (name TEXT)")
    foreign.commit()
    foreign.close()
    before = (tmp_path / "foreign.sqlite").read_bytes()
    with pytest.raises(TrialError, match="no trial store"):
        TrialStore(tmp_path / "foreign.sqlite")
    assert (tmp_path / "foreign.sqlite").read_bytes() == before
    with pytest.raises(TrialError, match="folder does not exist"):
        TrialStore(tmp_path / "nowhere" / "t.sqlite")


def test_another_schema_version_is_refused(tmp_path):
    TrialStore(tmp_path / "t.sqlite").close()
    newer = sqlite3.connect(tmp_path / "t.sqlite")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(TrialError, match="schema version 99, expected 3"):
        TrialStore(tmp_path / "t.sqlite")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy": ""}, "need a name"),
        ({"index": -1}, "index -1"),
        ({"duration": float("nan")}, "duration is nan"),
        ({"final_distance": -0.1}, "final_distance is -0.1"),
        ({"time_to_success": 9.0}, "lasted only 3.5 s"),
        ({"success": False}, "failed, yet time_to_success"),
        ({"void": True}, "give both or neither"),
        ({"void_reason": "why"}, "give both or neither"),
        ({"verdict": "gut feeling"}, "expected one of"),
    ],
)
def test_a_trial_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(TrialError, match=message):
        replace(make_trial(0), **changes)


def test_values_that_json_cannot_hold_are_refused(tmp_path):
    with TrialStore(tmp_path / "t.sqlite") as store:
        with pytest.raises(TrialError, match="finite plain numbers"):
            store.add(make_trial(0, parameters={"friction": float("inf")}))
        assert store.trials() == ()


def test_latency_summary_of_known_values():
    values = np.linspace(0.001, 0.1, 100)
    summary = LatencySummary.of(values, deadline=0.0905)
    assert summary.p50 == pytest.approx(0.0505)
    assert summary.p99 == pytest.approx(np.quantile(values, 0.99))
    assert (summary.count, summary.maximum, summary.missed) == (100, 0.1, 10)
    assert sum(n for _, n in summary.histogram) == 100


def test_merged_latencies_equal_the_latencies_together():
    rng = np.random.default_rng(0)
    parts = [rng.lognormal(np.log(m), 0.5, 3000) for m in (0.002, 0.004, 0.01)]
    merged = LatencySummary.merge([LatencySummary.of(p, deadline=0.02) for p in parts])
    together = LatencySummary.of(np.concatenate(parts), deadline=0.02)
    assert merged.histogram == together.histogram
    assert (merged.count, merged.maximum, merged.missed) == (9000, together.maximum, together.missed)
    assert merged.p50 == pytest.approx(together.p50, rel=0.06)
    assert merged.p99 == pytest.approx(together.p99, rel=0.06)


def test_latencies_outside_the_histogram_are_kept_in_its_last_bins():
    summary = LatencySummary.of([0.0, 60.0])
    assert [i for i, _ in summary.histogram] == [0, len(LATENCY_EDGES) - 2]
    assert summary.maximum == 60.0


@pytest.mark.parametrize("values", [[], [float("nan")], [-0.001]])
def test_wrong_latencies_are_refused(values):
    with pytest.raises(TrialError, match="expected at least one"):
        LatencySummary.of(values)


WRITER = """
import sys
from pathlib import Path
from evaluation.session.store import TrialStore
from evaluation.session.trials import Trial
with TrialStore(Path(sys.argv[1])) as store:
    done = store.done("s", "p")
    for index in range(int(sys.argv[2])):
        if index not in done:
            store.add(Trial("s", "p", "ab", index, index, True, 1.0, note="n" * 3000))
            print(index, flush=True)
"""


@pytest.mark.slow
def test_processes_that_create_one_store_at_once_all_write_to_it(tmp_path):
    writer = WRITER.replace('"s", "p"', 's, "p"').replace("import sys", "import sys; s = sys.argv[3]", 1)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", writer, str(tmp_path / "t.sqlite"), "20", name],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for name in "abc"
    ]
    for process in processes:
        assert process.communicate() == (None, b"")
    with TrialStore(tmp_path / "t.sqlite") as store:
        assert [store.done(name, "p") for name in "abc"] == [set(range(20))] * 3


@pytest.mark.slow
def test_sigkill_loses_nothing_and_doubles_nothing(tmp_path):
    path, rng, total = tmp_path / "t.sqlite", random.Random(0), 100_000
    acknowledged: list[int] = []
    for kill in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(total)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        if kill > 1:  # the first two are killed while they import and create the file
            acknowledged.append(int(process.stdout.readline()))
        time.sleep(rng.uniform(0, 0.05) if kill > 1 else rng.uniform(0.1, 0.25))
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
        process.wait()
        process.stdout.close()
        with TrialStore(path) as store:
            stored = [t.index for t in store.trials()]
        # One trial may be on disk whose acknowledgement the kill cut off; it is not tried again.
        assert len(stored) == len(set(stored))
        assert set(acknowledged) <= set(stored)
        assert len(set(stored) - set(acknowledged)) <= kill + 1
        assert stored == list(range(len(stored)))
    assert len(acknowledged) == len(set(acknowledged)) > 20
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
