"""The README and the pages of docs: blocks run, commands and links exist, words are rationed."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from policies.models.restore import CAMERA_STUDENT
from sim2real.command_line import main
from sim2real.options import Arguments
from tests.support.launch_stand_in import evaluate
from tests.support.pages import (
    DOCS,
    HOW_TO,
    PAGES,
    README,
    ROOT,
    blocks,
    commands,
    lines,
    named,
    spans,
    split,
    typed,
    words,
)
from tests.support.tiny_bundle import tiny_bundle

ROOMS = ("robots", "sim", "policies", "adaptation", "evaluation", "ros_nodes", "sim2real")
GROUPS = ("bundle", "calibrate", "dataset", "rig", "session")
"""Commands that have sub-commands."""
SLOW = {"README", "first_steps", "own_task", "simulate", "bundle_format"}
"""Pages whose Python blocks take more than a few seconds."""
BUNDLE = "runs/reach/best"
"""The bundle that pages load."""


@functools.cache
def help_of(*arguments: str) -> str:
    """Return what `sim2real … --help` prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            status = main([*arguments, "--help"])
        except SystemExit as end:
            status = end.code
    assert not status, f"no help: sim2real {' '.join(arguments)} --help ended with {status}"
    return printed.getvalue()


def check_options(arguments: list[str]) -> None:
    """Fail for a command or an option that the command line does not have."""
    if arguments == ["--help"]:
        return
    text = help_of(*arguments[: 2 if arguments[0] in GROUPS else 1])
    options = {each.split("=")[0] for each in arguments if each.startswith("--")}
    missing = options - set(re.findall(r"--[a-z][\w.-]*", text))
    assert not missing, f"{' '.join(arguments)}: no {', '.join(sorted(missing))}"


class Parsed(BaseException):
    """Ends a command once its options have been read."""


@pytest.fixture
def read_options(monkeypatch, tmp_path, request):
    """Return a function that reads a command's options as `sim2real` does, without running it."""

    def parse(*arguments, **settings):
        original(*arguments, **settings)
        raise Parsed

    original = Arguments.parse
    monkeypatch.setattr(Arguments, "parse", parse)
    (tmp_path / "my_task.py").write_text((DOCS / "examples" / "my_task.py").read_text())
    monkeypatch.chdir(tmp_path)

    def read(arguments: list[str]) -> None:
        if "--from" in arguments and arguments[0] != "identify":
            source = Path(arguments[arguments.index("--from") + 1])
            source.parent.mkdir(parents=True, exist_ok=True)
            if source.name == "bundle":  # a camera policy's
                replace(tiny_bundle(), network={"kind": CAMERA_STUDENT}).save(source)
            else:
                source.symlink_to(request.getfixturevalue("reach_bundle"))
        try:
            status = main(arguments)
        except Parsed:
            return
        # --resume and --repair take nothing but a folder, which does not exist
        assert arguments == ["--help"] or (status == 1 and arguments[1] in ("--resume", "--repair"))

    return read


@pytest.fixture(scope="module", autouse=True)
def wide_terminal():
    """Options are not broken across lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "240")
        yield


@pytest.fixture(scope="session")
def reach_bundle(tmp_path_factory):
    """A policy from state, trained briefly."""
    from policies.imitation.recipes import state_recipe
    from policies.imitation.state_run import StateRunConfig, train_state

    recipe = replace(state_recipe("reach", "franka_panda"), envs=4, validation_episodes=2)
    out = tmp_path_factory.mktemp("trained") / "reach"
    train_state(StateRunConfig(out, randomise="mild", recipe=recipe, evaluation_episodes=4, workers=1), quiet)
    return out / "best"


def quiet(stage: str, share: float, text: str = "") -> None:
    """Show no progress."""


@pytest.fixture
def folder(tmp_path, monkeypatch, reach_bundle):
    """A folder in which pages' blocks run: `BUNDLE` is there."""
    place = tmp_path / BUNDLE
    place.parent.mkdir(parents=True)
    place.symlink_to(reach_bundle)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_words_are_rationed():
    assert words(README) <= 700
    assert sum(map(words, HOW_TO)) <= 15_000


def test_the_words_of_a_page_are_counted_without_punctuation(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("| one | two-three |\n| --- | --- |\n`four` · five\n")
    assert words(page) == 4


WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]


