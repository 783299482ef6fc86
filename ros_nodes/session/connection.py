"""Where a session finds its arm and camera, and what it starts its policy nodes with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import rclpy
from rclpy.context import Context
from rclpy.node import Node

from policies.bundle import PolicyBundle
from robots.specs import SpecError
from ros_nodes import topics
from ros_nodes.arm.joint_names import JointNames
from ros_nodes.arm.policy_parameters import PARAMETERS, chosen_topics
from ros_nodes.parameters import Parameters

OWN = ("bundle", "autostart", "shadow", "dry_run")
"""Parameters of a policy node that the session itself decides."""


@dataclass(frozen=True)
class Connection:
    """The names of one arm's topics; by default those of an arm that is alone in its domain."""

    namespace: str = ""
    joint_states: str = topics.JOINT_STATES
    cameras: Mapping[str, topics.CameraTopics] = field(default_factory=dict)
    """Topics of the policies' cameras that are not the usual ones, by name."""
    ours: Callable[[Sequence[str]], list[str]] = list
    """Returns our joint names for the driver's."""
    parameters: str = ""
    """File with the policy nodes' parameters; empty for none."""

    @classmethod
    def read(cls, parameters: str, namespace: str, bundle: PolicyBundle) -> Connection:
        """Read what the policy nodes' parameter file says of the arm; an empty path says nothing.

        Raises:
            SpecError: for a parameter that a policy node would refuse, or that the session itself decides.
        """
        if not parameters:
            return cls(namespace)
        context = Context()
        rclpy.init(context=context, args=["--ros-args", "--params-file", parameters])
        try:
            node = Node("policy_node", context=context, enable_rosout=False, start_parameter_services=False)
            settings = Parameters(node, PARAMETERS)
            for name in OWN:
                if settings.text(name) not in ("", "False"):
                    raise SpecError(
                        f"parameter '{name}' of policy_node: '{settings.text(name)}'; a session decides that itself: "
                        "leave it out"
                    )
            return cls(
                namespace,
                settings.text("joint_states"),
                chosen_topics(settings, bundle),
                JointNames.of(settings, bundle.robot).ours,
                parameters,
            )
        finally:
            context.try_shutdown()

    @property
    def ros_arguments(self) -> tuple[str, ...]:
        """What puts a process into the arm's namespace."""
        return ("-r", f"__ns:={self.namespace}") if self.namespace.strip("/") else ()

    def policy_command(self, command: Sequence[str]) -> tuple[str, ...]:
        """Add the policy nodes' arguments to the `command` that starts one; its own win."""
        at = list(command).index("--ros-args") + 1
        file = ("--params-file", self.parameters) if self.parameters else ()
        return (*command[:at], *self.ros_arguments, *file, *command[at:])
