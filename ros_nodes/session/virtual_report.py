"""Report and summary of a session on the virtual arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from evaluation.report.data import CameraSamples, DataTable, DomainDifference, PolicyCard, ReportData
from evaluation.report.images import Clip
from evaluation.report.page import write_report
from evaluation.report.video import load_clip
from evaluation.session.protocol import Protocol
from evaluation.session.results import results_table, write_summary
from evaluation.session.trials import LatencySummary
from policies.bundle import PolicyBundle
from policies.bundle.cell import cell_sizes
from policies.bundle.provenance import inherited, provenance
from robots.host.reading import read_arrays
from robots.rig import Rig
from ros_nodes.session.virtual_session import SessionResult
from sim.catalogue import parameter_space
from sim.randomization.parameters import ParameterSpace
from sim.tasks import fitted_task
from sim.virtual_arm.hidden_arms import hidden_reality
from sim.virtual_arm.hidden_reality import PANDA_INERTIA, HiddenReality
from sim.virtual_arm.table import VirtualTable

COMPUTE = 2
"""Column of `latency.npz` that holds the time from observation to command."""


@dataclass(frozen=True)
class ReportNotes:
    """Contents of a report beside the session's own figures."""

    title: str = "Session on the virtual arm"
    headline: str = ""
    """The result in a few sentences; written from the trials when empty."""
    descriptions: Mapping[str, str] | None = None
    """How each policy was trained, by name."""
    tables: Sequence[DataTable] = ()
    shortcomings: Sequence[str] = ()
    commands: Sequence[str] = ()
    wall_time: float | None = None
    """Of everything that led to this report [s]; by default of the session."""


def write_virtual_report(
    folder: Path,
    protocol: Protocol,
    result: SessionResult,
    bundles: Mapping[str, Path],
    hidden: Path | None = None,
    notes: ReportNotes | None = None,
) -> ReportData:
    """Write `report.html` and `summary.json` into `folder` and print the table."""
    notes = notes or ReportNotes()
    loaded = {name: PolicyBundle.load(path) for name, path in bundles.items()}
    first = next(iter(loaded.values()))
    reality = hidden_reality(first.robot, hidden)
    area = protocol.workspace
    system = provenance()
    descriptions = notes.descriptions or {}
    data = ReportData(
        title=notes.title,
        headline=notes.headline,
        trials=result.trials,
        policies=tuple(PolicyCard(name, name, descriptions.get(name, ""), protocol.inference) for name in bundles),
        setting=(
            f"Task {protocol.task} on the virtual arm: MuJoCo physics, its own camera, driven over ROS 2 through "
            "the safety gate. Success: what should get to the goal is within "
            f"{100 * protocol.success_radius:.3g} cm of it, "
            f"let go where the task needs that, for {protocol.hold_time:g} s, {_when(protocol)}. Every policy met the "
            f"same {protocol.trials} places, in randomised order.{protocol.asked}"
        ),
        date=system["date"],
        success_radius=protocol.success_radius,
        workspace=(area.x_low, area.x_high, area.y_low, area.y_high),
        latency=loop_latency(result.latencies, first.action.dt),
        loop_period=first.action.dt,
        clips=_clips(result.videos),
        camera=_camera_samples(loaded, result),
        differences=differences(reality, first),
        tables=tuple(notes.tables),
        wall_time=notes.wall_time if notes.wall_time is not None else result.wall,
        made={
            "camera pictures drawn by": result.renderer,
            "machine": system["machine"],
            "revision": system["revision"],
            "versions": ", ".join(f"{name} {number}" for name, number in system["versions"].items()),
            "seed": str(protocol.seed),
            "seconds a trial": f"{result.seconds_per_trial:.1f}",
            **{f"bundle '{name}'": bundle.hash for name, bundle in loaded.items()},
        },
        commands=tuple(notes.commands),
        shortcomings=tuple(notes.shortcomings),
    )
    write_report(folder / "report.html", data)
    write_summary(folder / "summary.json", data.summary())
    Console().print(results_table(data.results, notes.title))
    return data


def loop_latency(path: Path | None, period: float) -> LatencySummary | None:
    """Sum up the compute times of all control cycles; `period` is their deadline [s]."""
    if path is None:
        return None
    compute = read_arrays(path, "latencies", names=("latency",))["latency"][:, COMPUTE]
    compute = compute[np.isfinite(compute)]
    return LatencySummary.of(compute.tolist(), deadline=period) if len(compute) else None


def _when(protocol: Protocol) -> str:
    if protocol.to_the_end:
        return f"at the end of {protocol.timeout:g} s"
    return f"within {protocol.timeout:g} s"