@pytest.mark.parametrize(
    "page", [pytest.param(p, id=named(p), marks=[pytest.mark.slow] if p.stem in SLOW else []) for p in WITH_PYTHON]
)
def test_python_blocks_run(page, request, tmp_path, monkeypatch):
    code = blocks(page, "python")
    if any(BUNDLE in block for block in code):
        request.getfixturevalue("folder")
    else:
        monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in code:
        exec(compile(block, named(page), "exec"), namespace)


def test_every_task_member_in_the_tutorial_is_in_the_file():
    file = (DOCS / "examples" / "my_task.py").read_text()
    assert file == blocks(DOCS / "own_task.md", "python")[0]
    assert len(file.splitlines()) <= 60


TYPED = [(named(page), line) for page in PAGES for line in typed(page) if line.startswith("sim2real ")]


@pytest.mark.parametrize(
    ("page", "line"),
    [
        pytest.param(p, c, id=f"{p}: {c[:60]}", marks=[pytest.mark.slow] if re.search(r"--from \S+/best", c) else [])
        for p, c in TYPED
    ],
)
def test_commands_are_read(page, line, read_options):
    arguments = split(line)[1:]
    read_options(arguments)
    if "--" in arguments:  # a sweep's options of train
        read_options(["train", "--out", "runs/batch", *arguments[arguments.index("--") + 1 :]])


MENTIONED = [(named(page), span) for page in PAGES for span in spans(page) if span.startswith("sim2real ")]


@pytest.mark.parametrize(("page", "line"), MENTIONED, ids=[f"{p}: {c[:60]}" for p, c in MENTIONED])
def test_commands_in_the_text_exist(page, line):
    check_options(split(line)[1:])


@pytest.mark.parametrize(
    "line",
    [
        "teach --out runs/reach",
        "train --outt runs/reach",
        "train --out runs/reach --task juggle",
        "session begin x.toml",
        "evaluate --bundles a --out b --robot moon",
    ],
)
def test_commands_that_do_not_exist_are_noticed(line, read_options):
    with pytest.raises(AssertionError):
        read_options(split(line))


LAUNCHES = commands("ros2 launch sim2real_arms ", PAGES)


@pytest.mark.parametrize(("page", "line"), LAUNCHES, ids=[f"{p}: {c[:70]}" for p, c in LAUNCHES])
def test_launch_arguments_exist(page, line):
    name = line.split()[3]
    given = dict(re.findall(r"(\w+):=(\S*)", line))
    needed = {"session.launch.py": {"bundle": "x", "protocol": "x"}, "gate.launch.py": {"robot": "x"}}
    values = {key: value for key, value in given.items() if key != "params_file"}
    evaluate(ROOT / "launch" / name, {**needed.get(name, {"bundle": "x"}), **values})


def test_launch_files_and_nodes_exist():
    nodes = re.findall(r"\"(\w+) = ros_nodes", (ROOT / "setup.py").read_text())
    assert len(LAUNCHES) > 8
    for _, line in commands("ros2 run sim2real_arms ", PAGES):
        assert line.split()[3] in nodes


def test_topics_and_services_exist():
    names = re.findall(r"^[A-Z_]+ = \"([\w/]+)\"", (ROOT / "ros_nodes" / "topics.py").read_text(), re.M)
    known = {name if name.startswith("/") else f"/{name}" for name in names}
    own = re.compile(r"(?<![\w./])(/(?:policy|safety_gate|virtual_arm|recorder|e_stop)(?:/\w+)*)\b")
    found = {match for page in PAGES for line in lines(page) for match in own.findall(line)}
    ours = {topic for topic in found if topic.count("/") > 1 or topic == "/e_stop"}
    assert len(ours) > 8
    assert ours <= known


def test_parameters_of_nodes_exist():
    sources = "".join(path.read_text() for path in (ROOT / "ros_nodes").rglob("*.py"))
    known = set(re.findall(r"Parameter\(\s*\"(\w+)\"", sources))
    of_others = {
        "interpolate_from_desired_state",
        "open_loop_control",
        "command_in_type",
    }  # controllers', MoveIt Servo's
    pages = [DOCS / "on_the_robot.md", *(DOCS / "controllers").glob("*.md")]
    named_there = {m[1] for page in pages for span in spans(page) if (m := re.fullmatch(r"(\w+): \S+", span))}
    assert "effort_is_torque" in named_there
    assert named_there - of_others <= known


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {word for _, line in commands("make ", PAGES) for word in line.split()[1:] if "=" not in word}
    assert "demo" in asked
    assert asked <= targets


BENCHMARKS = [
    *commands("python benchmarks/", PAGES),
    *((path.name, json.loads(path.read_text())["command"]) for path in sorted((DOCS / "results/data").glob("*.json"))),
]


