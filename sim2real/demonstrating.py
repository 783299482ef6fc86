"""The sub-command that shows everything once."""

from __future__ import annotations

from sim2real.parsing import parse


def demo(arguments: list[str]) -> int:
    """Train, adapt and evaluate end to end on the virtual arm, and write a report."""
    from sim2real.demo import DemoConfig
    from sim2real.demo import demo as run

    return run(parse(DemoConfig, "demo", demo.__doc__, arguments))
