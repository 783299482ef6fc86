"""Sub-commands of the dynamics loop: identify an arm, measure its delays, write a motion that shows what it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from sim2real.options import Arguments, Preset, UsageError, stages
from sim2real.twin.options import TwinOptions

if TYPE_CHECKING:
    from adaptation.identification.joint_log import JointLog
    from adaptation.identification.torque.identification import TorqueIdentification
    from robots.model import RobotModel


@dataclass(frozen=True)
class IdentifyOptions:
    """What is identified from what."""

    robot: str
    """The arm: a registered name, or its description file."""
    logs: Path
    """A recording (.npz, .csv, .mcap, rosbag2 folder), or a folder of them."""
    out: Path
    """Where the parameter space is written, for 'sim2real train --randomise'."""
    source: Annotated[Literal["motion", "torque", "both", "contact"], tyro.conf.arg(name="from")] = "motion"
    """What is fitted: servos to commands and positions (motion); inertials and friction to torques or currents, without
    commands (torque); first these, then the servos of that arm (both); mass and sliding friction of an object to the
    torques of its lifts and pushes (contact)."""
    torque_constants: tuple[float, ...] = ()
    """Torque of a current at each joint, gear included [N·m/A]; one number serves all."""
    without: tuple[str, ...] = ()
    """Links, with all that hangs on them, that the arm had not when its torques were recorded."""
    task: str | None = None
    """Task to train on later: its own objects, cameras and looks are then part of the space."""
    rest: Preset = "full"
    """Preset of what identification does not touch, with --task."""
    base: Path | None = None
    """With --from contact: space whose object is replaced, as of an earlier 'sim2real identify --task'."""
    joints: tuple[str, ...] = ()
    """Names of a recording's columns, where the file has none; the arm's joints by default."""
    command_topic: str | None = None
    """Topic of the commands in a bag."""
    columns: tuple[str, ...] = ()
    """Where the recordings have a quantity, where the guess that is shown is wrong: QUANTITY=NAME of t, q, q_cmd, dq,
    tau and current. NAME is a CSV's columns with * for the joint, an npz file's array, or a field of a bag's states."""
    units: tuple[Literal["degrees", "mA", "ms", "us", "ns"], ...] = ()
    """Units of the recordings that are not rad, A or s."""
    common_start: bool = False
    """Commands and states have different clocks, but began at the same moment. Makes the delay meaningless."""
    gravity_compensation: bool = False
    """The arm's controller cancels gravity, as industrial arms' do."""
    window: float = 20.0
    """Length of the windows that are fitted [s]."""
    held_out: float | None = None
    """Share that is held out: half of the recordings by default; with torques, the last third of each."""
    method: Literal["laplace", "dropo", "sbi"] = "laplace"
    """How what stays unknown is described: laplace (a normal around the best candidate), dropo (independent normals
    under which the recording is likely), sbi (a learned posterior; needs the extra 'sbi')."""
    quick: bool = False
    """A first look in a tenth of the time, which may well miss: ignores the two budgets below."""
    evaluations: int = 280
    """Candidates that CMA-ES may try around the best; 0 leaves it out."""
    iterations: int = 24
    """Most Jacobians that Gauss–Newton may compute for each start that goes on."""
    seed: int = 0
    """Of the split and of everything random."""
    workers: int = 2
    """Threads."""


def _read(config: IdentifyOptions, robot: RobotModel) -> list[JointLog]:
    """Read the recordings, and print what was read as what."""
    from adaptation.identification.log_files import find_logs, read_log

    logs = []
    for path in find_logs(config.logs):
        log = read_log(path, config.joints or robot.joint_names, config.command_topic, _columns(config))
        log = _converted(config, robot, log.in_order(robot))
        logs.append(log.with_common_start() if config.common_start else log)
    return logs


def _columns(config: IdentifyOptions) -> dict[str, str]:
    from adaptation.identification.joint_log import QUANTITIES

    pairs = [each.partition("=") for each in config.columns]
    if wrong := [f"{a}{b}{c}" for a, b, c in pairs if a not in QUANTITIES or not c]:
        raise UsageError(f"--columns {wrong[0]}: expected QUANTITY=NAME with one of {', '.join(QUANTITIES)}")
    return {quantity: name for quantity, _, name in pairs}


def _converted(config: IdentifyOptions, robot: RobotModel, log: JointLog) -> JointLog:
    """Return a recording in SI units, with torques; print what was read as what."""
    print(f"{log.name}: {log.columns}")
    log = log.in_si(config.units)
    return log.with_torques(_constants(config, robot)) if config.torque_constants else log


def _constants(config: IdentifyOptions, robot: RobotModel) -> tuple[float, ...]:
    given, n = config.torque_constants, len(robot.joint_names)
    if len(given) not in (1, n) or not all(0 < abs(each) < float("inf") for each in given):
        raise UsageError(f"--torque-constants has {len(given)} values ({given}), expected 1 or {n} other than 0")
    return given if len(given) == n else given * n


def _identify_torques(config: IdentifyOptions, robot: RobotModel, logs: list[JointLog]) -> TorqueIdentification:
    """Fit to torques, and write the URDF and its report beside `config.out`."""
    from adaptation.identification.torque.identification import identify_torques
    from adaptation.identification.torque.report import torque_page
    from robots.host.writing import write_json, write_text

    held_out = 1 / 3 if config.held_out is None else config.held_out
    found = identify_torques(robot, logs, config.without, held_out)
    urdf, page, figures = (config.out.with_suffix(end) for end in (".urdf", ".torque.html", ".torque.json"))
    write_text(urdf, found.urdf_xml)
    write_text(page, torque_page(found))
    write_json(figures, found.figures(), indent=1)
    print(f"held-out torques, by the given URDF and by the identified one [N·m], {found.seconds:.1f} s:")
    for joint, before, after in zip(robot.joint_names, *found.rmse):
        print(f"  {joint}: {before:.3f}, {after:.3f}")
    told, base = found.told.parameters, found.told.base
    print(
        f"{sum(each.told for each in told)} of {len(told)} parameters and {sum(each.told for each in base)} of "
        f"{len(base)} base parameters told by the recording; the rest is the given URDF's choice\n"
        f"{urdf}, {page.name}, {figures.name}"
    )
    return found


def _identify_contact(config: IdentifyOptions) -> int:
    """Fit an object to torques, and write the space, a report and its figures."""
    from adaptation.contact.contact_log import inspect_contact, read_contact_log
    from adaptation.contact.contact_page import contact_page
    from adaptation.contact.object_fit import identify_object
    from adaptation.identification.log_files import find_logs
    from adaptation.identification.log_inspection import show
    from robots.host.writing import write_json, write_text
    from robots.registry import load_robot
    from sim.catalogue import DYNAMICS, parameter_space
    from sim.randomization.parameters import ParameterSpace
    from sim.tasks import load_task

    robot = load_robot(config.robot)
    if config.base is not None:
        base = ParameterSpace.from_json(config.base)
    elif config.task is not None:
        base = parameter_space(load_task(config.task), robot).preset(config.rest)
    else:
        base = ParameterSpace(tuple(p for p in DYNAMICS if p.name in ("object_mass", "object_friction")))
    logs = [
        read_contact_log(path, robot, config.joints, _columns(config), lambda log: _converted(config, robot, log))
        for path in find_logs(config.logs)
    ]
    show([inspect_contact(each, robot, config.without) for each in logs])
    found = identify_object(robot, logs, config.without, seed=config.seed)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    page, figures = (config.out.with_suffix(end) for end in (".contact.html", ".contact.json"))
    write_text(page, contact_page(found))
    write_json(figures, found.figures(), indent=1)
    print("\n".join(each.text() for each in found.estimates))
    if not (found.mass.told or found.friction.told):
        raise ValueError(f"these recordings tell nothing of an object; {page} says why, and no space was written")
    found.space(base, f"object:{base.name}").to_json(config.out)
    print(f"{config.out}, {page.name}, {figures.name}")
    return 0


def identify(arguments: Arguments) -> int:
    """Make the simulator an arm's twin from recordings of its motion or its torques, with what stays unknown."""
    config = arguments.parse(IdentifyOptions, identify.__doc__)
    if config.base is not None and config.source != "contact":
        raise UsageError("--base is for --from contact; leave it out, or take --task")
    if config.source == "contact":
        return _identify_contact(config)
    from adaptation.identification.fit import QUICK, FitConfig
    from adaptation.identification.log_inspection import inspect, show
    from adaptation.identification.pipeline import IdentifyConfig, base_space
    from adaptation.identification.pipeline import identify_arm as run
    from adaptation.identification.report import identification_page
    from robots.host.writing import write_json, write_text
    from robots.registry import load_robot

    budget = QUICK if config.quick else FitConfig(evaluations=config.evaluations, iterations=config.iterations)
    settings = IdentifyConfig(
        window=config.window,
        held_out=0.5 if config.held_out is None else config.held_out,
        fit=replace(budget, seed=config.seed),
        gravity_compensation=config.gravity_compensation,
        method=config.method,
        workers=config.workers,
        seed=config.seed,
    )
    settings.validate()
    robot = load_robot(config.robot, shapes=config.source == "motion" or config.task is not None)
    base = base_space(config.task, robot, config.rest)
    logs = _read(config, robot)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    space = None
    if config.source == "motion":
        show([inspect(log, robot) for log in logs])
    else:
        from adaptation.identification.torque.identification import inspect_torques

        show([inspect_torques(log, robot, config.without, config.source) for log in logs])
        torques = _identify_torques(config, robot, logs)
        robot, space = torques.identified_robot(), torques.space(config.gravity_compensation)
    if space is not None and config.source == "torque":
        name = f"identified:{robot.name}"
        (base.with_params(*space.params) if base else replace(space, name=name)).to_json(config.out)
        print(config.out)
        return 0
    with stages(("fit",)) as progress:
        found = run(robot, logs, settings, lambda share, text: progress("fit", share, text), space)
    found.posterior.space(base, f"identified:{robot.name}").to_json(config.out)
    figures = found.figures()
    write_json(config.out.with_suffix(".report.json"), figures, indent=1)
    write_text(config.out.with_suffix(".html"), identification_page(found))
    known = sum(figures["known"].values())
    print(
        f"held-out motions {', '.join(found.evaluated_on)}: {1e3 * figures['rmse_before']:.1f} mrad before, "
        f"{1e3 * figures['rmse_after']:.1f} mrad after; the 90 % band holds {100 * figures['coverage_90']:.0f} % of "
        f"the samples\n{known} of {len(figures['known'])} parameters told by the logs"
        + (f"; left out: {', '.join(found.left_out)}" if found.left_out else "")
        + (f"\nnot told: {', '.join(found.untold)}; 'sim2real excite' plans a motion" if found.untold else "")
        + ("\nquick: a first look, whose search may have missed the best; fit again without --quick" * found.quick)
        + f"\n{config.out}, {config.out.with_suffix('.html').name}, {config.out.with_suffix('.report.json').name}"
    )
    return 0


