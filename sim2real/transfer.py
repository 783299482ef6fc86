"""Sub-commands that start from an earlier policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from sim2real.options import Arguments, FileOption, stages
from sim2real.train import (
    Observation,
    ResumeHead,
    Training,
    check_observation,
    from_cameras,
    move,
    print_evaluated,
    resumable,
    resume_run,
)

Source = Annotated[Path | None, tyro.conf.arg(name="from", metavar="BUNDLE")]


@dataclass(frozen=True)
class CompareHead(FileOption):
    """The options that decide which others there are, and what their defaults are."""

    task: str = ""
    """What to learn; by default reach for camera policies, stack for policies from state."""
    robot: str = "franka_panda"
    """The arm."""
    source: Source = None
    """Bundle to start from, of any task and arm."""


@dataclass(frozen=True)
class TransferHead(CompareHead):
    """The same of one training."""

    task: str = "reach"
    """What to learn."""
    observation: Observation = ""
    """What the policy receives; by default state, or cameras if the bundle is a camera policy's."""
    cameras: str = "front_side"
    """The camera rig: its name, or the file of one of your own."""
    scratch: bool = True
    """Train from scratch with the same budget as well, into OUT_scratch, and say whether transfer paid."""
    comparison: Path | None = None
    """File of compare-transfer (transfer.json) to quote instead; a mode that lost there is refused."""
    demos: Path | None = None
    """Recorded demonstrations of the same task, by which a camera policy is adapted: a LeRobot data set. It takes other
    options, see --demos DATASET --help."""
    resume: Path | None = None
    """Folder of an interrupted transfer to go on with, its run from scratch included; takes --no-scratch and
    --comparison alone."""


@dataclass(frozen=True)
class _ResumeHead(ResumeHead):
    """What goes with --resume."""

    scratch: bool = True
    comparison: Path | None = None


@dataclass(frozen=True)
class CameraTransferHead(FileOption):
    """The same of a training whose encoder starts from the bundle's, and which is like any other in all else."""

    task: str = "reach"
    """What to learn."""
    robot: str = "franka_panda"
    """The arm."""
    observation: Observation = "cameras"
    """What the policy receives."""
    cameras: str = "front_side"
    """The camera rig: its name, or the file of one of your own."""
    scratch: bool = True
    """Train from scratch with the same budget as well, into OUT_scratch, and say whether transfer paid."""
    comparison: Path | None = None
    """File of compare-transfer (transfer.json) to quote instead; a mode that lost there is refused."""
    start: Source = None
    """Bundle to start from, of a camera policy."""


@dataclass(frozen=True)
class DemonstratedHead(FileOption):
    """The options of a transfer by demonstrations that are named as those of other transfers."""

    source: Source = None
    """Bundle of a camera policy from simulation."""
    demos: Path | None = None
    """Recorded demonstrations: a LeRobot data set with pictures of the policy's cameras, in SI units."""


Head = TypeVar("Head", bound=CompareHead)


