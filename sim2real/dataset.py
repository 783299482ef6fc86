"""Sub-commands of LeRobot data sets: export, import, check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from sim2real.options import CAMERA_TOPICS, Arguments, UsageError, read_topics, stages

if TYPE_CHECKING:
    from adaptation.recorded_episodes import RecordedArm
    from robots.datasets.writer import Facts

    Cut = tuple[RecordedArm, float, float, Facts]
    """An episode: its recording, its ends [s since 1970], and what is known of it."""


@dataclass(frozen=True)
class ExportOptions:
    """Whose episodes are written."""

    out: Path
    """Folder of the data set; must not exist."""
    bundle: Path | None = None
    """The policy that acts in simulation; by default the expert of --task."""
    recordings: tuple[Path, ...] = ()
    """Instead of simulation: ROS 2 recordings (.mcap, or rosbag2 folders), an episode each."""
    session: Path | None = None
    """Instead of simulation: the folder of a session or of demonstrations, whose trials are cut out of its recordings,
    with their verdicts; demonstrations know their arm, cameras and task."""
    task: str = "reach"
    """With an expert: its task."""
    robot: str = "franka_panda"
    """The arm: a name, or an arm file; a policy's own."""
    episodes: int = 50
    """In simulation: how many."""
    seed: int = 0
    """In simulation: which ones."""
    randomise: str = "full"
    """In simulation: what varies."""
    cameras: str | None = None
    """In simulation: the rig whose pictures an expert's data set has; a policy's own."""
    successes: bool = False
    """Leave failures out; recordings alone do not tell them."""
    topics: Annotated[str, CAMERA_TOPICS] = ""
    """Of recordings: topics of the pictures."""
    command_topic: str | None = None
    """Of recordings: topic of the commands; may be omitted where only one fits."""
    rate: float = 30.0
    """Of recordings: frames a second."""
    instruction: str = ""
    """The task in words; by default its name."""


def export_dataset(arguments: Arguments) -> int:
    """Write episodes in simulation, recordings or a session's trials as a LeRobot data set (v3)."""
    config = arguments.parse(ExportOptions, export_dataset.__doc__)
    sources = [name for name in ("bundle", "recordings", "session") if getattr(config, name)]
    if len(sources) > 1:
        raise UsageError(f"--{sources[0]} and --{sources[1]} are two sources; give one")
    if config.episodes < 1 or config.rate <= 0:
        raise UsageError(f"episodes is {config.episodes}, rate {config.rate:g}; expected both above 0")
    if config.recordings and config.successes:
        raise UsageError("--successes: a recording does not say whether it is one; export a --session, or leave it out")
    if config.recordings or config.session:
        return _export_recorded(config)
    if config.topics or config.command_topic:
        raise UsageError("--topics and --command-topic are for --recordings and --session; leave them out")
    return _export_simulated(config)


