"""Sessions whose process is killed, whose worker dies, or whose disk is full."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from evaluation.report.session_report import protocol_deviations, read_session
from evaluation.session.protocol_file import register_file
from evaluation.session.scheduler import TrialScheduler
from evaluation.session.session_folder import begin_session
from evaluation.simulation.pool import run_trials
from sim.workers.local import LocalWorkers
from sim.workers.pool import WorkersError
from sim2real.command_line import main
from tests.support.session_plan import PLAN, facts

ROOT = Path(__file__).resolve().parents[3]

# A session without its arm: what is killed is the process that conducts and records it. It is forked, so that a
# hundred of them need not import everything a hundred times.
RECORDER = """
import os, sys
from pathlib import Path
from evaluation.session.scheduler import TrialScheduler
from evaluation.session.protocol_file import open_registered
from evaluation.session.session_folder import begin_session
from tests.support.session_plan import made_up
file, registration = open_registered(Path(sys.argv[1]))
for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        with begin_session(Path(sys.argv[2]), registration, "sim").store() as store:
            scheduler = TrialScheduler(registration.protocol, store)
            os.write(1, b"ready %d\\n" % os.getpid())
            while planned := scheduler.next():
                scheduler.record(made_up(registration.protocol, planned, planned.index % 2 == 0))
                os.write(1, f"{planned.policy} {planned.index}\\n".encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.write(1, b"over\\n")
"""


@pytest.mark.slow
def test_sigkill_loses_no_trial_and_counts_none_twice(plan, tmp_path) -> None:
    plan.write_text(PLAN.format(trials=3000, stop="fixed"))
    _, registration = register_file(plan)
    schedule = [(t.policy, t.index) for t in registration.protocol.schedule()]
    rng, acknowledged = random.Random(0), []
    with subprocess.Popen(
        [sys.executable, "-c", RECORDER, str(plan), str(tmp_path / "out")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as recorder:
        for _ in range(20):
            recorder.stdin.write("go\n")
            recorder.stdin.flush()
            ready, child = recorder.stdout.readline().split()
            assert ready == "ready"
            lines = [recorder.stdout.readline() for _ in range(rng.randint(0, 5))]
            time.sleep(rng.uniform(0, 0.01))
            os.kill(int(child), signal.SIGKILL)
            while (line := recorder.stdout.readline()) != "over\n":
                lines.append(line)
            acknowledged += [(policy, int(index)) for policy, index in map(str.split, lines)]
            recorded = [(t.policy, t.index) for t in facts(tmp_path / "out")]
            assert recorded == schedule[: len(recorded)]
            assert set(acknowledged) <= set(recorded)
            assert len(set(acknowledged)) == len(acknowledged)
        recorder.stdin.close()
    assert len(acknowledged) > 20


@pytest.mark.slow
def test_a_full_disk_is_named_and_the_session_goes_on_when_there_is_space(plan, tmp_path, capsys) -> None:
    assert main(["session", "register", str(plan)]) == 0
    out, limit = tmp_path / "out", 40 * 1024

    def little_space() -> None:
        # SIGXFSZ would kill; ignored, writes beyond the limit fail, as they do on a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    arguments = ["session", "run", str(plan), "--out", str(out), "--workers", "1", "--videos", "0"]
    full = subprocess.run(
        [sys.executable, "-m", "sim2real", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=little_space,
        timeout=250,
    )
    assert full.returncode == 1
    assert "free space, then resume" in full.stderr
    assert "Traceback" not in full.stderr
    before = facts(out)
    assert 0 < len(before) < 8
    assert main(arguments) == 0
    after = facts(out)
    assert after[: len(before)] == before
    assert len(after) == 8
    assert any(text.startswith("Resumed") for text in protocol_deviations(read_session(out)))


class Dying:
    """A worker that dies at its first batch."""

    count = 1
    seconds = 0.0

    def __init__(self):
        self._inner = LocalWorkers(1)

    def submit(self, function, *arguments):
        return self._inner.submit(os._exit, 3)

    def share(self, value):
        return value

    def close(self):
        self._inner.close()


def test_a_worker_that_dies_is_named_and_nothing_is_made_up(plan, tmp_path) -> None:
    file, registration = register_file(plan)
    with begin_session(tmp_path / "out", registration, "sim").store() as store, closing(Dying()) as workers:
        scheduler = TrialScheduler(registration.protocol, store)
        with pytest.raises(WorkersError, match=r"a worker died.*start again to go on"):
            run_trials(scheduler, workers, file.bundles, "mild")
        assert scheduler.progress.counted == 0
        assert store.trials() == ()
