"""Goals in words on the command line: fit, ask, accept or refuse, each with what was understood."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim2real.command_line import main
from tests.support.camera_students import untrained_bundle
from tests.support.tiny_bert import write_memorised_heads, write_tiny_bert
from tests.support.tiny_bundle import tiny_bundle

COMMANDS = Path(__file__).resolve().parents[2] / "benchmarks" / "commands" / "commands.csv"


@pytest.mark.slow
def test_heads_are_fitted_and_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, heads = write_tiny_bert(tmp_path / "bert"), tmp_path / "heads.npz"
    encoder = ["--text-encoder", str(folder)]
    assert main(["fit-goal", str(COMMANDS), "--out", str(heads), "--made", "16", "--members", "1", *encoder]) == 0
    assert f"{heads}: temperature " in capsys.readouterr().out
    assert main(["goal", "push the red cube " * 20, "--heads", str(heads), *encoder]) == 1
    shown = capsys.readouterr().out
    assert "understood   nothing" in shown
    assert "refused      it 'push the red cube" in shown
    main(["goal", "push the red cube", "--heads", str(heads), *encoder])  # so few sentences teach it nothing
    shown = capsys.readouterr().out
    assert {line.split()[0] for line in shown.splitlines()} >= {"verb", "colour", "certainty", "understood"}
    assert main(["goal", "push the red cube", *encoder]) == 1
    assert "were fitted to the text encoder" in capsys.readouterr().err


def test_the_part_of_a_fit_that_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.csv").write_text("part,style,goal,text\ntest,plain,push red,Push red.\n")
    folder = write_tiny_bert(tmp_path / "bert")
    words = ["fit-goal", str(tmp_path / "own.csv"), "--out", str(tmp_path / "h.npz"), "--text-encoder", str(folder)]
    assert main(words) == 1
    assert "expected some of part training, and some of part calibration" in capsys.readouterr().err
    assert main([*words, "--made", "0"]) == 1
    assert "--made is 0" in capsys.readouterr().err


def test_what_is_asked_for_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--bundles", str(tiny_bundle().save(tmp_path / "one")), "--out", str(tmp_path / "out")]
    assert main([*words, "--thing", "red", "--goal", "Push the red cube."]) == 1
    assert "--thing and --goal both say what is asked for" in capsys.readouterr().err
    assert main([*words, "--goal", "Push the red cube."]) == 1
    assert "one thing" in (said := capsys.readouterr().err) or "no text encoder" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_bundle_is_asked_for_what_it_can_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_tiny_bert(tmp_path / "bert")
    sentences = {
        "go above the red cube": {"verb": "reach", "colour": "red"},
        "push the red cube": {"verb": "push", "colour": "red"},
        "do not go above the red cube": {"verb": "negated"},
    }
    heads = write_memorised_heads(tmp_path / "heads.npz", folder, sentences)
    three, one = untrained_bundle("reach@3", "front"), tiny_bundle()
    words = ["--text-encoder", str(folder), "--heads", str(heads), "--bundle"]
    path = str(three.save(tmp_path / "three"))
    assert main(["goal", "go above the red cube", *words, path]) == 0
    assert "\naccepted     red\n" in capsys.readouterr().out
    assert main(["goal", "push the red cube", *words, path]) == 1
    shown = capsys.readouterr().out
    assert "understood   push the red thing" in shown
    assert "refused      it asks to push, and the policy can go above" in shown
    assert main(["goal", "push the red cube", *words, str(one.save(tmp_path / "one"))]) == 1
    assert "declares no colours" in capsys.readouterr().err
