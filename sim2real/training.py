"""Sub-commands that learn."""

from __future__ import annotations

from sim2real.parsing import parse, stages


def train(arguments: list[str]) -> int:
    """Train a camera policy in randomised simulation."""
    from policies.train import TrainConfig
    from policies.train import train as run

    config = parse(TrainConfig, "train", train.__doc__, arguments)
    with stages(("teacher", "views", "student", "bundle")) as progress:
        bundle = run(config, progress)
    print(f"trained '{bundle.name}' for '{bundle.task}': {config.out / 'bundle'}  (SHA-256 {bundle.hash[:12]}…)")
    return 0