def transfer(arguments: Arguments) -> int:
    """Train a policy from an earlier one: for another task, arm or camera, or by recorded demonstrations.

    A policy from state starts one from state, a camera policy one from cameras; --tune says how what is carried over
    is held. Whether transfer paid is measured, or quoted. With --demos, held-out demonstrations decide.
    """
    resumed, others = arguments.peek(_ResumeHead())
    if resumed.resume is not None:
        if others:
            known = "--no-scratch or --comparison, --ray, --workers"
            raise ValueError(f"--resume takes the folder of a transfer, {known}, and nothing else")
        for folder in (resumed.resume, _scratch_folder(resumed.resume)):
            if (folder / "config.json").is_file() and not (folder / "metrics.json").is_file():
                move(folder, resumed)
        return _resume(resumed.resume, TransferHead(scratch=resumed.scratch, comparison=resumed.comparison))
    if arguments.peek(DemonstratedHead())[0].demos is not None:
        return _from_demonstrations(arguments)
    head = _with_source(arguments, TransferHead())
    camera = _is_camera_policy(head.source, head.observation)
    head = replace(head, observation=head.observation or ("cameras" if camera else "state"))
    if (head.observation != "state") != camera:
        kind = "a camera policy" if camera else "a policy from state"
        raise ValueError(f"'{head.source}' is {kind}: none from '{head.observation}' can start from it")
    check_observation(head.task, head.observation)
    carried: list[str] = []

    def keep(surgery) -> None:
        carried.extend([*surgery.lines(), f"{surgery.share:.0%} of the weights were carried"])

    offered: TransferHead | CameraTransferHead = head
    if not camera:
        from policies.imitation.state_run import STAGES
        from policies.transfer.state_transfer import TransferConfig
        from policies.transfer.state_transfer import transfer_state as run

        default = TransferConfig(tyro.MISSING, recipe=_recipe(head))
        training = Training(default, STAGES, lambda config, progress: run(config, progress, keep), print_evaluated)
    else:
        training = from_cameras(head.task, head.robot)
        training = replace(training, default=replace(training.default, encoder=_encoder(head.source)))
        offered = CameraTransferHead(
            task=head.task,
            robot=head.robot,
            observation=head.observation,
            cameras=head.cameras,
            scratch=head.scratch,
            comparison=head.comparison,
            start=head.source,
        )
    config = arguments.parse(training.default, transfer.__doc__, offered)
    quote = _quote(head, config.tune)
    if not quote and _scratch_folder(config.out).exists():
        raise ValueError(f"'{_scratch_folder(config.out)}' exists already; choose another --out, or --no-scratch")
    with resumable(config.out, "transfer"):
        with stages(training.stages) as progress:
            bundle = training.run(config, progress)
        if carried:
            print("\n".join(carried))
        training.report(bundle, config.out)
        print(quote or _against_scratch(config, bundle))
    return 0


def _resume(path: Path, head: TransferHead) -> int:
    """Go on with the transfer in `path`, and with the run from scratch beside it."""
    from policies.imitation.camera_run import TrainConfig
    from policies.training.run_config import RunConfig
    from policies.training.run_folder import RunError, read_run_config
    from policies.transfer.state_transfer import TransferConfig

    data = read_run_config(path)
    if not data.get("source") and not data.get("start"):
        raise RunError(f"'{path}' holds a run that starts from no bundle; go on with 'sim2real train --resume {path}'")
    kind: type[RunConfig] = TransferConfig if "source" in data else TrainConfig
    config = kind.from_dict(data)
    quote = _quote(replace(head, task=config.task, robot=config.robot), data["tune"])
    with resumable(path, "transfer"):
        bundle = _finished(path)
        if bundle is None:
            bundle, report = resume_run(path)
            report(bundle, path)
        elif quote or _finished(_scratch_folder(path)) is not None:
            raise RunError(f"the transfer in '{path}' is finished; transfer again with a new --out")
        print(quote or _against_scratch(config, bundle))
    return 0


def _finished(path: Path):
    """Return the bundle of the finished run in `path`; None if there is none."""
    from policies.bundle import PolicyBundle

    if not (path / "metrics.json").is_file():
        return None
    return PolicyBundle.load(path / ("bundle" if (path / "bundle").is_dir() else "best"))


