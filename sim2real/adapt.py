"""Sub-commands that compare a camera policy's training with its target, and adapt it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sim2real.options import CAMERA_TOPICS, Arguments, read_topics, stages

if TYPE_CHECKING:
    from adaptation.visual.target import TargetData
    from policies.bundle import PolicyBundle

CAMERA_FILES = tyro.conf.arg(metavar="FILE.json,…")


@dataclass(frozen=True)
class TargetOptions:
    """A camera policy, and the target that it is adapted to or compared with."""

    bundle: Path
    """The camera policy."""
    target: Path
    """Recording of the target: the images.npz of 'sim2real evaluate --record-images' or its folder; or, with --cameras,
    a folder of images with frames.json, or a ROS 2 recording (.mcap, or a rosbag2 folder)."""
    out: Path
    """Where the result is written."""
    cameras: Annotated[str, CAMERA_FILES] = ""
    """Cameras that images or recording were taken with, by name: a rig's file, or files of 'sim2real calibrate'."""
    topics: Annotated[str, CAMERA_TOPICS] = ""
    """Topics of a recording's images; may be left out for one camera where only one topic has images."""
    seed: int = 0
    """Of everything random."""


@dataclass(frozen=True)
class AdaptOptions(TargetOptions):
    """How a bundle is adapted."""

    out: Path
    """Where the adapted bundle is written; must not exist. No bundle is written when no method wins."""
    name: str = ""
    """Name of the adapted policy in reports; by default the parent's and the method's."""
    method: str = "auto"
    """auto tries as many as the trials can tell apart; or some, comma-separated, of self-calibration, batch-norm,
    batch-norm+self-calibration, background-compositing, histogram, fourier, coral, adversarial, style-transfer."""
    budget: float = 900.0
    """Time after which auto begins no further method [s]."""
    any_colours: bool = False
    """Take images that look as if red and blue were swapped."""
    device: str = "cpu"
    """Where networks learn: auto (an accelerator if there is one), cpu, cuda or mps."""


def adapt(arguments: Arguments) -> int:
    """Adapt a camera policy to what the real camera sees, from unlabelled frames.

    Killed or interrupted, the same command goes on; OUT.run has tables and TensorBoard's curves.
    """
    config = arguments.parse(AdaptOptions, adapt.__doc__)

    from adaptation.visual.adapt import adapt_bundle as run
    from adaptation.visual.methods import SOURCE_ONLY
    from policies.bundle import PolicyBundle
    from policies.training.candidate_folder import CandidateFolder
    from policies.training.device import find_device
    from robots.host.writing import write_json

    device = find_device(config.device)

    if config.out.exists():
        raise ValueError(f"'{config.out}' exists already; choose another --out, or remove it")
    bundle = PolicyBundle.load(config.bundle)
    target = _read_target(config, bundle)
    folder = config.out.with_name(f"{config.out.name}.run")
    with stages(("candidates",)) as progress:
        outcome = run(
            bundle,
            target,
            config.method,
            config.seed,
            lambda share, text: progress("candidates", share, text),
            config.budget,
            any_colours=config.any_colours,
            device=device,
            folder=folder,
        )
    _print_candidates(outcome.report)
    if outcome.report["skipped"]:
        print(f"not tried within the time (--budget): {', '.join(outcome.report['skipped'])}")
    config.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(config.out.with_name(f"{config.out.name}.report.json"), outcome.report)
    if outcome.method == SOURCE_ONLY:
        judged, fewest = outcome.report["selection_trials"], outcome.report["fewest_selection_trials"]
        if judged < fewest:
            print(
                f"{judged} trials were held out to judge by; with fewer than {fewest} no candidate can win by the test"
            )
        print("no candidate beats source-only on the held-out frames: nothing written, keep the bundle you have")
        CandidateFolder(folder).finish()
        return 3
    replace(outcome.bundle, name=config.name or outcome.bundle.name).save(config.out)
    CandidateFolder(folder).finish()
    print(f"adapted by {outcome.method}: {config.out}")
    return 0


