"""An arm behind a velocity controller, which goes on at the last velocity for ever."""

from __future__ import annotations

import threading
import time

import numpy as np
from std_msgs.msg import Float64MultiArray

from ros_nodes.arm.controllers import CONTROLLERS
from tests.support.ros_bench import STATE_HZ, FakeArm

KIND = "forward_velocity_controller"


class VelocityArm(FakeArm):
    """Integrates the last velocity command between two joint states."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.zeros_at: list[float] = []
        """When a command of zero velocity arrived [s]."""
        self.create_subscription(Float64MultiArray, CONTROLLERS[KIND].topic, self._on_velocity, 10)

    @property
    def speed(self) -> float:
        """Of the fastest joint [rad/s]."""
        return float(np.abs(self._dq).max())

    def _on_velocity(self, message: Float64MultiArray) -> None:
        self._dq = np.array(message.data)
        if not self._dq.any():
            self.zeros_at.append(time.monotonic())

    def _publish_joints(self) -> None:
        self.q = self.q + self._dq / STATE_HZ
        super()._publish_joints()


def end_as_launch_does(children: dict) -> threading.Thread:
    """Interrupt all processes as soon as one has ended, then terminate, then kill, 5 s apart: `launch`'s way."""

    def watch() -> None:
        while all(child.poll() is None for child in children.values()):
            time.sleep(0.005)
        for end in ("send_signal", "terminate", "kill"):
            for child in children.values():
                if child.poll() is None:
                    child.send_signal(2) if end == "send_signal" else getattr(child, end)()
            until = time.monotonic() + 5.0
            while time.monotonic() < until and any(child.poll() is None for child in children.values()):
                time.sleep(0.01)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread
