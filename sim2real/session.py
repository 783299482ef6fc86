"""Sub-commands of evaluation sessions: plan, register, run, look, export, report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from sim2real.options import Arguments


@dataclass(frozen=True)
class PlanOptions:
    """What a session shall find."""

    detect: float
    """Smallest difference of success rates that matters, e.g. 0.15."""
    baseline: float = 0.85
    """Success rate that the better policy is expected to have."""
    power: float = 0.8
    """Probability of finding such a difference."""
    alpha: float = 0.05
    """Level of the test."""


def plan(arguments: Arguments) -> int:
    """Say how many trials are needed to find a difference."""
    config = arguments.parse(PlanOptions, plan.__doc__)
    from evaluation.statistics.planning import MAX_UNPAIRED_TRIALS, plan_trials

    found = plan_trials(config.detect, config.baseline, alpha=config.alpha, power=config.power)
    unpaired = f"{found.unpaired}" if found.unpaired is not None else f"more than {MAX_UNPAIRED_TRIALS}"
    print(
        f"to tell {100 * found.rate_a:g} % from {100 * found.rate_b:g} % "
        f"(level {config.alpha:g}, power {config.power:g}), trials a policy:"
    )
    print(f"  {found.paired:>4}  paired: all policies from the same places, McNemar's exact test")
    print(f"  {unpaired:>4}  unpaired: each from places of its own, Barnard's exact test")
    print(
        "The paired figure assumes that the policies fail independently of each other: where the same places are "
        "hard for both, it takes fewer."
    )
    return 0


@dataclass(frozen=True)
class RegisterOptions:
    """Which plan is registered."""

    protocol: tyro.conf.Positional[Path]
    """The protocol, a .toml file."""


@dataclass(frozen=True)
class RunOptions:
    """How a session is carried out."""

    protocol: tyro.conf.Positional[Path]
    """The registered protocol, a .toml file."""
    robot: Literal["sim", "virtual", "ros"] = "sim"
    """sim: the simulator, on all cores; virtual: the virtual arm over ROS 2; ros: an arm that is running already."""
    out: Path | None = None
    """Folder of the session; by default <protocol>-<robot> beside the protocol. A broken-off session goes on there."""
    randomise: str = "full"
    """With sim: what varies."""
    workers: int | None = None
    """With sim: processes; by default all cores."""
    ray: str = ""
    """With sim: address of a Ray cluster, or 'local'."""
    hidden: Path | None = None
    """With virtual: JSON of another hidden reality than the default one."""
    page: bool = False
    """With virtual: serve the operator's page instead of running unattended. With ros it is always served."""
    host: str = "127.0.0.1"
    """Where the page listens; 0.0.0.0 lets a tablet in the same network in."""
    port: int = 0
    """Port of the page; 0 takes a free one."""
    record: Literal["none", "signals", "all"] = "signals"
    """With virtual and ros: what goes to the MCAP recording; signals: all but the pictures."""
    videos: int = 2
    """Failures a policy whose video is kept, and one success."""
    camera_calibration: Path | None = None
    """With virtual and ros: the camera as 'sim2real calibrate' wrote it, instead of what its driver publishes."""


@dataclass(frozen=True)
class StatusOptions:
    """Which session is looked at."""

    session: tyro.conf.Positional[Path]
    """Folder of the session."""


def register(arguments: Arguments) -> int:
    """Stamp and hash a protocol, once."""
    config = arguments.parse(RegisterOptions, register.__doc__)
    from evaluation.session.protocol_file import register_file

    file, registration = register_file(config.protocol)
    plan, places = registration.protocol, registration.protocol.trials
    print(f"registered '{plan.name}' at {registration.registered_at}: {file.registration}")
    print(f"SHA-256 {registration.sha256}")
    print(f"{len(plan.policies)} policies at {places} places: {len(plan.schedule())} trials, {plan.stop}, {plan.order}")
    return 0


