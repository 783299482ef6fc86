"""Sub-command that shows how far a target's pictures are from the simulation's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sim2real.parsing import parse, stages


@dataclass(frozen=True)
class GapConfig:
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
    randomise: str = "full"
    """Preset of the simulation: nominal, mild or full."""
    seed: int = 0
    """Of everything random."""
    workers: int = 2
    """Processes that draw."""


def gap(arguments: list[str]) -> int:
    """Show how far a target's pictures are from the simulation's, and what would cover them."""
    config = parse(GapConfig, "gap", gap.__doc__, arguments)
    if config.views < 20:
        raise ValueError(f"views is {config.views}, expected at least 20")
    from adaptation.calibration.recordings import read_camera
    from adaptation.gap.camera_pose import camera_factors
    from adaptation.gap.image_gap import factors, layer_gaps, nearest_across, side_by_side
    from adaptation.gap.layers import layer_features
    from adaptation.gap.page import COVERED, gap_page, write_gap_page
    from adaptation.visual.adapt import target_channels_swapped
    from adaptation.visual.inputs import AdaptationInputs
    from adaptation.visual.methods import find_camera
    from adaptation.visual.target_files import read_target
    from policies.bundle import PolicyBundle
    from policies.models.restore import restore_student
    from sim.catalogue import parameter_space
    from sim.datasets.labelled_renders import sample_renders
    from sim.tasks import load_task

    bundle = PolicyBundle.load(config.bundle)
    seen_by = read_camera(config.camera) if config.camera is not None else None
    target = read_target(config.target, bundle, seen_by, config.topic)
    (image,) = (array for array in bundle.observation.arrays if array.is_image)
    target.validate(image.shape[0], image.shape[1], len(bundle.robot.joint_names))
    if target_channels_swapped(bundle, target):
        print("warning: the target's pictures look as if red and blue were swapped; are they RGB?")
    student = restore_student(bundle)
    encoder = student.encoder
    space = parameter_space(load_task(bundle.task), bundle.robot).preset(config.randomise)
    with stages(("simulated views",)) as progress:
        views = sample_renders(
            bundle.task,
            bundle.robot.name,
            space,
            config.views,
            config.seed,
            config.workers,
            lambda share: progress("simulated views", share, ""),
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
