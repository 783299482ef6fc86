"""Options of the twin, apart from it: `--help` needs neither a simulator nor ROS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sim2real.options import Preset


@dataclass(frozen=True)
class TwinOptions:
    """Which arm is made, and how much is measured."""

    out: Path = Path("runs/twin")
    """Folder of the twin; a later call with it goes on where this one stopped, with the options of the first."""
    robot: str = "franka_panda"
    """The arm: a registered name, or its description file."""
    virtual: bool = False
    """The virtual arm plays the motions, unattended; it stands for a real one."""
    hidden: Path | None = None
    """With --virtual: JSON of another hidden reality than the default one."""
    motions: int = 3
    """Motions to fit to, beside the one that judges."""
    duration: float = 40.0
    """Length of a motion [s]."""
    rate_hz: float = 100.0
    """Commands a second."""
    reach: float = 0.6
    """Largest excursion from home [rad]."""
    share: float = 0.4
    """Share of the speed and acceleration limits that a motion may use."""
    tries: int = 12
    """Motions that are compared for each that is played."""
    table: bool = True
    """Whether the arm stands on a table (the base's plane) that it must not touch."""
    gravity_compensation: bool = False
    """The arm's controller cancels gravity, as industrial arms' do; the virtual arm's does."""
    task: str = "reach"
    """Task to train on: its own objects, cameras and looks are part of the space."""
    rest: Preset = "full"
    """The old ranges: preset of the space before identification, and of what it does not touch after."""
    bundle: Path | None = None
    """A policy for the task; its success in the old and the new ranges is measured. One from state is trained in the
    old ranges without it."""
    train: bool = True
    """Whether policies from state are trained in the new ranges and, without --bundle, in the old ones."""
    trials: int = 60
    """Trials of each policy in each range."""
    quick: bool = False
    """Fits of a tenth of the time, which may well miss."""
    seed: int = 0
    """Of everything random."""
    workers: int = 2
    """Threads, and processes that simulate."""

    def validate(self) -> None:
        """Raise ValueError for a value out of range."""
        for name in ("motions", "tries", "trials", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.hidden is not None and not self.virtual:
            raise ValueError("--hidden is what is true of the virtual arm; add --virtual, or leave it out")