def differences(reality: HiddenReality, bundle: PolicyBundle) -> tuple[DomainDifference, ...]:
    """List the virtual arm's properties against the ranges of training, or of full randomisation if unknown."""
    arm, camera, scene = reality.arm, reality.camera, reality.scene
    cameras = tuple(bundle.cameras.values())
    task = fitted_task(bundle.task, bundle.robot, Rig(bundle.name, cameras) if cameras else None)
    full, trained = parameter_space(task, bundle.robot), inherited(bundle.provenance, "parameter_space")
    space, name = ParameterSpace.from_dict(trained) if trained else full, task.cameras[0].name
    sizes = VirtualTable(bundle.task, bundle.robot, reality, cell_sizes(bundle)).sizes
    true_size = sizes.get("object_size", scene.object_size)
    measured = "identified on a real Panda (Gaz et al. 2019)" if arm.inertia == PANDA_INERTIA else "a few percent off"

    def within(parameter: str, scale: float = 1.0) -> str:
        low, high = space[parameter].range
        return f"{scale * low:.3g} to {scale * high:.3g}"

    rows = (
        ("physics engine", "PyBullet", "MuJoCo"),
        ("renderer", "numba rasteriser", "MuJoCo's OpenGL renderer, or the rasteriser with looks of its own"),
        ("joint servo", "position constraint", f"impedance, {min(arm.kp):g} to {max(arm.kp):g} N·m/rad"),
        ("link masses", f"URDF × {within('arm_mass_scale')}", measured),
        (
            "joint friction",
            f"viscous {within('joint_damping')} N·m·s/rad, Coulomb {within('joint_friction', 100)} % of the limits",
            f"viscous up to {max(arm.damping):g} N·m·s/rad, Coulomb up to {max(arm.friction):g} N·m",
        ),
        (
            "gravity compensation",
            f"exact, unknown load {within('payload_mass')} kg",
            f"{100 * arm.gravity_compensation:.0f} %, unknown load {arm.tool_mass:g} kg",
        ),
        (
            "camera pose",
            f"{within(f'camera_{name}_x', 100)} cm and {within(f'camera_{name}_yaw', 57.3)}° off nominal, each axis",
            f"{_cm(camera.position_offset)} cm and {camera.rotation_offset_deg}° off nominal",
        ),
        (
            "lens",
            f"k1 of {within(f'camera_{name}_k1')} left by calibration",
            f"k1 = {camera.distortion[0]:g}, rectified by the node from CameraInfo",
        ),
        ("picture", "84 × 84 as rendered", f"{camera.width} × {camera.height}, blurred, noisy, resized by the node"),
        ("lights", "1 to 3 directional", "ceiling panel, window and desk lamp"),
        ("table", "procedural textures", "birch ply with a grain of its own"),
        (
            "object",
            f"{within('object_size', 100)} cm, any hue" if "object_size" in space.names else "any hue",
            f"{100 * true_size:.2g} cm, {len(scene.object_colours)} filament colours",
        ),
        (
            "delays",
            f"command {within('action_delay_steps')} actions, picture {within('camera_delay', 1000)} ms",
            f"command {1e3 * arm.command_delay:.0f} ms, picture {1e3 * camera.delay:.0f} ms, gate, DDS",
        ),
    )
    return tuple(DomainDifference(*row) for row in rows)


def _cm(vector: Sequence[float]) -> str:
    return "(" + ", ".join(f"{100 * v:+.1f}" for v in vector) + ")"


def _clips(videos: Mapping[str, Path]) -> tuple[Clip, ...]:
    clips = []
    for name, path in videos.items():
        policy = name.rsplit("_", 1)[0]
        caption = f"A trial of '{policy}', as the arm's camera saw it"
        clips.append(load_clip(path, caption, f"The arm driven by {policy}"))
    return tuple(clips)


def _camera_samples(bundles: Mapping[str, PolicyBundle], result: SessionResult) -> tuple[CameraSamples, ...]:
    samples, shown = [], set()
    for name, bundle in bundles.items():
        image = next((array.name for array in bundle.observation.arrays if array.is_image), None)
        if image is None or "adaptation" in bundle.provenance or bundle.hash in shown:
            continue  # an adapted bundle's records are frames of the target
        shown.add(bundle.hash)
        pictures = tuple(bundle.parity[f"observation.{image}"][:8])
        samples.append(CameraSamples(f"Simulation, '{name}'", "Images that the policy was trained on.", pictures))
    if result.images is not None:
        caption = f"Images of the policy node, rectified; drawn by {result.renderer}."
        for name, images in read_arrays(result.images, "images").items():
            if name.startswith("image_") and len(images):
                rows = np.linspace(0, len(images) - 1, 8).astype(int)
                camera = name.removeprefix("image_")
                samples.append(CameraSamples(f"Virtual arm, camera '{camera}'", caption, tuple(images[rows])))
    return tuple(samples)
