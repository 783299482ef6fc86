"""Options of the demo, apart from it: `--help` needs neither a simulator nor ROS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DemoOptions:
    """How large the demo is."""

    out: Path | None = None
    """Folder of the results; by default runs/demo, or runs/demo-2 and so on."""
    task: str = "reach"
    """What the policies learn: a task that a camera policy can be trained for."""
    robot: str = "franka_panda"
    """The arm: a name, or an arm file."""
    cameras: str = "front_side"
    """The camera rig: its name, or the file of one of your own."""
    calibration: float = 0.5
    """Uncertainty of the cameras' poses that the policies are trained for, over what the rig says: by default that of a
    calibration rather than of a tape measure."""
    scale: float = 0.7
    """Size of the training: renders and gradient steps over those of the task's recipe."""
    trials: int = 20
    """Trials a policy on the virtual arm, before and after the cameras are knocked."""
    collect: int = 20
    """Trials of the run that collects unlabelled frames."""
    frames: int = 300
    """Unlabelled frames that are kept of it for the adaptation."""
    knock_shift: float = 0.05
    """How far the cameras are knocked out of their places [m]."""
    knock_turn: float = 8.0
    """By what angle they are turned then [deg]."""
    seed: int = 0
    """Of everything random, the directions of the knock and the light included."""
    hidden: Path | None = None
    """JSON of another hidden reality than the default one, before the cameras are knocked."""

    def validate(self) -> None:
        """Raise ValueError for a number out of range."""
        for name in ("calibration", "scale", "trials", "collect", "frames"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a positive number")
        for name in ("knock_shift", "knock_turn"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or a positive number")
