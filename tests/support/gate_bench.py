"""A safety gate without ROS, the arm that follows it, and the policy that commands it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from policies.runtime.gate import SafetyGate
from policies.runtime.limits import default_limits
from robots.dynamics import GravitySag
from robots.model import RobotModel
from robots.observation import RobotState
from robots.registry import load_robot

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
DT = 0.01


class GateBench:
    """A gate, an arm that follows it, and a policy that lives while it is told to."""

    def __init__(self, listening: bool = True, e_stop_timeout: float = 0.0, robot: RobotModel = PANDA, **limited):
        limits = replace(default_limits(robot, 20.0), **limited)
        self.gate = SafetyGate(robot, limits, DT, heartbeat_timeout=0.1, e_stop_timeout=e_stop_timeout)
        self.sag = GravitySag(robot)
        self.gate.on_controller(listening)
        self.now = 10.0
        self.q = HOME.copy()
        self.alive = self.measuring = True
        self.target: np.ndarray | None = None
        self.sent: list[np.ndarray] = []

    @property
    def state(self) -> str:
        return self.gate.report.state

    @property
    def reason(self) -> str:
        return self.gate.report.reason

    def run(self, duration: float) -> None:
        for _ in range(round(duration / DT)):
            self.now += DT
            tick = round(self.now / DT)
            if self.measuring:
                self.gate.on_state(RobotState(self.now, self.q.copy(), np.zeros(7)))
            if self.alive:
                self.gate.on_heartbeat(self.now)
                if self.target is not None and tick % 5 == 0:
                    self.gate.on_command(self.target, self.now)
            setpoint = self.gate.tick(self.now)
            if setpoint is not None:
                self.sent.append(setpoint.q)
                self.q = setpoint.q - self.sag.at(self.q)

    def reset(self) -> tuple[bool, str]:
        return self.gate.request_reset(self.now)