def _from_demonstrations(arguments: Arguments) -> int:
    """Adapt a camera policy by recorded demonstrations; held-out ones decide between it and the source.

    Status 3, and nothing is written, where no candidate is better. Killed or interrupted, the same command goes on;
    OUT.run has the curves.
    """
    from policies.training.candidate_folder import CandidateFolder
    from policies.transfer.demonstrated_transfer import (
        SOURCE,
        STAGES,
        DemonstratedConfig,
        transfer_demonstrations,
    )
    from robots.host.writing import write_json

    head, _ = arguments.peek(DemonstratedHead())
    if head.source is None:
        raise ValueError("--demos adapts a policy from simulation; give its bundle with --from BUNDLE")
    default = DemonstratedConfig(tyro.MISSING, tyro.MISSING, tyro.MISSING)
    config = arguments.parse(default, _from_demonstrations.__doc__, head)
    folder = config.out.with_name(f"{config.out.name}.run")
    with stages(STAGES) as progress:
        outcome = transfer_demonstrations(config, progress, folder)
    for line in candidate_table(outcome.report):
        print(line)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(config.out.with_name(f"{config.out.name}.report.json"), outcome.report)
    if outcome.chosen == SOURCE:
        CandidateFolder(folder).finish()
        print("source kept: no candidate was better on the held-out demonstrations; nothing written")
        return 3
    outcome.bundle.save(config.out)
    CandidateFolder(folder).finish()
    print(f"adapted by {outcome.chosen}: {config.out}")
    return 0


def _quote(head: TransferHead, tune: str) -> str:
    """Return what a stored comparison, or the wish for none, says; empty where one is to be made."""
    from policies.transfer.negative_transfer import quoted

    if head.comparison is not None:
        return quoted(head.comparison, head.task, head.robot, tune)
    return "" if head.scratch else "not compared with training from scratch: whether transfer paid is unknown"


def _scratch_folder(out: Path) -> Path:
    return out.with_name(f"{out.name}_scratch")


def _against_scratch(config, bundle) -> str:
    """Train from scratch as `config` says otherwise, or go on with that, and compare with what was transferred."""
    from policies.imitation.camera_run import STAGES as CAMERA_STAGES
    from policies.imitation.camera_run import TrainConfig, train_camera
    from policies.imitation.encoder_start import DEFAULT_TUNE
    from policies.imitation.state_run import STAGES, StateRunConfig, train_state
    from policies.transfer.negative_transfer import compared

    out = _scratch_folder(config.out)
    fresh = _finished(out)
    if fresh is not None:
        pass
    elif (out / "config.json").is_file():
        fresh, _ = resume_run(out)
    elif isinstance(config, TrainConfig):
        with stages(CAMERA_STAGES) as progress:
            fresh = train_camera(replace(config, out=out, start=None, tune=DEFAULT_TUNE), progress)
    else:
        own = {each.name: getattr(config, each.name) for each in fields(StateRunConfig)}
        with stages(STAGES) as progress:
            fresh = train_state(StateRunConfig(**{**own, "out": out}), progress)
    return compared(*(each.provenance["metrics"]["evaluation"] for each in (bundle, fresh)))


def compare_transfer(arguments: Arguments) -> int:
    """Measure what transfer saves: from scratch against every mode, over seeds and data budgets."""
    head, about = _with_source(arguments, CompareHead()), compare_transfer.__doc__
    camera = _is_camera_policy(head.source, "state")
    head = replace(head, task=head.task or ("reach" if camera else "stack"))
    if not camera:
        from policies.transfer.state_transfer import CompareConfig
        from policies.transfer.state_transfer import compare_state as run

        state = arguments.parse(CompareConfig(tyro.MISSING, tyro.MISSING, recipe=_recipe(head)), about, head)
        with stages(("runs",)) as progress:
            report = run(state, progress)
        out = state.out
    else:
        from policies.imitation.recipes import action_head_recipe
        from policies.transfer.camera_transfer import CompareCameraConfig, compare_camera

        check_observation(head.task, "cameras")
        recipe = action_head_recipe(head.task, head.robot)
        seen = arguments.parse(CompareCameraConfig(tyro.MISSING, tyro.MISSING, recipe=recipe), about, head)
        with stages(("action_head", "runs")) as progress:
            report = compare_camera(seen, progress)
        out = seen.out
    for line in comparison_table(report):
        print(line)
    print(f"{out / 'transfer.json'}  {out / 'transfer.png'}")
    return 0


def _with_source(arguments: Arguments, head: Head) -> Head:
    """Read a head from file and command line; a file of a camera run calls the source `start`."""
    head, _ = arguments.peek(head)
    return replace(head, source=head.source or arguments.peek(CameraTransferHead())[0].start or tyro.MISSING)


