"""The command line: one front door; a sub-command imports what it needs only when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from sim2real.adapting import adapt
from sim2real.bundles import bundle
from sim2real.calibrating import calibrate
from sim2real.demonstrating import demo
from sim2real.evaluating import evaluate
from sim2real.gapping import gap
from sim2real.identifying import delays, excite, identify
from sim2real.nodes import collect_views, dry_run, play_camera, policy_node, record, safety_gate, virtual_arm
from sim2real.sessions import plan, report, session
from sim2real.sweeping import sweep
from sim2real.training import train
from sim2real.transferring import compare_transfer, transfer

Command = Callable[[list[str]], int]

COMMANDS: dict[str, Command] = {
    "demo": demo,
    "train": train,
    "sweep": sweep,
    "transfer": transfer,
    "compare-transfer": compare_transfer,
    "adapt": adapt,
    "calibrate": calibrate,
    "gap": gap,
    "identify": identify,
    "delays": delays,
    "excite": excite,
    "evaluate": evaluate,
    "plan": plan,
    "session": session,
    "report": report,
    "bundle": bundle,
    "virtual-arm": virtual_arm,
    "policy-node": policy_node,
    "safety-gate": safety_gate,
    "dry-run": dry_run,
    "record": record,
    "play-camera": play_camera,
    "collect-views": collect_views,
}
"""Sub-commands by name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command; bad input ends in one line on standard error and a status other than 0."""
    # Small matrices everywhere: a second BLAS thread only fights for the core that a worker process has
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
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


def _overview() -> str:
    lines = [
        "usage: sim2real COMMAND [--help]",
        "",
        "Train arm policies in randomised simulation, adapt them, drive the arm.",
        "",
    ]
    lines += [f"  {name:16} {(command.__doc__ or '').splitlines()[0]}" for name, command in COMMANDS.items()]
    return "\n".join(lines)
