"""The command line: one front door, each sub-command imported only when it is called."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

Command = Callable[[list[str]], int]


def train(arguments: list[str]) -> int:
    """Train a camera policy in randomised simulation."""
    from policies.train import TrainConfig
    from policies.train import train as run

    config = _parse(TrainConfig, "train", train.__doc__, arguments)
    with _stages(("teacher", "views", "student", "bundle")) as progress:
        bundle = run(config, progress)
    print(f"trained '{bundle.name}' for '{bundle.task}': {config.out / 'bundle'}  (SHA-256 {bundle.hash[:12]}…)")
    return 0


@dataclass(frozen=True)
class AdaptConfig:
    """How a bundle is adapted."""

    bundle: Path
    """The policy to adapt."""
    target: Path
    """Recording of the target: the images.npz of 'sim2real evaluate --record-images', or its folder."""
    out: Path
    """Where the adapted bundle is written; must not exist. No bundle is written when no method wins."""
    name: str = ""
    """Name of the adapted policy in reports; by default the parent's and the method's."""
    method: str = "auto"
    """auto tries all; or batch-norm, self-calibration, batch-norm+self-calibration."""
    seed: int = 0
    """Of everything random."""


def adapt(arguments: list[str]) -> int:
    """Adapt a camera policy to what the real camera sees, from unlabelled frames."""
    config = _parse(AdaptConfig, "adapt", adapt.__doc__, arguments)
    import json

    from adaptation.adapt import SOURCE_ONLY
    from adaptation.adapt import adapt as run
    from adaptation.target import load_target
    from policies.bundle import PolicyBundle

    if config.out.exists():
        raise ValueError(f"'{config.out}' exists already; choose another --out, or remove it")
    bundle, target = PolicyBundle.load(config.bundle), load_target(config.target)
    with _stages(("candidates",)) as progress:
        outcome = run(
            bundle, target, config.method, config.seed, lambda share, text: progress("candidates", share, text)
        )
    _print_candidates(outcome.report)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.with_name(f"{config.out.name}.report.json").write_text(json.dumps(outcome.report, indent=2) + "\n")
    if outcome.method == SOURCE_ONLY:
        print("no candidate beats source-only on the held-out frames: nothing written, keep the bundle you have")
        return 3
    replace(outcome.bundle, name=config.name or outcome.bundle.name).save(config.out)
    print(f"adapted by {outcome.method}: {config.out}")
    return 0


@dataclass(frozen=True)
class EvaluateConfig:
    """How policies are evaluated."""

    bundles: tuple[Path, ...]
    """The policies, one or more bundles."""
    out: Path
    """Folder of the results; a broken-off evaluation in it goes on where it stopped."""
    robot: Literal["sim", "virtual"] = "virtual"
    """sim: the simulator it was trained in, on fresh seeds; virtual: the virtual arm over ROS 2."""
    trials: int = 30
    """Trials a policy; all policies are tried at the same places."""
    seed: int = 0
    """Of places and order."""
    randomise: str = "full"
    """With sim: what varies (nominal, mild, full)."""
    hidden: Path | None = None
    """With virtual: JSON of another hidden reality than the default one."""
    record_images: bool = False
    """With virtual: keep unlabelled frames for 'sim2real adapt'."""


def evaluate(arguments: list[str]) -> int:
    """Measure success with intervals, in simulation or on the virtual arm over ROS 2."""
    config = _parse(EvaluateConfig, "evaluate", evaluate.__doc__, arguments)
    from policies.bundle import PolicyBundle

    if config.trials < 1:
        raise ValueError(f"trials is {config.trials}, expected at least 1")
    loaded = {path: PolicyBundle.load(path) for path in config.bundles}
    names = [bundle.name for bundle in loaded.values()]
    if len(set(names)) != len(names):
        raise ValueError(f"bundles have the names {names}; policies that are compared need names of their own")
    paths = dict(zip(names, loaded))
    if config.robot == "sim":
        from evaluation.simulated import evaluate_in_simulation

        with _stages(tuple(names)) as progress:
            evaluate_in_simulation(paths, config.randomise, config.trials, config.seed, config.out, progress)
    else:
        from ros_nodes.session import Recording, reach_protocol, run_session
        from ros_nodes.session_report import write_session_report

        protocol = reach_protocol(paths, config.trials, config.seed)
        recording = Recording(images=config.record_images, videos=1)
        result = run_session(protocol, paths, config.out, hidden=config.hidden, recording=recording)
        write_session_report(config.out, protocol, result, paths, config.hidden)
    return 0


def demo(arguments: list[str]) -> int:
    """Train, adapt and evaluate end to end on the virtual arm, and write a report."""
    from ros_nodes.demo import DemoConfig
    from ros_nodes.demo import demo as run

    return run(_parse(DemoConfig, "demo", demo.__doc__, arguments))


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


def virtual_arm(arguments: list[str]) -> int:
    """Start the virtual arm: a stand-in for a real robot, its controllers and its camera, over ROS 2."""
    from ros_nodes import virtual_arm as node

    return _start("virtual-arm", virtual_arm.__doc__, node.PARAMETERS, node.main, arguments)


def policy_node(arguments: list[str]) -> int:
    """Start the policy node, which drives an arm through the safety gate."""
    from ros_nodes import policy_node as node

    return _start("policy-node", policy_node.__doc__, node.PARAMETERS, node.main, arguments)


def safety_gate(arguments: list[str]) -> int:
    """Start the safety gate, the only process that commands the arm."""
    from ros_nodes import safety_gate as node

    return _start("safety-gate", safety_gate.__doc__, node.PARAMETERS, node.main, arguments)


def play_camera(arguments: list[str]) -> int:
    """Play recorded pictures as a camera topic, for the policy node in shadow mode."""
    from ros_nodes import camera_player as node

    return _start("play-camera", play_camera.__doc__, node.PARAMETERS, node.main, arguments)


COMMANDS: dict[str, Command] = {
    "demo": demo,
    "train": train,
    "adapt": adapt,
    "evaluate": evaluate,
    "bundle": bundle,
    "virtual-arm": virtual_arm,
    "policy-node": policy_node,
    "safety-gate": safety_gate,
    "play-camera": play_camera,
}
"""Sub-commands by name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command; bad input ends in one line on standard error and a status other than 0."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(_overview())
        return 0
    if name not in COMMANDS:
        print(f"sim2real: unknown command '{name}'; known are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        return COMMANDS[name](arguments[1:])
    except KeyboardInterrupt:
        print(f"\nsim2real {name}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        return 1
    except ImportError as error:
        extra = (
            "ros" if (error.name or "").startswith(("rclpy", "lifecycle", "sensor", "std_", "trajectory")) else "train"
        )
        print(
            f"sim2real {name}: '{error.name}' is not installed; pip install 'sim2real-arms[{extra}]'"
            + (", or source your ROS 2 installation" if extra == "ros" else ""),
            file=sys.stderr,
        )
        return 1
    except (ValueError, RuntimeError, OSError) as error:
        print(f"sim2real {name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


def _parse(config: type, name: str, description: str | None, arguments: list[str]):
    import tyro

    return tyro.cli(config, prog=f"sim2real {name}", description=description, args=arguments)


def _start(name: str, about: str | None, parameters: Sequence, run: Command, arguments: list[str]) -> int:
    from ros_nodes.parameters import help_text

    if "--help" in arguments or "-h" in arguments:
        print(help_text(f"sim2real {name}", about or "", parameters))
        return 0
    known = [parameter.name for parameter in parameters]
    return run(_ros(arguments, known))


def _ros(arguments: list[str], known: Sequence[str]) -> list[str]:
    """Turn `--name value` into ROS parameters; what follows `--ros-args` is passed on as it is.

    `--shadow` alone is true.
    """
    cut = arguments.index("--ros-args") if "--ros-args" in arguments else len(arguments)
    own, rest = arguments[:cut], arguments[cut + 1 :]
    parameters: list[str] = []
    while own:
        name = own.pop(0)
        if not name.startswith("--"):
            raise ValueError(f"unexpected argument '{name}'; give parameters as --name value")
        parameter = name[2:].replace("-", "_")
        if parameter not in known:
            raise ValueError(
                f"unknown parameter '{name}'; known are {', '.join('--' + k.replace('_', '-') for k in known)}"
            )
        value = own.pop(0) if own and not own[0].startswith("--") else "true"
        parameters += ["-p", f"{parameter}:={value}"]
    return ["--ros-args", *parameters, *rest]


def _stages(names: Sequence[str]):
    from evaluation.progress import Stages

    return Stages(names)


def _print_candidates(report: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("method", "scatter of a still goal", "beats source-only", title="adaptation, judged without labels")
    for method, figures in report["candidates"].items():
        chosen = " ◀" if method == report["chosen"] else ""
        table.add_row(
            method + chosen, f"{1000 * figures['scatter']:.1f} mm", "yes" if figures["beats_source_only"] else "no"
        )
    Console().print(table)


def _overview() -> str:
    lines = [
        "usage: sim2real COMMAND [--help]",
        "",
        "Train arm policies in randomised simulation, adapt them, drive the arm.",
        "",
    ]
    lines += [f"  {name:12} {(command.__doc__ or '').splitlines()[0]}" for name, command in COMMANDS.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
