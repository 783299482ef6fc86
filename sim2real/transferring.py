"""Sub-commands that start from an earlier policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sim2real.parsing import stages
from sim2real.training import from_objects, tell, value_of


def transfer(arguments: list[str]) -> int:
    """Train a policy from an earlier one: another task, arm or camera, --from BUNDLE --mode MODE."""
    import tyro

    arguments = _with_source(arguments)
    told: list[str] = []

    def remember(surgery) -> None:
        told.extend([*surgery.lines(), f"{surgery.share:.0%} of the weights were carried"])

    def parse(default):
        return tyro.cli(
            type(default), prog="sim2real transfer", description=transfer.__doc__, args=arguments, default=default
        )

    if _sees(arguments) and _handles(arguments):  # a run like any other, whose encoder starts from the bundle's
        return from_objects(["--start" if a == "--source" else a for a in arguments], "transfer")
    if _sees(arguments):
        from policies.transfer.camera_transfer import CameraTransferConfig, transfer_camera

        config = parse(CameraTransferConfig(tyro.MISSING, source=tyro.MISSING))
        with stages(("teacher", "renders", "student", "bundle")) as progress:
            bundle = transfer_camera(config, progress, remember)
        print("\n".join(told))
        print(f"trained '{bundle.name}' for '{bundle.task}': {config.out / 'bundle'}  (SHA-256 {bundle.hash[:12]}…)")
        return 0
    from policies.imitation.state_run import STAGES
    from policies.transfer.state_transfer import TransferConfig
    from policies.transfer.state_transfer import transfer as run

    task, robot = value_of(arguments, "--task") or "reach", value_of(arguments, "--robot") or "franka_panda"
    recipe = _recipe(arguments, task, robot)
    config = parse(TransferConfig(tyro.MISSING, task=task, robot=robot, recipe=recipe, source=tyro.MISSING))
    with stages(STAGES) as progress:
        bundle = run(config, progress, remember)
    print("\n".join(told))
    tell(bundle, config.out)
    return 0


def compare_transfer(arguments: list[str]) -> int:
    """Measure what transfer saves: from scratch against every mode, over seeds and data budgets."""
    import tyro

    arguments = _with_source(arguments)

    def parse(default):
        return tyro.cli(
            type(default),
            prog="sim2real compare-transfer",
            description=compare_transfer.__doc__,
            args=arguments,
            default=default,
        )

    if _sees(arguments) and _handles(arguments):
        from policies.imitation.object_run import action_head_recipe
        from policies.transfer.object_transfer import CompareObjectConfig, compare_object

        task, robot = value_of(arguments, "--task") or "push", value_of(arguments, "--robot") or "franka_panda"
        recipe = action_head_recipe(task, robot)
        config = parse(CompareObjectConfig(tyro.MISSING, tyro.MISSING, task=task, robot=robot, recipe=recipe))
        with stages(("action_head", "runs")) as progress:
            report = compare_object(config, progress)
    elif _sees(arguments):
        from policies.transfer.camera_transfer import CompareCameraConfig, compare_camera

        config = parse(CompareCameraConfig(tyro.MISSING, tyro.MISSING))
        with stages(("runs",)) as progress:
            report = compare_camera(config, progress)
    else:
        from policies.transfer.state_transfer import CompareConfig
        from policies.transfer.state_transfer import compare_transfer as run

        task, robot = value_of(arguments, "--task") or "stack", value_of(arguments, "--robot") or "franka_panda"
        recipe = _recipe(arguments, task, robot)
        config = parse(CompareConfig(tyro.MISSING, tyro.MISSING, task=task, robot=robot, recipe=recipe))
        with stages(("runs",)) as progress:
            report = run(config, progress)
    for line in _table(report):
        print(line)
    print(f"{config.out / 'transfer.json'}  {config.out / 'transfer.png'}")
    return 0


def _table(report: dict) -> list[str]:
    """Success at every budget, and what each method needs of the data that scratch needs to get as far."""
    methods = report["methods"]
    lines = [f"level: {report['level']:.3f}, the mean success from scratch at the largest budget"]
    if report["share_is_bound"]:
        lines = [
            f"level: {report['level']:.3f}; from scratch the largest budget gives {report['scratch_final']:.3f}, "
            "so that the shares are upper bounds"
        ]
    lines.append(f"  {'data':18} {' '.join(f'{steps:>6}' for steps in methods['scratch']['steps'])}")
    for method, found in methods.items():
        success = " ".join(f"{mean:6.2f}" for mean in found["mean"])
        lines.append(f"  {method:18} {success}")
    lines.append("share of scratch's data for a success of")
    levels = [*(f"{each['level']:.2f}" for each in methods["scratch"]["levels"]), f"{report['level']:.3f}"]
    lines.append(f"  {'':18} {' '.join(f'{level:>18}' for level in levels)}")
    for method, found in methods.items():
        if method == "scratch":
            continue
        ends = {"share": "share_of_scratch", "low": "share_low", "high": "share_high"}
        last = {key: found[name] for key, name in ends.items()}
        lines.append(f"  {method:18} {' '.join(f'{_share(each):>18}' for each in [*found['levels'], last])}")
    if unchanged := report.get("unchanged"):
        low, high = unchanged["low"], unchanged["high"]
        lines.append(f"  source as it is    {unchanged['success']:6.2f} [{low:.2f}, {high:.2f}], without any training")
    return lines


def _share(found: Mapping[str, float | None]) -> str:
    """A share with its interval; ∞ where the method does not get there."""
    share, low, high = ("∞" if found[key] is None else f"{found[key]:.2f}" for key in ("share", "low", "high"))
    return f"{share} [{low}, {high}]"


def _sees(arguments: list[str]) -> bool:
    """Whether the policy to start from is a camera student."""
    source = value_of(arguments, "--source")
    if source is None:
        return False
    from policies.bundle import PolicyBundle
    from policies.models.restore import CAMERA_STUDENT

    return PolicyBundle.load(Path(source)).network.get("kind") == CAMERA_STUDENT


def _handles(arguments: list[str]) -> bool:
    """Whether the new task moves an object."""
    from sim.tasks import load_task

    return load_task(value_of(arguments, "--task") or "reach").moves_object


def _with_source(arguments: list[str]) -> list[str]:
    """Spell `--from` as the field it fills: `from` is a word of the language."""
    spelled: list[str] = []
    for argument in arguments:
        if argument == "--from":
            spelled.append("--source")
        elif argument.startswith("--from="):
            spelled += ["--source", argument.removeprefix("--from=")]
        else:
            spelled.append(argument)
    return spelled


def _recipe(arguments: list[str], task: str, robot: str):
    """The table's recipe with the source's hidden layers, without which nothing could be carried."""
    from policies.bundle import PolicyBundle
    from policies.imitation.recipes import state_recipe
    from policies.models.state_network import restore_state_network

    recipe = state_recipe(task, robot)
    source = value_of(arguments, "--source")
    if source is None:
        return recipe
    return replace(recipe, hidden=restore_state_network(PolicyBundle.load(Path(source))).hidden)
