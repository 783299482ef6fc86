"""The driver of servo chains against emulated servos: faults of the bus, stops, and the period of its node."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.node import Node

from policies.runtime.deadlines import Pacer
from robots.servos.bus import ServoBus
from robots.servos.calibration import read_calibration
from robots.servos.driver import STOP_TIME, ArmDriver
from robots.servos.serial_port import SerialPort
from ros_nodes import process, qos, topics
from ros_nodes.session.ros_environment import isolated
from tests.support.servo_arm import emulated_servos, swing, write_servo_arm
from tests.support.servo_emulator import PtyBus, ServoEmulator, Tamper

ROOT = Path(__file__).resolve().parents[2]
ORDINARY = ("chrt", "--other", "0")
"""The node starts with ordinary priority, whatever the emulator's is."""
DT = 0.02
"""Of a cycle, in the emulator's time [s]."""
RATE = 1 / 20
"""Of all replies, how many are troubled."""
BELIEVED = 4
"""A position that is further from the servo's own is wrong [counts]."""
ALONE = 3
"""Cycles without faults after each stop, in which nothing may be released."""


@dataclass
class FaultRun:
    """What one kind of fault led to."""

    packets: int = 0
    """Replies that were troubled."""
    cycles: int = 0
    counted: int = 0
    """Cycles whose positions counted."""
    believed_wrongly: int = 0
    """Positions that counted and were wrong."""
    stops: int = 0
    released_alone: int = 0
    """Stops that ended without a reset."""
    stop_s: float = 0.0
    """Longest time from the last position that counted to the stop [s]."""
    keys: dict[str, int] = field(default_factory=dict)
    """Stops by their keys."""


class Lab:
    """A driver and its servos, in a time that passes by cycles."""

    def __init__(self, folder: Path):
        self.now = 100.0
        self.servos = emulated_servos()
        self.emulator = ServoEmulator(self.servos, lambda: self.now)
        self.bus = PtyBus(self.emulator, folder)
        calibration = read_calibration(write_servo_arm(folder)[1])
        joints = [calibration.joint(name, (-2.0, 2.0), None, name != "gripper") for name in calibration.names]
        self.driver = ArmDriver(lambda: ServoBus(SerialPort(str(self.bus.path))), calibration, joints)

    def cycle(self):
        """Return what the driver would publish."""
        self.now += DT
        return self.driver.cycle(self.now)

    def reset(self) -> bool:
        """Release a stop as a person does, as often as it takes while the machine is busy."""
        self.now += STOP_TIME
        return any(self.driver.reset(self.now)[0] for _ in range(20))

    def wrong(self, reading) -> int:
        """Count the positions of a reading that are not the servos' own."""
        true = np.array([self.emulator.reported[servo.id] for servo in self.servos])
        return int((np.abs(reading.counts - true) > BELIEVED).sum())


@contextmanager
def lab() -> Iterator[Lab]:
    """Give a driver that has started, and its servos."""
    with tempfile.TemporaryDirectory() as folder:
        found = Lab(Path(folder))
        with found.bus:
            for _ in range(20):
                try:
                    found.driver.start(found.now)
                    break
                except RuntimeError:  # a busy machine
                    continue
            yield found
            found.driver.close()


def _damaged(rng: np.random.Generator, packet: bytes, valid: bool) -> bytes:
    content = bytearray(packet)
    for at in rng.choice(np.arange(2, len(packet) - 1), int(rng.integers(2, 6)), replace=False):
        content[at] = rng.integers(256)
    if valid:
        content[-1] = ~sum(content[2:-1]) & 0xFF
    return bytes(content)


def _late(rng: np.random.Generator, emulator: ServoEmulator, packet: bytes) -> list[bytes]:
    emulator.later(int(rng.integers(1, 7)), packet)
    return []


def _stale(rng: np.random.Generator, _emulator: ServoEmulator, packet: bytes, earlier: list[bytes]) -> list[bytes]:
    return [earlier[-int(rng.integers(1, len(earlier) + 1))]] if earlier else [packet]


KEPT = 6
"""Earlier replies of a servo that may come again: three cycles."""
FORGED = "damaged, checksum fits"
"""No fault of a line, which cannot know the checksum: what the second reading alone is worth. Counted apart."""
FAULTS: dict[str, Callable[[np.random.Generator, ServoEmulator, bytes, list[bytes]], list[bytes]]] = {
    "damaged": lambda rng, _, packet, __: [_damaged(rng, packet, False)],
    FORGED: lambda rng, _, packet, __: [_damaged(rng, packet, True)],
    "missing": lambda _, __, ___, ____: [],
    "cut short": lambda rng, _, packet, __: [packet[: int(rng.integers(len(packet)))]],
    "late": lambda rng, emulator, packet, _: _late(rng, emulator, packet),
    "of an earlier request": _stale,
    "twice": lambda _, __, packet, ___: [packet, packet],
}
"""What happens to a reply, by name."""


def run_fault(kind: str, packets: int, seed: int) -> FaultRun:
    """Trouble so many replies, at random, while the arm swings."""
    rng, run = np.random.default_rng(seed), FaultRun()
    with lab() as here:
        earlier: dict[int, list[bytes]] = {}

        def tamper(servo: int, packet: bytes) -> list[bytes]:
            before = earlier.setdefault(servo, [])
            out = [packet]
            if rng.random() < RATE and len(packet) > 20:
                run.packets += 1
                out = FAULTS[kind](rng, here.emulator, packet, before)
            earlier[servo] = [*before, packet][-KEPT:]
            return out

        for k, servo in enumerate(here.servos):
            servo.script = swing(servo.position, k)
        here.emulator.tamper = tamper
        good = here.now
        while run.packets < packets:
            reading = here.cycle()
            run.cycles += 1
            if reading is not None:
                run.counted += 1
                run.believed_wrongly += here.wrong(reading)
                good = here.now
            elif here.driver.report.state == "stopped":
                _stopped(here, run, good, tamper)
                good = here.now
    return run