def run(arguments: Arguments) -> int:
    """Carry out a registered protocol, or go on with one that was interrupted."""
    config = arguments.parse(RunOptions, run.__doc__)
    from evaluation.session.protocol_file import open_registered

    if config.ray and config.robot != "sim":
        raise ValueError(f"--ray {config.ray} is for --robot sim, not for {config.robot}")
    if config.ray and config.randomise.endswith(".json"):
        raise ValueError(f"--randomise {config.randomise} stays on this machine; with --ray give a preset")
    if config.page and config.robot == "sim":
        raise ValueError("--page is for trials that an operator attends: --robot virtual or --robot ros")
    if config.camera_calibration and config.robot == "sim":
        raise ValueError("--camera-calibration is for --robot virtual or --robot ros; the simulator's camera is known")
    if config.workers is not None and config.workers < 1:
        raise ValueError(f"workers is {config.workers}, expected at least 1")
    file, registration = open_registered(config.protocol)
    out = config.out or config.protocol.with_name(f"{config.protocol.stem}-{config.robot}")
    if config.robot == "sim":
        from evaluation.simulation.simulated_session import run_simulated_session

        run_simulated_session(
            registration, file.bundles, out, config.randomise, config.workers, config.ray, config.videos
        )
    else:
        from ros_nodes.lab_session import LabOptions, run_lab_session

        page = config.page or config.robot == "ros"
        options = LabOptions(
            config.robot,
            config.hidden,
            page,
            config.host,
            config.port,
            config.videos,
            config.record,
            config.camera_calibration,
        )
        run_lab_session(registration, file.bundles, out, options)
    from evaluation.report.session_report import print_session, write_session_report

    print_session(out)
    print(f"report: {write_session_report([out], out / 'report.html')}")
    return 0


def status(arguments: Arguments) -> int:
    """Say how far a session is."""
    config = arguments.parse(StatusOptions, status.__doc__)
    from evaluation.report.session_report import print_session

    print_session(config.session)
    return 0


@dataclass(frozen=True)
class TableOptions:
    """What is exported."""

    session: tyro.conf.Positional[Path]
    """Folder of a session, or of demonstrations."""
    out: Path
    """The table, .csv or .parquet: a row a trial."""
    videos: Path | None = None
    """Folder for an mp4 of each trial of which the session kept a video (session run --videos); must not exist."""


def export_session(arguments: Arguments) -> int:
    """Write the trials of a session as a table, .csv or .parquet, and its videos as mp4."""
    config = arguments.parse(TableOptions, export_session.__doc__)
    from contextlib import closing

    from evaluation.report.video import write_mp4
    from evaluation.session.demonstrations import has_demonstrations
    from evaluation.session.session_folder import TRIALS, open_session
    from evaluation.session.store import TrialStore
    from evaluation.session.trial_table import write_trial_table
    from robots.host.writing import whole_folder

    kept = {} if has_demonstrations(config.session) else open_session(config.session).videos()
    with closing(TrialStore(config.session / TRIALS)) as store:
        trials = store.trials()
    names = write_trial_table(trials, config.out)
    print(f"{config.out}: {len(trials)} trials, {len(names)} columns")
    if config.videos is not None:
        with whole_folder(config.videos) as folder:
            for (policy, index), path in kept.items():
                write_mp4(path, folder / f"{policy}_{index}.mp4")
        print(f"{config.videos}: {len(kept)} videos")
    return 0


@dataclass(frozen=True)
class ReportOptions:
    """Which sessions are reported."""

    sessions: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of sessions; simulated ones are set beside the others."""
    out: Path | None = None
    """The page; by default report.html in the first session. The .md and .tex tables are written beside it."""


def report(arguments: Arguments) -> int:
    """Write the report of one or more sessions: HTML, Markdown and LaTeX."""
    config = arguments.parse(ReportOptions, report.__doc__)
    from evaluation.report.session_report import write_session_report

    if not config.sessions:
        raise ValueError("no session given; name at least one folder that 'sim2real session run' wrote")
    out = config.out or config.sessions[0] / "report.html"
    print(f"report: {write_session_report(config.sessions, out)}")
    return 0