def _print_candidates(report: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = ("method", "scatter of the goal", "arm misplaced", "beats source-only")
    table = Table(*columns, title="adaptation, selected without labels")
    for method, figures in report["candidates"].items():
        chosen = " ◀" if method == report["chosen"] else ""
        errors = (f"{1000 * figures[name]:.1f} mm" for name in ("scatter", "misplaced"))
        table.add_row(method + chosen, *errors, "yes" if figures["beats_source_only"] else "no")
    Console().print(table)
    calibrated = [figures["cameras"] for figures in report["candidates"].values() if "cameras" in figures]
    for camera, found in calibrated[0].items() if calibrated else ():
        if "unknown" in found:
            print(f"camera {camera}: {found['unknown']}")


@dataclass(frozen=True)
class GapOptions(TargetOptions):
    """What is compared: the policy's task and arm are simulated, and its encoder processes the images."""

    out: Path
    """Where the HTML page is written."""
    views: int = 300
    """Simulated images of each camera to compare with."""
    randomise: str = "full"
    """What varies in the simulation."""
    workers: int = 2
    """Processes that draw."""


def gap(arguments: Arguments) -> int:
    """Show how far a target's images are from the simulation's, and what would cover them."""
    config = arguments.parse(GapOptions, gap.__doc__)
    if config.views < 20:
        raise ValueError(f"views is {config.views}, expected at least 20")
    from adaptation.gap.camera_gap import measure_gaps
    from adaptation.gap.page import gap_page, write_gap_page
    from adaptation.visual.adapt import swapped_cameras
    from adaptation.visual.inputs import AdaptationInputs
    from policies.bundle import PolicyBundle
    from policies.models.restore import restore_student
    from sim.datasets.labelled_renders import sample_renders
    from sim.randomization.space_file import chosen_space
    from sim.workers.start import open_workers

    bundle = PolicyBundle.load(config.bundle)
    target = _read_target(config, bundle)
    target.validate(bundle)
    swapped = swapped_cameras(bundle, target)
    if swapped:
        print(
            f"warning: the target's images of {', '.join(swapped)} look as if red and blue were swapped; are they RGB?"
        )
    student = restore_student(bundle)
    inputs = AdaptationInputs(bundle, target, config.seed)
    space = chosen_space(config.randomise, inputs.full_space)
    with open_workers(config.workers) as workers, stages(("simulated views",)) as progress:
        views = sample_renders(
            bundle.task,
            bundle.arm,
            space,
            config.views,
            config.seed,
            workers,
            lambda share: progress("simulated views", share, ""),
            cameras=inputs.rig,
        )
    gaps = measure_gaps(student, inputs, views, space)
    write_gap_page(config.out, gap_page(f"{bundle.name} against {config.target.name}", gaps))
    for each in gaps:
        print(f"camera {each.camera}")
        print(f"  {f'not told: {each.unknown}' if each.unknown or each.evidence is None else each.evidence.text}")
        for factor in (*each.factors, *each.poses):
            note = {"covered": "", "not covered": f": {factor.remedy}", "not told": f": {factor.unknown}"}
            print(f"  {factor.name:20} {factor.verdict}{note[factor.verdict]}")
        for layer in each.layers:
            distances = f"A-distance {layer.a_distance:.2f}  MMD² {layer.mmd:.3f}  Fréchet {layer.frechet:.3f}"
            print(f"  {layer.layer:15} {distances}")
    print(f"page: {config.out}")
    return 0


def _read_target(config: TargetOptions, bundle: PolicyBundle) -> TargetData:
    from adaptation.visual.target_files import read_target
    from robots.rig import read_cameras

    cameras = read_cameras(config.cameras) if config.cameras else ()
    return read_target(config.target, bundle, cameras, read_topics(config.topics), print)