def _stopped(here: Lab, run: FaultRun, good: float, tamper: Tamper) -> None:
    """Note a stop, see that it stays, and release it."""
    run.stops += 1
    run.stop_s = max(run.stop_s, here.now - good)
    key = here.driver.report.key
    run.keys[key] = run.keys.get(key, 0) + 1
    here.emulator.tamper = None
    run.released_alone += sum(here.cycle() is not None for _ in range(ALONE))
    if not here.reset():
        raise RuntimeError(f"the stop '{key}' could not be released: {here.driver.report.reason}")
    here.emulator.tamper = tamper


@dataclass(frozen=True)
class Event:
    """Something that happens to the arm at once."""

    happens: Callable[[Lab], object]
    mended: Callable[[Lab], object]


def _set(name: str, value: object) -> Callable[[Lab], object]:
    return lambda here: setattr(here.servos[2], name, value)


EVENTS: dict[str, Event] = {
    "cable unplugged": Event(lambda here: here.bus.unplug(), lambda here: here.bus.plug()),
    "servo unplugged": Event(_set("silent", True), _set("silent", False)),
    "brown-out, 9 V of 12": Event(_set("volts", 9.0), _set("volts", 12.0)),
    "brown-out, servo starts again": Event(lambda here: here.servos[2].restart(), lambda here: None),
    "overheating": Event(_set("celsius", 66), _set("celsius", 40)),
    "overload": Event(_set("error", 32), _set("error", 0)),
}


def run_event(name: str) -> tuple[str, float, bool, bool]:
    """Trouble an arm that holds; return the stop's key, its time [s], whether it stayed and a reset ended it."""
    event = EVENTS[name]
    with lab() as here:
        here.driver.switch(True, here.now)
        for _ in range(5):
            here.cycle()
        event.happens(here)
        began = here.now
        while here.driver.report.state == "on" and here.now < began + 2.0:
            here.cycle()
        key, took = here.driver.report.key, here.now - began
        event.mended(here)
        stayed = all(here.cycle() is None for _ in range(ALONE + round(STOP_TIME / DT)))
        return key, took, stayed, here.reset() and here.cycle() is not None


@dataclass(frozen=True)
class Periods:
    """How far the times between goals are from 20 ms, 99 % of them [ms]."""

    sent: float
    """As the node sends them."""
    arrived: float
    """At the other end of the pseudo-terminal, which the kernel serves with ordinary priority."""
    terminal: float
    """The same of a loop that does nothing but write to one."""


def measure_periods(seconds: float, domain: int, folder: Path) -> Periods:
    """Run the node for `seconds`, alone in a ROS domain."""
    environment = isolated(domain, folder)
    os.environ.update({key: value for key, value in environment.items() if key.startswith(("ROS_", "FASTDDS_"))})
    context, said = Context(), []
    rclpy.init(context=context, domain_id=domain)
    observer = Node("observer", context=context)
    observer.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, said.append, qos.EVENT)
    process.prioritise()  # servos need no processor of this machine
    try:
        with process.spinning(observer):
            arrived = _node_times(seconds, {**environment, "PYTHONPATH": str(ROOT)})
    finally:
        rclpy.shutdown(context=context)
    values = {value.key: value.value for value in said[-1].status[0].values}
    return Periods(float(values["period_error_p99_ms"]), _error(arrived), _error(_terminal_times(seconds)))


def _error(times: list[float]) -> float:
    return float(np.percentile(1e3 * np.abs(np.diff(times) - DT), 99))


def _terminal_times(seconds: float) -> list[float]:
    """Write a byte every 20 ms; return when it comes out of a pseudo-terminal [s]."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    found: list[float] = []

    def listen() -> None:
        while os.read(master, 16) != b"e":
            found.append(time.monotonic())

    thread = threading.Thread(target=listen)
    thread.start()
    pacer = Pacer(DT)
    for _ in range(round(seconds / DT)):
        pacer.wait()
        os.write(slave, b"x")
    time.sleep(0.1)
    os.write(slave, b"e")
    thread.join()
    os.close(master)
    os.close(slave)
    return found


def _node_times(seconds: float, environment: dict[str, str]) -> list[float]:
    """Return when the node's goals reach the servos [s]."""
    with tempfile.TemporaryDirectory() as folder:
        arm, calibration = write_servo_arm(Path(folder))
        emulator = ServoEmulator(emulated_servos())
        with PtyBus(emulator, Path(folder)) as bus:
            parameters = {"robot": arm, "port": bus.path, "calibration": calibration, "torque": "true"}
            words = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
            command = [*ORDINARY, sys.executable, "-m", "ros_nodes.arm.feetech", "--ros-args", *words]
            node = subprocess.Popen(command, cwd=ROOT, env=environment)
            try:
                _await(lambda: len(emulator.written) > 100, node)
                first = len(emulator.written)
                time.sleep(seconds)
                return emulator.written[first:]
            finally:
                node.send_signal(signal.SIGINT)
                node.wait(10.0)


def _await(condition: Callable[[], bool], node: subprocess.Popen) -> None:
    until = time.monotonic() + 60.0
    while not condition():
        if node.poll() is not None or time.monotonic() > until:
            raise RuntimeError("the driver's node does not run")
        time.sleep(0.05)