def _is_camera_policy(source: Path | None, observation: str) -> bool:
    """Whether a bundle holds a camera student; where none is given, as for `--help`, by the new observation."""
    if not isinstance(source, Path):
        return observation not in ("", "state")
    from policies.bundle import PolicyBundle
    from policies.models.restore import CAMERA_STUDENT

    return PolicyBundle.load(source).network.get("kind") == CAMERA_STUDENT


def _encoder(source: Path | None) -> str:
    """Return the name of the encoder of a camera policy's bundle."""
    from policies.bundle import PolicyBundle
    from policies.models.keypoint_encoder import SMALL

    return PolicyBundle.load(source).network.get("encoder", SMALL) if isinstance(source, Path) else SMALL


def _recipe(head: CompareHead):
    """The table's recipe with the source's hidden layers, without which nothing could be carried."""
    from policies.bundle import PolicyBundle
    from policies.imitation.recipes import state_recipe
    from policies.models.state_network import restore_state_network

    recipe = state_recipe(head.task, head.robot)
    if not isinstance(head.source, Path):
        return recipe
    return replace(recipe, hidden=restore_state_network(PolicyBundle.load(head.source)).hidden)


def candidate_table(report: dict) -> list[str]:
    """Errors on the held-out demonstrations, and what they are made of."""
    labelled = ", ".join(f"{name} {share:.0%}" for name, share in report["labelled"].items())
    lines = [
        f"{len(report['taught'])} demonstrations taught, {len(report['held_out'])} decided; frames with a label: "
        f"{labelled}",
        f"  {'':16} {'error':>6} {'places':>7} {'direction':>10} {'gripper':>8}",
    ]
    for name, found in report["candidates"].items():
        mark = " ◀" if name == report["chosen"] else ""
        parts = f"{found['places']:7.3f} {found['direction']:10.3f} {found['gripper']:8.3f}"
        lines.append(f"  {name:16} {found['error']:6.3f} {parts}{mark}")
    return lines


def comparison_table(report: dict) -> list[str]:
    """Success at every budget, and what each method needs of the data that scratch needs to get as far."""
    methods = report["methods"]
    lines = [f"level: {report['level']:.3f}, the mean success from scratch at the largest budget"]
    if report["share_is_bound"]:
        lines = [
            f"level: {report['level']:.3f}; from scratch the largest budget gives {report['scratch_final']:.3f}, "
            "so that the shares are upper bounds"
        ]
    lines.append(f"  {'data':18} {' '.join(f'{steps:>6}' for steps in methods['scratch']['steps'])}")
    for method, found in methods.items():
        success = " ".join(f"{mean:6.2f}" for mean in found["mean"])
        lines.append(f"  {method:18} {success}")
    lines.append("share of scratch's data for a success of")
    levels = [*(f"{each['level']:.2f}" for each in methods["scratch"]["levels"]), f"{report['level']:.3f}"]
    lines.append(f"  {'':18} {' '.join(f'{level:>18}' for level in levels)}")
    for method, found in methods.items():
        if method == "scratch":
            continue
        ends = {"share": "share_of_scratch", "low": "share_low", "high": "share_high"}
        last = {key: found[name] for key, name in ends.items()}
        lines.append(f"  {method:18} {' '.join(f'{_share(each):>18}' for each in [*found['levels'], last])}")
    if unchanged := report.get("unchanged"):
        low, high = unchanged["low"], unchanged["high"]
        lines.append(f"  source as it is    {unchanged['success']:6.2f} [{low:.2f}, {high:.2f}], without any training")
    return lines


def _share(found: Mapping[str, float | None]) -> str:
    """A share with its interval; ∞ where the method does not get there."""
    share, low, high = ("∞" if found[key] is None else f"{found[key]:.2f}" for key in ("share", "low", "high"))
    return f"{share} [{low}, {high}]"
