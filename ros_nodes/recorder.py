"""Records a session into MCAP that `ros2 bag` and Foxglove open: topics as they came over the wire, parameters of the
nodes, the bundle's hash. Killed, it loses the last tenth of a second only: `sim2real record --repair`.

    sim2real record --out runs/tuesday/trial_1
    python -m ros_nodes.recorder --ros-args -p out:=runs/tuesday/trial_1 -p stop_arm:=true
"""

from __future__ import annotations

import importlib
import json
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

import rclpy
from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.client import Client
from rclpy.exceptions import NameValidationException
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.serialization import deserialize_message
from std_msgs.msg import String
from std_srvs.srv import Trigger

from robots.specs import SpecError
from ros_nodes import process, qos, topics
from ros_nodes.messages import read_report
from ros_nodes.parameters import Parameter, Parameters
from ros_nodes.recording.bag import Bag, repair_bag
from ros_nodes.recording.repair import RecordingError

FLUSH_PERIOD = 0.1
"""Between two writes [s]; a kill loses that much, and what is being written."""
LOOK_PERIOD = 0.2
"""Between two searches for new topics and nodes [s]."""
EXCLUDED = ("/parameter_events", "/rosout_agg")
PARAMETERS_TIMEOUT = 5.0
"""A node without parameter services by then is recorded without parameters [s]."""

PARAMETERS = (
    Parameter("out", "", "folder of the new recording"),
    Parameter("topics", "all", "what to record, comma-separated; all: every topic that is published"),
    Parameter("exclude", "", "what to leave out, comma-separated"),
    Parameter("stop_arm", False, "ask the safety gate to stop the arm when the recording fails"),
)


class Recorder(Node):
    """Writes raw subscriptions into one bag."""

    def __init__(self) -> None:
        """Read the parameters and begin the recording.

        Raises:
            SpecError, RecordingError: in one line.
        """
        super().__init__("recorder")
        parameters = Parameters(self, PARAMETERS)
        out = parameters.text("out")
        if not out:
            raise SpecError("parameter 'out' is empty; give the folder of the new recording: -p out:=<folder>")
        wanted = _names(parameters.text("topics"))
        self._wanted = None if wanted == {"all"} else set(map(self.resolve_topic_name, wanted))
        excluded = (*_names(parameters.text("exclude")), *EXCLUDED, topics.RECORDER_STATE)
        self._excluded = set(map(self.resolve_topic_name, excluded))
        self._policy_state = self.resolve_topic_name(topics.POLICY_STATE)
        self._stop_arm = parameters.flag("stop_arm")
        self._bag = Bag(Path(out))
        self._lock = threading.Lock()  # guards the bag
        self._topics: dict[str, str] = {}
        self._unusable: Counter[str] = Counter()
        self._asked: dict[str, float] = {}
        self.failure = ""
        """Why nothing is recorded any more; empty while all is well."""
        self._bundle = ""
        self._state = self.create_publisher(String, topics.RECORDER_STATE, qos.LATCHED)
        self._stop: Client = self.create_client(Trigger, topics.GATE_STOP)
        self.create_timer(LOOK_PERIOD, self._look)
        self.create_timer(1.0, lambda: self._announce())  # a timer would hand its info over as the state
        self._ended = threading.Event()
        self._writer = threading.Thread(target=self._write_on, daemon=True)
        self._writer.start()
        self._look()
        self._announce()

    def close(self) -> None:
        """Finish the recording."""
        self._ended.set()
        self._writer.join()
        with self._lock:
            try:
                self._bag.close()
            except RecordingError as error:
                self.failure = self.failure or str(error)
        self._announce("failed" if self.failure else "closed")
        self._state.wait_for_all_acked(rclpy.duration.Duration(seconds=0.2))

    # Topics

    def _look(self) -> None:
        """Subscribe to topics that are new, and ask new nodes for their parameters."""
        for topic, kinds in self.get_topic_names_and_types():
            known = topic in self._topics or topic in self._excluded
            if not known and (self._wanted is None or topic in self._wanted):
                self._subscribe(topic, kinds[0])
        for name, namespace in self.get_node_names_and_namespaces():
            full = f"{namespace.rstrip('/')}/{name}"
            if full not in self._asked and full != self.get_fully_qualified_name():
                self._ask_parameters(full)

    def _subscribe(self, topic: str, kind: str) -> None:
        infos = self.get_publishers_info_by_topic(topic)
        if not infos:
            return  # subscribed to, but not published yet
        try:
            package, _, name = kind.split("/")
            message = getattr(importlib.import_module(f"{package}.msg"), name)
        except (ImportError, AttributeError, ValueError):
            self._topics[topic] = kind
            self._unusable[topic] += 1
            self.get_logger().warning(f"{topic}: type {kind} is not installed here; not recorded")
            return
        reliable = all(info.qos_profile.reliability == QoSReliabilityPolicy.RELIABLE for info in infos)
        latched = all(info.qos_profile.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL for info in infos)
        profile = QoSProfile(
            depth=100 if kind != "sensor_msgs/msg/Image" else 10,
            reliability=QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT,
            durability=QoSDurabilityPolicy.TRANSIENT_LOCAL if latched else QoSDurabilityPolicy.VOLATILE,
        )
        with self._lock:
            channel = self._bag.add_topic(topic, kind)
        self._topics[topic] = kind
        take = partial(self._take, channel, topic == self._policy_state)
        self.create_subscription(message, topic, take, profile, raw=True)

    def _take(self, channel: int, names_the_bundle: bool, data: bytes) -> None:
        now = time.time_ns()
        try:
            with self._lock:
                if not self.failure:
                    self._bag.write(channel, now, data)
        except RecordingError as error:
            self._fail(str(error))
            return
        if names_the_bundle:
            self._note_bundle(data)

    def _note_bundle(self, data: bytes) -> None:
        try:
            report = read_report(deserialize_message(data, String).data, "bundle", "hash")
        except SpecError as error:
            self.get_logger().warning(f"policy's state: recorded, not read: {error}", throttle_duration_sec=1.0)
            return
        if report["hash"] and report["hash"] != self._bundle:
            self._bundle = report["hash"]
            self._add_metadata("bundle", {"name": report["bundle"], "sha256": report["hash"]})

    # Parameters of other nodes

    def _ask_parameters(self, node: str) -> None:
        list_client: Client = self.create_client(ListParameters, f"{node}/list_parameters")
        if not list_client.service_is_ready():
            self.destroy_client(list_client)
            began = self._asked.setdefault(node + "?", time.monotonic())
            if time.monotonic() - began > PARAMETERS_TIMEOUT:
                self._asked[node] = time.monotonic()  # a node without parameter services
            return
        self._asked[node] = time.monotonic()
        future = list_client.call_async(ListParameters.Request())
        future.add_done_callback(lambda done: self._on_names(node, list_client, done))

    def _on_names(self, node: str, list_client: Client, done) -> None:
        self.destroy_client(list_client)
        names = [n for n in done.result().result.names if not n.startswith("qos_overrides")]
        get_client: Client = self.create_client(GetParameters, f"{node}/get_parameters")

        def on_values(values_done) -> None:
            self.destroy_client(get_client)
            values = values_done.result().values
            plain = {f"{node}.{n}": json.dumps(_plain(v)) for n, v in zip(names, values)}
            self._add_metadata("parameters", plain)

        get_client.call_async(GetParameters.Request(names=names)).add_done_callback(on_values)

    def _add_metadata(self, name: str, values: dict[str, str]) -> None:
        try:
            with self._lock:
                if not self.failure:
                    self._bag.add_metadata(name, values)
        except RecordingError as error:
            self._fail(str(error))

    # Writing

    def _write_on(self) -> None:
        while not self._ended.wait(FLUSH_PERIOD):
            try:
                with self._lock:
                    if not self.failure:
                        self._bag.flush()
            except RecordingError as error:
                self._fail(str(error))

    def _fail(self, reason: str) -> None:
        if self.failure:
            return
        self.failure = reason
        self.get_logger().error(reason)
        if self._stop_arm and self._stop.service_is_ready():
            self._stop.call_async(Trigger.Request())
        self._announce()
        with self._lock:
            try:
                self._bag.close()
            except RecordingError as error:
                self.get_logger().error(f"{error}; repair it with sim2real record --repair {self._bag.folder}")

    def _announce(self, state: str = "") -> None:
        report = {
            "state": state or ("failed" if self.failure else "recording"),
            "reason": self.failure,
            "path": str(self._bag.folder),
            "topics": len(self._topics) - len(self._unusable),
            "messages": self._bag.messages,
            "bytes": self._bag.size,
        }
        self._state.publish(String(data=json.dumps(report)))


