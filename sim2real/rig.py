"""Sub-commands about camera rigs: what one shows of a task, and placing the cameras of a policy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sim2real.options import Arguments


def default_rig(robot: str) -> str:
    """Return the name of the rig that an arm's description names, or else the tasks' own."""
    from robots.registry import load_robot
    from sim.tasks.task import DEFAULT_RIG

    return load_robot(robot, shapes=False).rig or DEFAULT_RIG


@dataclass(frozen=True)
class RigOptions:
    """Which rig is checked, for which task."""

    cameras: str = ""
    """The camera rig: its name, or the file of one of your own; by default the arm's, else front_side."""
    task: str = "reach"
    """The task."""
    robot: str = "franka_panda"
    """The arm."""
    bundle: Path | None = None
    """A policy bundle, whose rig, task and arm are checked in place of the three above."""
    out: Path = Path("rig.png")
    """Image of what each camera shows, with the work area on it."""
    randomise: str = "full"
    """What varies from scene to scene."""
    scenes: int = 100
    """Randomised scenes in which sizes are measured."""
    seed: int = 0
    """Of the scenes."""


@dataclass(frozen=True)
class PlaceOptions:
    """The cameras of which policy are placed where."""

    bundle: Path
    """A policy that was trained with --cameras random, or with a rig of ranges."""
    cameras: str
    """The lab's cameras: a rig's file, or those of 'sim2real calibrate', comma-separated."""
    out: Path
    """Where the bundle for them is written, a folder or a .zip."""


def rig_place(arguments: Arguments) -> int:
    """Write the bundle of a policy that was trained for cameras anywhere, for those of a lab."""
    config = arguments.parse(PlaceOptions, rig_place.__doc__)
    from policies.bundle import PolicyBundle
    from policies.bundle.placing import placed_bundle
    from robots.rig import describe_camera, read_cameras

    placed = placed_bundle(PolicyBundle.load(config.bundle), read_cameras(config.cameras))
    placed.save(config.out)
    for camera in placed.cameras.values():
        print(f"{camera.name}: {describe_camera(camera)}")
    print(config.out)
    return 0


def rig_check(arguments: Arguments) -> int:
    """Draw what each camera of a rig would show of a task, and say what is too small or out of sight to train on.

    The exit status is 1 if something is.
    """
    config = arguments.parse(RigOptions, rig_check.__doc__)
    if config.scenes < 1:
        raise ValueError(f"scenes is {config.scenes}, expected at least 1")
    import cv2

    if not cv2.haveImageWriter(str(config.out)):
        raise ValueError(f"'{config.out}' has no image's ending; name a .png or .jpg")

    from robots.host.writing import write_bytes
    from robots.rig import Rig
    from sim.datasets.rig_inspection import inspect_rig, join_images
    from sim.tasks import load_task
    from sim.tasks.several_things import SeveralThings

    task, robot, rig = config.task, config.robot, config.cameras or default_rig(config.robot)
    if config.bundle is not None:
        from policies.bundle import PolicyBundle

        policy = PolicyBundle.load(config.bundle)
        if not policy.cameras:
            raise ValueError(f"bundle '{policy.name}' takes no images: it has no rig to check")
        found = Rig(policy.name, tuple(policy.cameras.values()))
        coverage = inspect_rig(policy.task, policy.arm, found, config.scenes, config.seed, config.randomise)
    else:
        coverage = inspect_rig(task, robot, rig, config.scenes, config.seed, config.randomise)
    chosen = load_task(policy.task if config.bundle is not None else task)
    if isinstance(chosen, SeveralThings):
        print(f"{chosen.things} things, of the colours {', '.join(chosen.references)}")
    for each in coverage.cameras:
        print(f"{each.camera.name}: {each.pose_text}")
        for body in each.bodies:
            print(f"    {body.body:10} {body.side_px:4.1f} px large, in {100 * body.seen:3.0f} % of the scenes")
    _, picture = cv2.imencode(config.out.suffix, join_images(coverage)[..., ::-1])
    write_bytes(config.out, picture.tobytes())
    print(config.out)
    for problem in coverage.problems:
        print(f"problem: {problem}")
    return 1 if coverage.problems else 0