def _export_simulated(config: ExportOptions) -> int:
    import numpy as np

    from evaluation.simulation.simulated_episodes import EpisodeRunner, export_simulated
    from policies.bundle import PolicyBundle
    from policies.scoring.evaluator import TRAINING_SEEDS

    bundle = PolicyBundle.load(config.bundle) if config.bundle else None
    task, robot = (bundle.task, bundle.arm) if bundle else (config.task, config.robot)
    runner = EpisodeRunner(task, robot, config.randomise, bundle, config.cameras)
    first = int(np.random.SeedSequence([config.seed, 7]).generate_state(1)[0]) % (TRAINING_SEEDS // 2)
    seeds = range(first, first + 10 * config.episodes)  # training draws from here; no evaluation does
    try:
        with stages(("episodes",)) as progress:
            found = export_simulated(
                runner,
                config.out,
                seeds,
                config.episodes,
                config.instruction or runner.env.task.name,
                lambda share, text: progress("episodes", share, text),
                config.successes,
            )
    finally:
        runner.close()
    print(
        f"{config.out}: {config.episodes} episodes, {found['seconds']:.0f} s of {task} on {runner.env.robot.name}; "
        f"{found['succeeded']:.0f} of {found['tried']:.0f} succeeded"
    )
    return 0


def _export_recorded(config: ExportOptions) -> int:
    from evaluation.session.demonstrations import has_demonstrations

    if config.session is not None and has_demonstrations(config.session):
        return _export_demonstrations(config, config.session)
    from adaptation.recorded_episodes import RecordedArm
    from robots.registry import load_robot

    robot, topics = load_robot(config.robot), read_topics(config.topics)
    paths = config.recordings or _recordings(config.session)
    arms = [RecordedArm(path, robot, topics, config.command_topic) for path in paths]
    cuts = _trials(config.session, arms) if config.session else [(arm, *arm.span, {}) for arm in arms]
    return _write(config, cuts, robot.name, config.instruction or config.task)


def _export_demonstrations(config: ExportOptions, folder: Path) -> int:
    from adaptation.recorded_episodes import RecordedArm, recorded_span
    from evaluation.session.demonstrations import demonstration_spans, read_about_demonstrations
    from robots.datasets.layout import DatasetError
    from robots.registry import load_robot

    about = read_about_demonstrations(folder)
    spans, interrupted = demonstration_spans(folder)
    if interrupted:
        print(f"{folder}: its last episode was interrupted and has no verdict: left out; go on with 'sim2real teleop'")
    robot = load_robot(about.robot)
    runs = [(path, *recorded_span(path)) for path in _recordings(folder)]
    arms: dict[Path, RecordedArm] = {}
    cuts: list[Cut] = []
    for span in spans:
        path = next((path for path, start, end in runs if start < span.end and span.start < end), None)
        if path is None:
            raise DatasetError(f"demonstrations '{folder}': episode {span.trial.index + 1} is in no recording")
        if path not in arms:
            arms[path] = RecordedArm(path, robot, about.cameras, config.command_topic)
        # The operator thinks before the first motion; what stands still shows nothing
        try:
            start = arms[path].first_command(span.start, span.end)
            cuts.append((arms[path], start, min(span.end, arms[path].span[1]), span.facts()))
        except DatasetError as error:
            print(f"left out: episode {span.trial.index + 1}: {error}")
    if not cuts:
        raise DatasetError(f"demonstrations '{folder}' have no episode that counts; record one with 'sim2real teleop'")
    return _write(config, cuts, robot.name, config.instruction or about.instruction)


def _write(config: ExportOptions, cuts: list[Cut], robot: str, instruction: str) -> int:
    from policies.bundle.provenance import provenance
    from robots.datasets.layout import About
    from robots.datasets.writer import write_dataset

    source = f"session {config.session}" if config.session else "recordings"
    about = About(robot, config.task if config.session else "", None, source, versions=provenance()["versions"])
    with write_dataset(config.out, config.rate, cuts[0][0].features(), about) as writer:
        for arm, start, end, facts in cuts:
            if config.successes and not facts["success"]:
                continue
            frames = arm.episode(config.rate, start, end)
            writer.add(frames.columns, instruction, facts, frames.pictures)
    print(f"{config.out}: {writer.episodes} episodes, {writer.frames} frames of {robot} at {config.rate:g} Hz")
    return 0


def _recordings(session: Path | None) -> tuple[Path, ...]:
    """Return a session's recordings; one that was killed is repaired beside its place."""
    from robots.datasets.layout import DatasetError
    from ros_nodes.recording.bag import repair_bag
    from ros_nodes.recording.repair import RecordingError

    assert session is not None
    found = []
    for path in sorted((session / "recording").glob("*")):
        if not (path / "metadata.yaml").is_file() or path.name.endswith("_repaired"):
            continue
        repaired = path.with_name(f"{path.name}_repaired")
        try:
            found.append(repaired if repaired.is_dir() else repair_bag(path).folder)
        except RecordingError as error:
            print(f"left out: {error}")
    if not found:
        raise DatasetError(
            f"session '{session}' has no recording; run it with --record signals, or all for pictures. Of a session in "
            "the simulator, export the --bundle"
        )
    return tuple(found)


def _trials(session: Path, arms: list[RecordedArm]) -> list[Cut]:
    """Return where each trial that counts was recorded, and what is known of it."""
    from evaluation.session.session_folder import open_session
    from evaluation.session.trial_spans import trial_spans
    from robots.datasets.layout import DatasetError

    folder = open_session(session)
    with folder.store() as store:
        spans = trial_spans(store, folder.protocol.name)
    found: list[Cut] = []
    for span in spans:
        arm = next((arm for arm in arms if arm.span[0] < span.end and span.start < arm.span[1]), None)
        if arm is None:
            name = f"{span.trial.policy}/{span.trial.index}"
            raise DatasetError(f"session '{session}': trial {name} is in none of its {len(arms)} recordings")
        found.append((arm, span.start, span.end, span.facts()))
    if not found:
        raise DatasetError(f"session '{session}' has no trial that counts; carry it out first")
    return found


@dataclass(frozen=True)
class ImportOptions:
    """Which data set is taken over, and what its numbers mean."""

    dataset: tyro.conf.Positional[Path]
    """A LeRobot data set, v2.1 or v3."""
    out: Path
    """Folder of the new data set, in SI units; must not exist."""
    robot: str = "franka_panda"
    """The arm that was recorded: a name, or an arm file."""
    units: Literal["unknown", "radians", "degrees", "normalised"] = "unknown"
    """Of its joints; normalised are LeRobot's −100 to 100. Unknown ones must be radians."""
    joints: Annotated[str, tyro.conf.arg(metavar="NAME,…")] = ""
    """Elements of state and action in their order, as the arm's model calls them, where the data set does not."""
    rate: float = 0.0
    """Frames a second, such as a task's actions; by default the data set's."""


def import_dataset(arguments: Arguments) -> int:
    """Take over a LeRobot data set in SI units and the joints of an arm, for 'sim2real train --demonstrations'."""
    config = arguments.parse(ImportOptions, import_dataset.__doc__)
    from robots.datasets.conversion import Conversion, convert_dataset
    from robots.datasets.reader import open_dataset
    from robots.registry import load_robot

    joints = tuple(filter(None, (name.strip() for name in config.joints.split(","))))
    how = Conversion(load_robot(config.robot), config.units, joints, config.rate)
    for line in convert_dataset(open_dataset(config.dataset), config.out, how):
        print(f"  {line}")
    print(f"{config.out}: in SI units")
    return 0


@dataclass(frozen=True)
class CheckOptions:
    """Which data set is checked."""

    dataset: tyro.conf.Positional[Path]
    """A LeRobot data set, v2.1 or v3."""


def check_dataset(arguments: Arguments) -> int:
    """Check a LeRobot data set: rows, rates, statistics, videos; a line for each fault, and status 1."""
    config = arguments.parse(CheckOptions, check_dataset.__doc__)
    from robots.datasets.checks import problems
    from robots.datasets.reader import open_dataset

    dataset = open_dataset(config.dataset)
    info, about = dataset.info, dataset.about
    units = f"SI units, arm {about.robot}" if about else "units not stated: import it"
    print(
        f"{config.dataset}: {info.version}, {info.episodes} episodes, {info.frames} frames at {info.fps:g} Hz; {units}"
    )
    for key, feature in info.features.items():
        print(f"  {key}: {feature.dtype} {feature.shape}{' ' + ', '.join(feature.names) if feature.names else ''}")
    known = [entry.facts["success"] for entry in dataset.entries if isinstance(entry.facts.get("success"), bool)]
    if known:
        print(f"  {sum(map(bool, known))} of {len(known)} episodes succeeded")
    found = list(problems(dataset))
    for line in found:
        print(f"wrong: {line}")
    return 1 if found else 0
