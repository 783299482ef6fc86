"""A registered session over ROS 2, with its operator's page.

sim2real session run protocol.toml --robot ros
python -m ros_nodes.lab_session --ros-args -p protocol:=protocol.toml
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import rclpy
import segno
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from evaluation.operator_page.address import open_page
from evaluation.operator_page.operator_state import OperatorState
from evaluation.report.session_report import print_session, write_session_report
from evaluation.session.protocol import ProtocolError, Registration
from evaluation.session.protocol_file import open_registered
from evaluation.session.scheduler import TrialScheduler
from evaluation.session.trials import TrialError
from policies.bundle import BundleError, PolicyBundle
from robots.camera import CameraModel
from robots.specs import SpecError
from ros_nodes import process
from ros_nodes.parameters import Parameter, Parameters
from ros_nodes.session.child_processes import ChildDied
from ros_nodes.session.connection import Connection
from ros_nodes.session.operator_interface import OperatorInterface, PageInterface
from ros_nodes.session.session_node import SessionError, SessionNode
from ros_nodes.session.trial_runner import Mcap, RecordingOptions
from ros_nodes.session.virtual_session import Processes, Robot, SessionResult, run_session

PARAMETERS = (
    Parameter("protocol", "", "path of the registered protocol, a .toml file"),
    Parameter("out", "", "folder of the session; empty: <protocol>-ros beside the protocol"),
    Parameter("host", "127.0.0.1", "where the operator's page listens; 0.0.0.0 lets a tablet in the network in"),
    Parameter("camera_calibration", "", "file that 'sim2real calibrate' wrote; empty: the camera's own CameraInfo"),
    Parameter("port", 8642, "port of the operator's page; 0 takes a free one", 0, 65535),
    Parameter("policy_parameters", "", "file of the policy nodes' parameters: topics, ages, names"),
)


@dataclass(frozen=True)
class LabOptions:
    """Options of a session over ROS 2."""

    robot: Robot
    hidden: Path | None = None
    """Of the virtual arm."""
    page: bool = False
    """Whether an operator starts and judges the trials, at the page."""
    host: str = "127.0.0.1"
    port: int = 0
    videos: int = 2
    """Failures a policy whose video is kept."""
    mcap: Mcap = "signals"
    """What is recorded."""
    camera_calibration: Path | None = None
    """As `sim2real calibrate` wrote it, instead of the camera's own CameraInfo."""
    connection: Connection | None = None
    """Where a real arm is, if not at the usual topics."""


def run_lab_session(
    registration: Registration,
    bundles: Mapping[str, Path],
    out: Path,
    options: LabOptions,
    processes: Processes | None = None,
) -> SessionResult:
    """Run the open trials; with a page, print its address and wait for the operator at every trial."""
    with ExitStack() as stack:
        make_interface = None
        if options.page:
            state = OperatorState()
            server = stack.enter_context(open_page(state, out, options.host, options.port))
            print(f"operator's page: {server.url}", flush=True)
            if options.host == "0.0.0.0":
                address = server.url_for(socket.gethostname())
                print(f"from a tablet in the same network: {address}")
                segno.make(address, error="m").terminal(compact=True)
                sys.stdout.flush()

            def make_interface(node: SessionNode, scheduler: TrialScheduler, camera: CameraModel) -> OperatorInterface:
                page = PageInterface(state, node, scheduler, options.robot)
                page.set_camera(camera)
                node.watch_camera(True)
                return page

        return run_session(
            registration,
            bundles,
            out,
            robot=options.robot,
            hidden=options.hidden,
            recording=RecordingOptions(failures=options.videos, mcap=options.mcap),
            processes=processes,
            make_interface=make_interface,
            camera_calibration=options.camera_calibration,
            connection=options.connection,
        )


def main(args: list[str] | None = None) -> int:
    """Run the session that the parameters name, on the arm that is there; return the exit status."""
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node = Node("lab_session")
    namespace = node.get_namespace()
    try:
        parameters = Parameters(node, PARAMETERS)
        protocol, out, host, calibration, policy = (
            parameters.text(name) for name in ("protocol", "out", "host", "camera_calibration", "policy_parameters")
        )
        port = int(parameters.number("port"))
        if not protocol:
            raise SpecError("parameter 'protocol' is empty; give the path of a registered protocol")
    except SpecError as error:
        return process.fail("lab_session", str(error))
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    path = Path(protocol)
    folder = Path(out) if out else path.with_name(f"{path.stem}-ros")
    try:
        file, registration = open_registered(path)
        connection = Connection.read(policy, namespace, PolicyBundle.load(next(iter(file.bundles.values()))))
        options = LabOptions(
            "ros",
            page=True,
            host=host,
            port=port,
            camera_calibration=Path(calibration) if calibration else None,
            connection=connection,
        )
        run_lab_session(registration, file.bundles, folder, options)
        print_session(folder)
        print(f"report: {write_session_report([folder], folder / 'report.html')}")
    except (ProtocolError, BundleError, TrialError, SpecError, SessionError, ChildDied, ValueError) as error:
        return process.fail("lab_session", str(error))
    except KeyboardInterrupt:
        print(f"broken off; the same command goes on: {folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
