"""Asks ros2_control's controller manager, where there is one, whether the arm's controller is active, and its rate.

A controller keeps its subscription when it is deactivated: that somebody listens says nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol

from rcl_interfaces.srv import GetParameters
from rclpy.client import Client
from rclpy.node import Node

from ros_nodes.arm.controllers import Output

PERIOD = 0.2
"""Between two questions [s]."""
PATIENCE = 1.0
"""An answer is good for this long, and no longer waited for [s]."""
PACKAGE = "controller_manager_msgs"


class ControllerEntry(Protocol):
    """What is used of a controller_manager_msgs/ControllerState."""

    name: str
    state: str


class ControllerWatch:
    """What is known of the controller behind one output; `trouble` says why it must not be relied on."""

    def __init__(self, node: Node, output: Output, manager: str, controller_hz: float):
        """Ask from now on, in timers of `node`.

        Args:
            node: the gate's.
            output: what commands the controller.
            manager: the controller manager's name; empty: `controller_manager` in the controller's namespace.
            controller_hz: how often the controller computes, as the gate assumes.
        """
        self.trouble = ""
        """Why the arm must not be moved, in a sentence; empty while nothing is known against it."""
        self.activity = "unknown"
        """The controller's state as the manager says, or `unknown` and why."""
        space, _, self._name = output.topic.rpartition("/")[0].rpartition("/")
        self._manager = manager or f"{space}/controller_manager"
        self._hz, self._scheduled = controller_hz, output.schedule is not None
        self._inactive, self._wrong_rate = "", ""
        self._asked = self._answered = -PATIENCE
        self._list: Client | None = None
        if not output.kind.managed:
            self.activity = "unknown: not one of ros2_control's"
            return
        self._rate: Client = node.create_client(GetParameters, f"{self._manager}/get_parameters")
        try:
            from controller_manager_msgs.srv import ListControllers

            self._list = node.create_client(ListControllers, f"{self._manager}/list_controllers")
        except ImportError:
            self.activity = f"unknown: {PACKAGE} is not installed"
            node.get_logger().warning(
                f"whether '{self._name}' is active is not known: the package {PACKAGE} is not installed here; "
                "apt install ros-$ROS_DISTRO-controller-manager-msgs"
            )
        self._rate_known = False
        node.create_timer(PERIOD, self._ask)

    def on_controllers(self, controllers: Iterable[ControllerEntry]) -> None:
        """Take the manager's list of controllers."""
        self._answered = time.monotonic()
        states = {entry.name: entry.state for entry in controllers}
        self.activity = states.get(self._name, "not loaded")
        hint = f"ros2 control switch_controllers --activate {self._name}"
        active = self.activity == "active"
        self._inactive = "" if active else f"controller '{self._name}' is {self.activity}; {hint}"
        self._conclude()

    def on_update_rate(self, hz: float) -> None:
        """Take the manager's update rate [Hz]: slower than assumed, trajectories come too late; faster, too few do."""
        self._rate_known = True
        wrong = hz < self._hz if self._scheduled else hz > self._hz
        self._wrong_rate = (
            f"'{self._manager}' computes at {hz:g} Hz, the gate assumes {self._hz:g}; set the gate's parameter "
            f"controller_rate: {hz:.1f}"
            if wrong
            else ""
        )
        self._conclude()

    def _conclude(self) -> None:
        self.trouble = self._inactive or self._wrong_rate

    def _ask(self) -> None:
        now = time.monotonic()
        if self._inactive and now - self._answered > PATIENCE:
            self.activity, self._inactive = "unknown: the controller manager does not answer", ""
            self._conclude()
        if not self._rate_known and self._rate.service_is_ready():
            future = self._rate.call_async(GetParameters.Request(names=["update_rate"]))
            future.add_done_callback(self._on_parameters)
        waiting = self._answered < self._asked and now - self._asked < PATIENCE
        if self._list is not None and not waiting and self._list.service_is_ready():
            self._asked = now
            future = self._list.call_async(self._list.srv_type.Request())
            future.add_done_callback(self._on_list)

    def _on_list(self, answer) -> None:
        self.on_controllers(answer.result().controller)

    def _on_parameters(self, answer) -> None:
        for value in answer.result().values:
            hz = value.integer_value or value.double_value
            if hz > 0:
                self.on_update_rate(float(hz))
