"""Options of the demo, apart from it: `--help` needs neither a simulator nor ROS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DemoOptions:
    """How large the demo is."""

    out: Path | None = None
    """Folder of the results; by default runs/demo, or runs/demo-2 and so on."""
    trials: int = 30
    """Trials a policy on the virtual arm."""
    collect: int = 12
    """Trials of the run that collects unlabelled frames."""
    seed: int = 0
    """Of everything random."""
    views: int = 16_000
    """Labelled renders of the randomised policy."""
    steps: int = 2_400
    """Gradient steps of the randomised policy's encoder."""
    nominal_views: int = 4_000
    """Labelled renders of the policy that is trained without randomisation; its one scene is learned from fewer."""
    nominal_steps: int = 400
    """Gradient steps of its encoder."""
    hidden: Path | None = None
    """JSON of another hidden reality than the default one."""
