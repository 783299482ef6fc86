"""What the sub-commands share: parse a frozen dataclass from the command line, show progress by stages."""

from __future__ import annotations

from collections.abc import Sequence


def parse(config, name: str, description: str | None, arguments: list[str]):
    """Build `config` from `arguments`; `--help` and bad input end the program as tyro does."""
    import tyro

    return tyro.cli(config, prog=f"sim2real {name}", description=description, args=arguments)


def stages(names: Sequence[str | tuple[str, ...]]):
    """Show progress of the named stages on the terminal, as a context manager; those of a tuple go on together."""
    from sim2real.progress import Stages

    return Stages(names)
