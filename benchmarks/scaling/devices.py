"""Where the time of a camera training goes on each device, and the least that it could be: the roofline.

    python benchmarks/scaling/devices.py [--devices cpu cuda] [--steps 400] [--renders 2000] [--json FILE]

On a GPU drawing, which stays on the processor, is what may starve it: the table says how many renders a second are
drawn, and how many the encoder takes. Every device that torch finds is measured; another one is refused. The parts are
measured one after the other; on the processor a training has the refiners beside the encoder, in a thread of their own.
The least time of a learning part is that of its multiplications and additions at the pace of the device's own product
of two large matrices, in its faster precision: no training with these networks, steps and renders takes less.
"""

from __future__ import annotations

import copy
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import tyro
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.parts.record import heading, origin, save
from policies.imitation.camera_run import TrainConfig, untrained
from policies.imitation.detection import detect_all
from policies.imitation.geometry import fit_geometry, labels
from policies.imitation.perception import fit_encoder, fit_refiner
from policies.imitation.recipes import perception_recipe
from policies.models.crop_refiner import CropRefiner
from policies.training.device import available_devices, device_of, find_device
from policies.training.precision import halves_are_fast
from policies.training.progress import silent
from sim.datasets.labelled_renders import LabelledRenders, sample_renders
from sim.workers.start import open_workers

SIDE = 2048
"""Of the matrices whose product gives a device's pace."""
PRODUCTS = 20
"""Of which the fastest counts."""
COUNTED = 4
"""Gradient steps whose operations are counted."""


@dataclass(frozen=True)
class Config:
    """What to measure."""

    task: str = "reach"
    """Task."""
    cameras: str = "front_side"
    """Camera rig."""
    devices: tuple[str, ...] = ()
    """Devices; by default all that there are."""
    renders: int = 2_000
    """States that are drawn."""
    steps: int = 200
    """Gradient steps of the encoder, and of a refiner."""
    threads: int = 2
    """Threads of torch on the processor."""
    json: Path | None = None
    """File for the figures."""


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the wall time [s] of `work`, until `device` has finished it."""
    begun = time.perf_counter()
    work()
    torch.zeros(1, device=device).item()
    return time.perf_counter() - begun


def operations(work: Callable[[], object], steps: int) -> float:
    """Return the floating-point operations of a step of `work`, which takes `steps`."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / steps


def peak(device: torch.device) -> float:
    """Return the operations a second of a product of two large matrices on `device`, the fastest of several."""
    kind = torch.bfloat16 if halves_are_fast(device) else torch.float32
    factors = [torch.randn(SIDE, SIDE, dtype=kind, device=device) for _ in range(2)]
    return 2.0 * SIDE**3 / min(seconds(lambda: torch.mm(*factors), device) for _ in range(PRODUCTS))


def measure(config: Config, renders: tuple[LabelledRenders, ...], drawn: float, device: torch.device) -> dict:
    """Measure a training's parts on `device`, and scale them to the recipe's steps; `drawn` renders come a second."""
    run = TrainConfig(Path("unused"), config.task, cameras=config.cameras)
    recipe = replace(perception_recipe(run.task, run.robot), steps=config.steps)
    whole = perception_recipe(run.task, run.robot)
    student = untrained(replace(run, perception=whole))
    student.encoder.to(device)
    joined = LabelledRenders.joined(renders)
    short = replace(recipe, steps=min(20, config.steps))
    fit_encoder(copy.deepcopy(student.encoder), joined, short, 0, silent)  # kernels are chosen, memory is taken

    def train_encoder(steps: int) -> None:
        fit_encoder(student.encoder, joined, replace(recipe, steps=steps), 0, silent)

    def train_refiner(steps: int) -> None:
        first = student.encoder.refiners[0]
        assert isinstance(first, CropRefiner)
        fit_refiner(first, joined, 0, steps, recipe, 0, silent)

    def train_geometry(steps: int) -> None:
        few = replace(recipe, geometry_steps=steps)
        fit_geometry(student, points, measured, offsets, few, 0, silent)

    points, (measured, offsets) = detect_all(student, renders)[0], labels(student, renders[0])
    learning = {"encoder": (train_encoder, whole.steps), "geometry": (train_geometry, whole.geometry_steps)}
    if whole.refiner_steps:
        learning["refiners"] = train_refiner, sum(whole.refiner_steps)
    parts, pace = {"renders": whole.renders / drawn}, peak(device)
    least = dict(parts)
    for name, (train, steps) in learning.items():
        parts[name] = steps * seconds(partial(train, config.steps), device) / config.steps
        least[name] = steps * operations(partial(train, COUNTED), COUNTED) / pace
    assert device_of(student.encoder) == device
    total = sum(parts.values())
    return {
        **{f"{name}_s": spent for name, spent in parts.items()},
        **{f"{name}_share": spent / total for name, spent in parts.items()},
        **{f"{name}_least_s": spent for name, spent in least.items()},
        "peak_gflops": pace / 1e9,
        "renders_a_second": drawn,
        "images_learned_a_second": recipe.batch * whole.steps / parts["encoder"],
        "waiting_for_renders_share": parts["renders"] / total if device.type != "cpu" else 0.0,
        "bfloat16": halves_are_fast(device),
    }


def main(config: Config) -> None:
    """Measure, and print a line for each device."""
    described = origin((0,))
    print(heading(described))
    devices = [find_device(name) for name in config.devices or available_devices()]
    run, figures = TrainConfig(Path("unused"), config.task, cameras=config.cameras), dict[str, object]()
    with open_workers() as workers:
        arguments = (config.task, run.robot, run.space())
        sample_renders(*arguments, 250 * workers.count, 1, workers, cameras=config.cameras)  # processes start
        begun = time.perf_counter()
        renders = sample_renders(*arguments, config.renders, 0, workers, cameras=config.cameras)
        drawn = config.renders / (time.perf_counter() - begun)
    torch.set_num_threads(config.threads)
    for device in devices:
        found = measure(config, renders, drawn, device)
        shares = ", ".join(
            f"{name} {found[f'{name}_share']:.0%} ({found[f'{name}_s']:.0f} s, least {found[f'{name}_least_s']:.0f} s)"
            for name in ("renders", "encoder", "refiners", "geometry")
            if f"{name}_s" in found
        )
        print(
            f"{device.type}: {shares}; {found['renders_a_second']:.0f} states drawn and "
            f"{found['images_learned_a_second']:.0f} images learned a second; peak {found['peak_gflops']:.0f} GFLOP/s"
            f"{', in bfloat16' if found['bfloat16'] else ''}",
            flush=True,
        )
        figures[device.type] = found
    figures["cores"] = len(os.sched_getaffinity(0))
    save(config.json, described, figures)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