def twin(arguments: Arguments) -> int:
    """Make a twin of an arm step by step: excite, record, identify, train, judge; each call says what is next."""
    head, _ = arguments.peek(TwinOptions())
    from sim2real.twin.folder import stored_options

    config = arguments.parse(stored_options(head.out), twin.__doc__)
    from sim2real.twin.guide import run_twin

    return run_twin(config)


@dataclass(frozen=True)
class DelaysOptions:
    """Which bag, and where the timing goes."""

    bag: Path
    """A recording (.mcap or rosbag2 folder) with stamped joint states or pictures, or /policy/latency."""
    out: Path | None = None
    """Where the parameter space with the measured timing is written; none without it."""
    base: Path | None = None
    """Space whose timing is replaced, e.g. of 'sim2real identify'; the task's own by default."""
    task: str = "reach"
    """Task whose space is taken without --base."""
    robot: str = "franka_panda"
    """Arm whose space is taken without --base."""
    rest: Preset = "full"
    """Preset of everything else, without --base."""


def delays(arguments: Arguments) -> int:
    """Turn a recording's delays into the timing that training sees."""
    config = arguments.parse(DelaysOptions, delays.__doc__)
    from adaptation.identification.delays import read_delays, timing_space
    from robots.registry import load_robot
    from sim.catalogue import parameter_space
    from sim.randomization.parameters import ParameterSpace
    from sim.tasks import load_task

    found = read_delays(config.bag)
    for delay in found:
        print(
            f"{delay.source}: {delay.count} messages every {1e3 * delay.period:.1f} ms, age {1e3 * delay.p50:.1f} ms "
            f"({1e3 * delay.p05:.1f} to {1e3 * delay.p95:.1f}), {100 * delay.lost:.1f} % lost"
        )
        print("\n".join(delay.bars()))
    if config.out is None:
        return 0
    if config.base is not None:
        base = ParameterSpace.from_json(config.base)
    else:
        base = parameter_space(load_task(config.task), load_robot(config.robot)).preset(config.rest)
    space = timing_space(found, base)
    space.to_json(config.out)
    changed = [p.name for p in space.params if p != base[p.name]]
    print(f"{config.out}: {', '.join(changed) or 'nothing'} as measured")
    return 0


@dataclass(frozen=True)
class ExciteOptions:
    """Which arm moves, and how far."""

    robot: str
    """The arm: a registered name, or its description file."""
    out: Path
    """Where the motion is written (.npz: t, q, joint_names)."""
    duration: float = 40.0
    """Length [s]."""
    rate_hz: float = 100.0
    """Commands a second."""
    reach: float = 0.6
    """Largest excursion from home [rad]."""
    share: float = 0.4
    """Share of the speed and acceleration limits that the motion may use."""
    tries: int = 30
    """Motions that are compared."""
    table: bool = True
    """Whether the arm stands on a table (the base's plane) that it must not touch."""
    seed: int = 0
    """Of everything random."""


def excite(arguments: Arguments) -> int:
    """Write a safe motion that makes an arm's dynamics show; play-motion plays it through the safety gate."""
    config = arguments.parse(ExciteOptions, excite.__doc__)
    from adaptation.identification.excitation import ExciteConfig
    from adaptation.identification.excitation import find_excitation as run
    from robots.registry import load_robot

    motion = ExciteConfig(
        duration=config.duration,
        rate_hz=config.rate_hz,
        reach=config.reach,
        share=config.share,
        tries=config.tries,
        table=config.table,
        seed=config.seed,
    )
    with stages(("motions",)) as progress:
        found = run(load_robot(config.robot), motion, lambda share, text: progress("motions", share, text))
    config.out.parent.mkdir(parents=True, exist_ok=True)
    found.save(config.out)
    print(
        f"{config.out}: {found.t[-1]:.0f} s, {len(found.joint_names)} joints, {100 * found.scale:.0f} % of the wished "
        f"reach; condition {found.condition:.0f} (median of those tried {found.condition_median:.0f}); nearest: "
        f"{found.nearest}"
    )
    return 0
