"""The benchmark of faults: what fails is counted, what cannot be shown is named, and the figures have their names."""

from __future__ import annotations

import pytest

from benchmarks import faults
from benchmarks.fault_injection.check import Check, NotTriedError, Place, Seen
from benchmarks.faults import Arguments, main
from robots.host.reading import read_json


def dead(place: Place) -> Seen:
    raise AssertionError("waited 30 s in vain for the gate")


def impossible(place: Place) -> Seen:
    raise NotTriedError("no_such_msgs is not installed")


@pytest.mark.ros
def test_figures_count_what_failed_and_name_what_was_not_tried(monkeypatch, tmp_path, capsys):
    checks = (
        Check("good", "node", "rest", lambda place: Seen(True, "rested", 0.1, stop=0.1)),
        Check("late", "node", "rest", lambda place: Seen(False, "went on", 0.9, stop=0.9, loss=0.2)),
        Check("dead", "node", "rest", dead),
        Check("impossible", "node", "rest", impossible),
    )
    monkeypatch.setattr(faults, "CHECKS", checks)
    with pytest.raises(SystemExit):
        main(Arguments(repeats=2, json=tmp_path / "figures.json"))
    figures = read_json(tmp_path / "figures.json", "figures")
    assert (figures["faults_tried"], figures["faults_failed"]) == (6, 4)
    assert (figures["worst_stop_s"], figures["worst_recording_loss_s"]) == (0.9, 0.2)
    assert figures["not_tried"] == {"impossible": "no_such_msgs is not installed"}
    assert [row[-1] for row in figures["rows"]] == ["2 of 2", "0 of 2", "0 of 2"]
    assert "waited 30 s in vain" in capsys.readouterr().out


def test_every_fault_has_a_name_of_its_own():
    names = [check.name for check in faults.CHECKS]
    assert len(set(names)) == len(names)
