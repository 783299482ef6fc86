"""Sub-commands that start from an earlier policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sim2real.parsing import stages
from sim2real.training import tell, value_of


def transfer(arguments: list[str]) -> int:
    """Train a state policy from an earlier one: another task or arm, --from BUNDLE --mode MODE."""
    import tyro

    from policies.state_run import STAGES
    from policies.transfer_run import TransferConfig
    from policies.transfer_run import transfer as run

    arguments = _with_source(arguments)
    task, robot = value_of(arguments, "--task") or "reach", value_of(arguments, "--robot") or "franka_panda"
    recipe = _recipe(arguments, task, robot)
    default = TransferConfig(tyro.MISSING, task=task, robot=robot, recipe=recipe, source=tyro.MISSING)
    config = tyro.cli(
        TransferConfig, prog="sim2real transfer", description=transfer.__doc__, args=arguments, default=default
    )
    told: list[str] = []
    with stages(STAGES) as progress:
        bundle = run(config, progress, lambda surgery: told.extend([*surgery.lines(), f"{surgery.share:.0%} carried"]))
    print("\n".join(told))
    tell(bundle, config.out)
    return 0


def compare_transfer(arguments: list[str]) -> int:
    """Measure what transfer saves: from scratch against every mode, over seeds and data budgets."""
    import tyro

    from policies.transfer_run import CompareConfig
    from policies.transfer_run import compare_transfer as run

    arguments = _with_source(arguments)
    task, robot = value_of(arguments, "--task") or "stack", value_of(arguments, "--robot") or "franka_panda"
    recipe = _recipe(arguments, task, robot)
    default = CompareConfig(tyro.MISSING, tyro.MISSING, task=task, robot=robot, recipe=recipe)
    config = tyro.cli(
        CompareConfig,
        prog="sim2real compare-transfer",
        description=compare_transfer.__doc__,
        args=arguments,
        default=default,
    )
    with stages(("runs",)) as progress:
        report = run(config, progress)
    print(f"level: {report['level']:.3f}, the mean success from scratch at the largest budget")
    for method, found in report["methods"].items():
        share = found["share_of_scratch"]
        saved = (
            "does not get there"
            if share is None
            else f"{found['steps_to_level']:,.0f} steps, {share:.2f} of scratch's "
            f"[{found['share_low']:.2f}, {'∞' if found['share_high'] is None else format(found['share_high'], '.2f')}]"
        )
        print(f"  {method:18} {' '.join(f'{m:.2f}' for m in found['mean'])}   {saved}")
    print(f"{config.out / 'transfer.json'}  {config.out / 'transfer.png'}")
    return 0


def _with_source(arguments: list[str]) -> list[str]:
    """Spell `--from` as the field it fills: `from` is a word of the language."""
    return [f"--source{a[6:]}" if a == "--from" or a.startswith("--from=") else a for a in arguments]


def _recipe(arguments: list[str], task: str, robot: str):
    """The table's recipe with the source's hidden layers, without which nothing could be carried."""
    from policies.bundle import PolicyBundle
    from policies.recipes import state_recipe
    from policies.state_network import restore_state_network

    recipe = state_recipe(task, robot)
    source = value_of(arguments, "--source")
    if source is None:
        return recipe
    return replace(recipe, hidden=restore_state_network(PolicyBundle.load(Path(source))).hidden)
