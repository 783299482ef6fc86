"""Sub-commands on policy bundles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BundleConfig:
    """What is done with a bundle."""

    bundle: Path
    """Folder or .zip of the bundle."""


def bundle(arguments: list[str]) -> int:
    """Verify a bundle: hashes, specs, recorded actions. Usage: sim2real bundle check BUNDLE."""
    import tyro

    if arguments[:1] != ["check"]:
        raise ValueError(f"bundle: unknown action '{' '.join(arguments[:1])}'; known is: sim2real bundle check BUNDLE")
    config = tyro.cli(
        tyro.conf.Positional[BundleConfig], prog="sim2real bundle check", description=bundle.__doc__, args=arguments[1:]
    )
    from policies.bundle import PolicyBundle

    checked = PolicyBundle.load(config.bundle)
    deviation = checked.check_parity()
    inputs = ", ".join(f"{array.name} {array.dtype} {array.shape}" for array in checked.observation.arrays)
    print(f"bundle     {checked.name}  (SHA-256 {checked.hash})")
    print(f"task       {checked.task} on {checked.robot.name}")
    print(f"sees       {inputs}")
    print(f"commands   {checked.action.kind} ({', '.join(checked.action.names)}) at {checked.action.rate_hz:g} Hz")
    print(f"parity     {len(checked.parity['action'])} recorded actions, largest deviation {deviation:.1e}")
    return 0
