"""Sub-commands that check a bundle and measure its success."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from sim2real.options import Arguments, stages, write_config


@dataclass(frozen=True)
class EvaluateOptions:
    """How policies are evaluated."""

    bundles: tuple[Path, ...]
    """The policies, one or more bundles."""
    out: Path
    """Folder of the results; a broken-off evaluation in it goes on where it stopped."""
    robot: Literal["sim", "virtual"] = "virtual"
    """sim: the simulator it was trained in, on fresh seeds; virtual: the virtual arm over ROS 2."""
    trials: int = 30
    """Trials a policy; all policies are tried at the same places."""
    seed: int = 0
    """Of places and order."""
    randomise: str = "full"
    """With sim: what varies."""
    strict: bool = False
    """Trials last to their time limit, and success must hold then, within 2.5 cm."""
    cameras: str | None = None
    """Where the cameras of policies that follow them stand, as for 'sim2real rig place'; in the simulator anywhere that
    they were trained for by default."""
    hidden: Path | None = None
    """With virtual: JSON of another hidden reality than the default one."""
    thing: str = ""
    """Of policies for several things, which one they are asked for: red, or red on blue; with sim any by default."""
    goal: str = ""
    """The same as a command in words, in quotes."""
    record_images: bool = False
    """With virtual: keep unlabelled frames for 'sim2real adapt'."""


def evaluate(arguments: Arguments) -> int:
    """Measure success with intervals, in simulation or on the virtual arm over ROS 2."""
    config = arguments.parse(EvaluateOptions, evaluate.__doc__)
    from policies.bundle import PolicyBundle

    if config.trials < 1:
        raise ValueError(f"trials is {config.trials}, expected at least 1")
    loaded = {path: PolicyBundle.load(path) for path in config.bundles}
    names = [bundle.name for bundle in loaded.values()]
    if len(set(names)) != len(names):
        raise ValueError(f"bundles have the names {names}; policies that are compared need names of their own")
    paths = dict(zip(names, loaded))
    if config.cameras is not None:
        loaded = _placed(loaded, config.cameras, config.out)
        paths = dict(zip(names, loaded))
    from evaluation.session.task_protocol import task_protocol

    policies = dict(zip(names, loaded.values()))
    if config.thing and config.goal:
        raise ValueError("--thing and --goal both say what is asked for; give one of them")
    thing = _thing_meant(config.goal, policies) if config.goal else config.thing
    if config.robot == "sim":
        from evaluation.simulation.simulated_trials import evaluate_in_simulation

        with stages(tuple(names)) as progress:
            evaluate_in_simulation(
                paths, config.randomise, config.trials, config.seed, config.out, progress, config.strict, thing
            )
    else:
        from ros_nodes.session.trial_runner import RecordingOptions
        from ros_nodes.session.virtual_report import write_virtual_report
        from ros_nodes.session.virtual_session import run_session

        protocol = task_protocol(policies, config.trials, config.seed, "virtual", config.strict, thing)
        recording = RecordingOptions(images=config.record_images, videos=1)
        result = run_session(protocol, paths, config.out, hidden=config.hidden, recording=recording)
        write_virtual_report(config.out, protocol, result, paths, config.hidden)
    write_config(config.out / "config.json", config)
    return 0


def _thing_meant(goal: str, policies: dict) -> str:
    """Return which thing a command in words asks all `policies` for, by name.

    Raises:
        ValueError: if one of them would refuse it; with what was understood.
    """
    from policies.language.abilities import abilities_of_bundle
    from policies.language.understanding import CommandReader

    reader, thing = CommandReader.load(), ""
    for name, bundle in policies.items():
        found = reader.understand(goal, abilities_of_bundle(bundle))
        if not found.accepted:
            raise ValueError(
                f"--goal: policy '{name}' refuses '{goal}': it {found.reason}; understood: {found.understood}"
            )
        thing = found.goal
    return thing


def _placed(bundles: dict, cameras: str, out: Path) -> dict:
    """Return bundles by their paths for the `cameras` of a lab, written in `out` unless they are there."""
    from policies.bundle.placing import placed_bundle
    from robots.rig import read_cameras

    found = {}
    for bundle in bundles.values():
        placed, path = placed_bundle(bundle, read_cameras(cameras)), out / "placed" / f"{bundle.name}.zip"
        if not path.exists():
            placed.save(path)
        elif type(bundle).load(path).hash != placed.hash:
            raise ValueError(f"'{path}' is for other cameras, or another policy; choose another --out")
        found[path] = placed
    return found


@dataclass(frozen=True)
class BundleOptions:
    """Which bundle is checked."""

    bundle: tyro.conf.Positional[Path]
    """Folder or .zip of the bundle."""


def check_bundle(arguments: Arguments) -> int:
    """Verify a bundle: hashes, specs, recorded actions."""
    config = arguments.parse(BundleOptions, check_bundle.__doc__)
    from policies.bundle import PolicyBundle
    from policies.bundle.cell import cell_lines
    from robots.rig import describe_camera

    checked = PolicyBundle.load(config.bundle)
    deviation = checked.check_parity()
    inputs = ", ".join(f"{array.name} {array.dtype} {array.shape}" for array in checked.observation.arrays)
    print(f"bundle     {checked.name}  (SHA-256 {checked.hash})")
    print(f"task       {checked.task} on {checked.robot.name}")
    print(f"sees       {inputs}")
    if checked.things is not None:
        print(f"asked for  {checked.things}")
    print(f"commands   {checked.action.kind} ({', '.join(checked.action.names)}) at {checked.action.rate_hz:g} Hz")
    for camera in checked.cameras.values():
        print(f"camera     {camera.name}: {describe_camera(camera)}")
    for line in cell_lines(checked):
        print(f"cell       {line}")
    print(f"parity     {len(checked.parity['action'])} recorded actions, largest deviation {deviation:.1e}")
    return 0