@pytest.mark.parametrize(("page", "line"), BENCHMARKS, ids=[f"{p}: {c[:60]}" for p, c in BENCHMARKS])
def test_commands_of_figures_exist(page, line):
    first, *rest = split(line)
    if first == "sim2real":
        check_options(rest)
    elif first == "python":
        source = (ROOT / rest[0]).read_text()
        for word in rest[1:]:
            field = word[2:].replace("-", "_")  # of a dataclass that tyro parses
            assert not word.startswith("--") or f'"{word}"' in source or f"    {field}: " in source, f"no {word}"
    else:
        assert first == "make"


def slug(heading: str) -> str:
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower())


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        assert "://" not in target or target.startswith("https://")
        if "://" in target:
            continue
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in map(slug, re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)), target


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_paths_and_modules_exist(page):
    for span in spans(page):
        if (
            re.fullmatch(rf"({'|'.join((*ROOMS, 'launch', 'docs', 'benchmarks', 'tests'))})/[\w./-]*", span)
            and "__pycache__" not in span
        ):
            assert (ROOT / span).exists(), span
        if re.fullmatch(rf"({'|'.join(ROOMS)})(\.\w+)+", span):
            path, name = ROOT / span.replace(".", "/"), span.rpartition(".")[2]
            module = path.parent.with_suffix(".py")
            exists = path.is_dir() or path.with_suffix(".py").is_file()
            assert exists or (module.is_file() and name in module.read_text()), span


def test_every_page_is_on_the_site():
    site = (ROOT / "mkdocs.yml").read_text()
    for page in DOCS.rglob("*.md"):
        assert str(page.relative_to(DOCS)) in site


def test_reference_names_modules_that_exist():
    for page in (DOCS / "reference").glob("*.md"):
        for module in re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE):
            assert importlib.util.find_spec(module), module


def test_arm_file_of_the_page_has_known_fields():
    from robots.arm_file import FIELDS, LIMITS, REQUIRED

    arm = json.loads(blocks(DOCS / "own_arm.md", "json")[0])
    assert set(REQUIRED) <= set(arm) <= set(FIELDS)
    assert set(arm["limits"]) - {"source"} <= set(LIMITS)
    rows = set(re.findall(r"^\| `(\w+)`", (DOCS / "own_arm.md").read_text(), re.MULTILINE))
    assert rows == set(FIELDS)


def page_command(page: str, start: str) -> list[str]:
    """Return the arguments of a page's one command that begins with `start`."""
    found = [line for line in lines(DOCS / page) if line.startswith(start)]
    assert len(found) == 1, found
    return split(found[0])[1:]


@pytest.mark.slow
def test_cheap_commands_run(folder, capfd):
    assert main(page_command("lab_sessions.md", "sim2real plan")) == 0
    assert "132  paired" in capfd.readouterr().out
    assert main(page_command("bundle_format.md", "sim2real bundle check")) == 0
    assert main([*page_command("first_steps.md", "sim2real evaluate --bundles runs/reach/best"), "--trials", "2"]) == 0
    assert (folder / "runs" / "reach_check" / "report.html").is_file()
    assert main([*page_command("identify.md", "sim2real excite --robot xarm6 --out"), "--tries", "2"]) == 0
    assert (folder / "motion.npz").is_file()


@pytest.mark.slow
def test_a_session_as_on_the_page_runs(folder, reach_bundle):
    plan = blocks(DOCS / "lab_sessions.md", "toml")[0].replace("trials = 30", "trials = 2")
    (folder / "tuesday.toml").write_text(re.sub(r"runs/(\w+)/bundle", BUNDLE, plan))
    # two policies may not be one bundle
    other = folder / "runs" / "other"
    subprocess.run(["cp", "-r", str(reach_bundle.resolve()), str(other)], check=True)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "name": "other"}))
    text = (folder / "tuesday.toml").read_text()
    (folder / "tuesday.toml").write_text("runs/other".join(text.rsplit(BUNDLE, 1)))
    assert main(page_command("lab_sessions.md", "sim2real session register")) == 0
    assert main(page_command("lab_sessions.md", "sim2real session run tuesday.toml --robot sim")) == 0
    assert main(["session", "status", "tuesday-sim"]) == 0
    assert main(["report", "tuesday-sim"]) == 0
    assert (folder / "tuesday-sim" / "report.html").is_file()


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "site" / "own_task" / "index.html").is_file()
