"""Sub-commands that compare a camera policy's training with its target, and adapt it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sim2real.options import Arguments, Preset, stages


@dataclass(frozen=True)
class AdaptOptions:
    """How a bundle is adapted."""

    bundle: Path
    """The policy to adapt."""
    target: Path
    """Recording of the target: the images.npz of 'sim2real evaluate --record-images' or its folder; or, with --camera,
    a folder of pictures with frames.json, or a ROS 2 recording (.mcap, or a rosbag2 folder)."""
    out: Path
    """Where the adapted bundle is written; must not exist. No bundle is written when no method wins."""
    camera: Path | None = None
    """Camera that pictures or recording were taken with, as 'sim2real calibrate' wrote it."""
    topic: str | None = None
    """Topic of a recording's pictures; may be left out where only one has any."""
    name: str = ""
    """Name of the adapted policy in reports; by default the parent's and the method's."""
    method: str = "auto"
    """auto tries as many as the trials can tell apart; or one of self-calibration, batch-norm,
    batch-norm+self-calibration, background-compositing, histogram, fourier, coral, adversarial, style-transfer."""
    budget: float = 900.0
    """Time after which auto begins no further method [s]."""
    seed: int = 0
    """Of everything random."""
    any_colours: bool = False
    """Take pictures that look as if red and blue were swapped."""


def adapt(arguments: Arguments) -> int:
    """Adapt a camera policy to what the real camera sees, from unlabelled frames."""
    config = arguments.parse(AdaptOptions, adapt.__doc__)

    from adaptation.calibration.recordings import read_camera
    from adaptation.visual.adapt import adapt_bundle as run
    from adaptation.visual.methods import SOURCE_ONLY
    from adaptation.visual.target_files import read_target
    from policies.bundle import PolicyBundle
    from robots.host.writing import write_json

    if config.out.exists():
        raise ValueError(f"'{config.out}' exists already; choose another --out, or remove it")
    bundle = PolicyBundle.load(config.bundle)
    camera = read_camera(config.camera) if config.camera is not None else None
    target = read_target(config.target, bundle, camera, config.topic)
    with stages(("candidates",)) as progress:
        outcome = run(
            bundle,
            target,
            config.method,
            config.seed,
            lambda share, text: progress("candidates", share, text),
            config.budget,
            any_colours=config.any_colours,
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
        return 3
    replace(outcome.bundle, name=config.name or outcome.bundle.name).save(config.out)
    print(f"adapted by {outcome.method}: {config.out}")
    return 0


def _print_candidates(report: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("method", "scatter of the goal", "beats source-only", title="adaptation, selected without labels")
    for method, figures in report["candidates"].items():
        chosen = " ◀" if method == report["chosen"] else ""
        table.add_row(
            method + chosen, f"{1000 * figures['scatter']:.1f} mm", "yes" if figures["beats_source_only"] else "no"
        )
    Console().print(table)


@dataclass(frozen=True)
class GapOptions:
    """What is compared, and where the page goes."""

    bundle: Path
    """A camera policy: its task and arm are simulated, its encoder looks at the pictures."""
    target: Path
    """Recording of the target: the images.npz of 'sim2real evaluate --record-images' or its folder; or, with --camera,
    a folder of pictures with frames.json, or a ROS 2 recording (.mcap, or a rosbag2 folder)."""
    out: Path
    """Where the HTML page is written."""
    camera: Path | None = None
    """Camera that pictures or recording were taken with, as 'sim2real calibrate' wrote it."""
    topic: str | None = None
    """Topic of a recording's pictures; may be left out where only one has any."""
    views: int = 300
    """Simulated pictures to compare with."""
    randomise: Preset = "full"
    """Preset of the simulation."""
    seed: int = 0
    """Of everything random."""
    workers: int = 2
    """Processes that draw."""


def gap(arguments: Arguments) -> int:
    """Show how far a target's pictures are from the simulation's, and what would cover them."""
    config = arguments.parse(GapOptions, gap.__doc__)
    if config.views < 20:
        raise ValueError(f"views is {config.views}, expected at least 20")
    from adaptation.calibration.recordings import read_camera
    from adaptation.gap.camera_pose import camera_factors
    from adaptation.gap.image_gap import factors, layer_gaps, nearest_across, side_by_side
    from adaptation.gap.layers import layer_features
    from adaptation.gap.page import COVERED, gap_page, write_gap_page
    from adaptation.visual.adapt import target_channels_swapped
    from adaptation.visual.inputs import AdaptationInputs, rig_of
    from adaptation.visual.methods import find_camera
    from adaptation.visual.target import only_camera
    from adaptation.visual.target_files import read_target
    from policies.bundle import PolicyBundle
    from policies.models.restore import restore_student
    from sim.catalogue import parameter_space
    from sim.datasets.labelled_renders import sample_renders
    from sim.tasks import fitted_task

    bundle = PolicyBundle.load(config.bundle)
    seen_by = read_camera(config.camera) if config.camera is not None else None
    target = read_target(config.target, bundle, seen_by, config.topic)
    (image,) = (array for array in bundle.observation.arrays if array.is_image)
    target.validate(image.shape[0], image.shape[1], len(bundle.robot.joint_names))
    if target_channels_swapped(bundle, target):
        print("warning: the target's pictures look as if red and blue were swapped; are they RGB?")
    student = restore_student(bundle)
    encoder = student.encoder
    rig = rig_of(only_camera(bundle))
    space = parameter_space(fitted_task(bundle.task, bundle.robot, rig), bundle.robot).preset(config.randomise)
    with stages(("simulated views",)) as progress:
        (views,) = sample_renders(
            bundle.task,
            bundle.robot.name,
            space,
            config.views,
            config.seed,
            config.workers,
            lambda share: progress("simulated views", share, ""),
            cameras=rig,
        )
    here, there = layer_features(encoder, views.images), layer_features(encoder, target.images)
    layers, measured = layer_gaps(here, there), factors(views.images, target.images)
    last = list(here)[-1]
    pairs = [(target.images[t], views.images[s]) for t, s in nearest_across(here[last], there[last], 8)]
    poses = []
    if bundle.robot.landmarks:  # without any, nothing says where the camera stands
        calibration = find_camera(student, AdaptationInputs(bundle, target, config.seed))
        poses = camera_factors(calibration, space, image.name.removeprefix("image_"))
    plane = side_by_side(here[last], there[last])
    title = f"{bundle.name} against {config.target.name}"
    write_gap_page(config.out, gap_page(title, layers, measured, pairs, plane, poses))
    for factor in (*measured, *poses):
        note = f": {factor.remedy}" if factor.covered < COVERED else ""
        print(f"{factor.name:18} {100 * factor.covered:3.0f} % of the target covered{note}")
    for layer in layers:
        print(f"{layer.layer:15} A-distance {layer.a_distance:.2f}  MMD² {layer.mmd:.3f}  Fréchet {layer.frechet:.3f}")
    print(f"page: {config.out}")
    return 0