def _names(text: str) -> set[str]:
    return {name.strip() for name in text.split(",") if name.strip()}


def _plain(value) -> object:
    fields = {
        1: "bool_value",
        2: "integer_value",
        3: "double_value",
        4: "string_value",
        5: "byte_array_value",
        6: "bool_array_value",
        7: "integer_array_value",
        8: "double_array_value",
        9: "string_array_value",
    }
    if value.type not in fields:
        return None
    plain = getattr(value, fields[value.type])
    return [v if not isinstance(v, bytes) else v.hex() for v in plain] if value.type >= 5 else plain


def report_repair(folder: Path) -> int:
    """Repair a recording, beside it, and print what is left; return the exit status."""
    try:
        repaired = repair_bag(folder)
    except (RecordingError, OSError) as error:
        return process.fail("recorder", str(error))
    found = repaired.summary.statistics
    assert found is not None
    seconds = 1e-9 * (found.message_end_time - found.message_start_time)
    print(f"{repaired.folder}: {found.message_count} messages on {found.channel_count} topics, {seconds:.1f} s")
    if repaired.folder == folder:
        print("it is whole; nothing was written")
    else:
        print(f"{repaired.skipped} damaged bytes left out; {folder} is as it was")
    return 0


def main(args: list[str] | None = None) -> int:
    """Record until SIGINT or SIGTERM; return 1 if the recording failed."""
    ended = process.start(args)
    try:
        node = Recorder()
    except (SpecError, RecordingError, NameValidationException) as error:
        rclpy.try_shutdown()
        return process.fail("recorder", str(error))
    try:
        process.spin(process.make_executor(node), ended)
    finally:  # whatever ends it, what was recorded is whole
        node.close()
        failure = node.failure
        rclpy.try_shutdown()
    return process.fail("recorder", failure) if failure else 0


if __name__ == "__main__":
    raise SystemExit(main())
