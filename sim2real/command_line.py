"""The command line: one tree of sub-commands; a sub-command imports what it needs only when it runs."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from robots.host.writing import FULL, WriteError
from sim2real import __version__
from sim2real.adapt import adapt, gap
from sim2real.calibrate import calibrate_lens, calibrate_mount, refine_pose
from sim2real.dataset import check_dataset, export_dataset, import_dataset
from sim2real.demo.options import DemoOptions
from sim2real.evaluate import check_bundle, evaluate
from sim2real.fetch import fetch
from sim2real.goal import fit_goal, goal
from sim2real.identify import delays, excite, identify, twin
from sim2real.nodes import (
    collect_views,
    dry_run,
    feetech_driver,
    foreign_policy,
    goal_node,
    play_camera,
    play_motion,
    policy_node,
    record,
    safety_gate,
    teleop,
    uvc_camera,
    virtual_arm,
)
from sim2real.options import Arguments, UsageError
from sim2real.rig import rig_check, rig_place
from sim2real.session import export_session, plan, register, report, run, status
from sim2real.train import sweep, train
from sim2real.transfer import compare_transfer, transfer

Command = Callable[[Arguments], int]


def demo(arguments: Arguments) -> int:
    """Train, adapt and evaluate end to end on the virtual arm, and write a report."""
    config = arguments.parse(DemoOptions, demo.__doc__)
    from sim2real.demo.story import run_demo

    return run_demo(config)


@dataclass(frozen=True)
class Group:
    """Sub-commands under one name."""

    about: str
    """One line."""
    commands: Mapping[str, Command]
    """By name."""


TREE: dict[str, dict[str, Command | Group]] = {
    "First": {
        "demo": demo,
    },
    "Learn": {
        "train": train,
        "sweep": sweep,
        "rig": Group("Look at a camera rig, or place a policy's cameras.", {"check": rig_check, "place": rig_place}),
        "transfer": transfer,
        "compare-transfer": compare_transfer,
        "dataset": Group(
            "Write, take over or check a LeRobot data set.",
            {"export": export_dataset, "import": import_dataset, "check": check_dataset},
        ),
        "fit-goal": fit_goal,
    },
    "Adapt": {
        "gap": gap,
        "adapt": adapt,
        "calibrate": Group(
            "Calibrate a camera's lens, mount or place; writes what simulation and launch files take.",
            {"intrinsics": calibrate_lens, "hand-eye": calibrate_mount, "refine": refine_pose},
        ),
        "twin": twin,
        "excite": excite,
        "identify": identify,
        "delays": delays,
    },
    "Measure": {
        "evaluate": evaluate,
        "plan": plan,
        "session": Group(
            "Carry out an evaluation session.",
            {"register": register, "run": run, "status": status, "export": export_session},
        ),
        "report": report,
    },
    "Robot": {
        "fetch": fetch,
        "bundle": Group("Verify a policy bundle.", {"check": check_bundle}),
        "virtual-arm": virtual_arm,
        "policy-node": policy_node,
        "safety-gate": safety_gate,
        "feetech-driver": feetech_driver,
        "teleop": teleop,
        "foreign-policy": foreign_policy,
        "uvc-camera": uvc_camera,
        "dry-run": dry_run,
        "record": record,
        "play-camera": play_camera,
        "play-motion": play_motion,
        "collect-views": collect_views,
        "goal": goal,
        "goal-node": goal_node,
    },
}
"""All sub-commands by name, under the headings of the overview."""
COMMANDS = {name: command for commands in TREE.values() for name, command in commands.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command; bad input ends in one line on standard error and a status other than 0."""
    # Small matrices everywhere: a second BLAS thread only fights for the core that a worker process has
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    prog, words = "sim2real", list(sys.argv[1:] if arguments is None else arguments)
    try:
        group: Mapping[str, Command | Group] = COMMANDS
        text = _overview()
        while True:
            if not words or words[0] in ("-h", "--help"):
                print(text)
                return 0
            if words[0] == "--version" and prog == "sim2real":
                print(__version__)
                return 0
            name, *words = words
            if name not in group:
                raise UsageError(_unknown(name, list(group)))
            found, prog = group[name], f"{prog} {name}"
            if not isinstance(found, Group):
                return found(Arguments(prog, words))
            group, text = found.commands, _group_text(prog, found)
    except UsageError as error:
        return _fail(prog, f"{error} (see {prog} --help)", 2)
    except SystemExit as end:  # --help has been shown
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt as interruption:
        print(file=sys.stderr)
        return _fail(prog, "; ".join(["interrupted", *map(str, interruption.args)]), 130)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        return 1
    except ImportError as error:
        ros = (error.name or "").startswith(("rclpy", "lifecycle", "sensor", "std_", "trajectory"))
        install = f"pip install 'sim2real-arms[{'ros' if ros else 'train'}]'"
        hint = f"{install}, or source your ROS 2 installation" if ros else install
        return _fail(prog, f"'{error.name}' is not installed; {hint}", 1)
    except MemoryError:
        return _fail(prog, "out of memory; is a file much larger than it should be, or another program at work?", 1)
    except OSError as error:
        return _fail(prog, _full(error) or str(error), 1)
    except (ValueError, RuntimeError) as error:
        return _fail(prog, str(error), 1)


def _fail(prog: str, message: str, status: int) -> int:
    print(f"{prog}: {' '.join(message.split())}", file=sys.stderr)
    return status


def _full(error: OSError) -> str:
    """Return what to say where a disk is full, and the error has no words of its own; else nothing."""
    if isinstance(error, WriteError) or error.errno not in FULL:
        return ""
    temporary = os.environ.get("TMPDIR", "/tmp")  # tempfile.gettempdir writes a file to find out
    where = f"'{error.filename}'" if error.filename else f"a file, perhaps a temporary one in {temporary},"
    return f"{where} could not be written: the disk is full ({error.strerror}); free some space and try again"


def _unknown(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    meant = f"did you mean '{close[0]}'? " if close else ""
    return f"unknown command '{name}'; {meant}known are {', '.join(known)}"


def _overview() -> str:
    lines = [
        "usage: sim2real COMMAND [--help]",
        "",
        "Train arm policies in randomised simulation, adapt them to the real arm, drive it, measure what survives.",
    ]
    for heading, commands in TREE.items():
        lines += ["", f"{heading}:", *_summaries(commands)]
    return "\n".join(lines)


def _group_text(prog: str, group: Group) -> str:
    return "\n".join([f"usage: {prog} COMMAND [--help]", "", group.about, "", *_summaries(group.commands)])


def _summaries(commands: Mapping[str, Command | Group]) -> list[str]:
    lines = []
    for name, command in commands.items():
        about = command.about if isinstance(command, Group) else (command.__doc__ or "").splitlines()[0]
        lines.append(f"  {name:16} {about}")
    return lines
