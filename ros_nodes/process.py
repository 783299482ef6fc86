"""A node's process: start, spin, end on a signal after a last message to the arm.

rclpy's own signal handlers shut the context down before anything can be published, so they are left off.
"""

from __future__ import annotations

import _thread
import atexit
import ctypes
import gc
import os
import signal
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import rclpy
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

try:
    from rclpy.experimental import EventsExecutor
except ImportError:  # Humble
    EventsExecutor = SingleThreadedExecutor

REALTIME_PRIORITY = 20
"""Of SCHED_FIFO's 1 to 99: ahead of everything ordinary, behind the kernel's and a driver's own threads."""

CPU_LATENCY = Path("/dev/cpu_dma_latency")
"""The kernel's PM QoS interface (Documentation/power/pm_qos_interface.rst)."""

LARGEST_KEPT = 32 << 20
"""Memory blocks up to this size are kept when they are freed, for the next picture [bytes]; glibc takes no more."""


def start(args: list[str] | None = None) -> threading.Event:
    """Initialise rclpy; return the event that SIGINT and SIGTERM set."""
    keep_memory()
    # 5 ms, the default, is how long a thread that wants to run waits for one that computes: half a control period
    sys.setswitchinterval(0.0005)
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # In a thread of its own, because Event.set takes a lock: called here it waits for itself for ever when the
        # main thread holds that lock, or when a second signal comes during the first
        signal.signal(number, lambda *_: _thread.start_new_thread(ended.set, ()))
    return ended


def keep_memory() -> bool:
    """Let the C library keep freed memory instead of returning it to the kernel; return whether it does.

    An image passes through several buffers of its size. Mapping each anew took 0.8 ms of the 1.9 ms that a 640 × 480
    image needed from one process to another.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return False
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT) and mallopt(M_TRIM_THRESHOLD, 8 * LARGEST_KEPT))


def make_executor(*nodes: Node) -> Executor:
    """Build the events executor, which needs the least processor time and does not stall; `spin` on it."""
    executor = EventsExecutor(context=nodes[0].context)
    for node in nodes:
        executor.add_node(node)
    return executor


def spin(executor: Executor, ended: threading.Event) -> None:
    """Dispatch callbacks until `ended` is set or the context is shut down.

    `executor.spin()` never dispatches in the Jazzy and Kilted wheels, and a MultiThreadedExecutor stalls.
    """
    while not ended.is_set() and rclpy.ok(context=executor.context):
        executor.spin_once(timeout_sec=0.05)


@contextmanager
def spinning(node: Node) -> Iterator[None]:
    """Dispatch the callbacks of `node` in a thread of their own inside the `with` block."""
    ended = threading.Event()
    thread = threading.Thread(target=spin, args=(make_executor(node), ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def prioritise_thread(thread: int = 0, ahead: int = 0) -> bool:
    """Put one thread, by default this one, ahead of ordinary ones; return whether the system allows it.

    A thread that is to be `ahead` of the others so treated does not wait for one of them to give up its processor.
    """
    try:
        os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY + ahead))
    except (OSError, AttributeError):
        return False
    return True


def yield_thread() -> None:
    """Put this thread, and those that it starts, back among the ordinary ones."""
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def prioritise() -> str:
    """Put every present thread of this process ahead of ordinary ones; return a text that says whether it is.

    DDS's threads count too: a sample that waits for them is as late as one that waits for the loop.
    """
    gc.collect()
    gc.freeze()  # modules and models stay: no collection in motion needs to walk them
    atexit.register(gc.unfreeze)  # ruckig complains of leaks at exit about what is never collected
    if all(prioritise_thread(int(thread)) for thread in os.listdir("/proc/self/task")):
        return f"real-time priority {REALTIME_PRIORITY}"
    return "ordinary priority; for real-time, allow rtprio in /etc/security/limits.conf"


def stay_awake(latency: Path = CPU_LATENCY) -> Callable[[], None]:
    """Keep the processor's cores out of their sleep states; return a function that ends this.

    A sleeping core takes 0.05 to 0.1 ms to wake, and an image wakes three on its way to a command. Where the system
    does not allow it, nothing happens.
    """
    try:
        request = os.open(latency, os.O_WRONLY)
    except OSError:
        return lambda: None
    os.write(request, struct.pack("i", 0))  # microseconds that waking may take, for as long as the file is open
    return lambda: os.close(request)


def run_node(
    name: str, make: Callable[[], Node], refused: tuple[type[Exception], ...], args: list[str] | None = None
) -> int:
    """Run the node that `make` builds until SIGINT or SIGTERM; return the exit status.

    What `make` refuses, by an exception among `refused`, is said in one line that begins with `name`.
    """
    ended = start(args)
    try:
        try:
            node = make()
        except refused as error:
            return fail(name, str(error))
        spin(make_executor(node), ended)
    finally:
        rclpy.try_shutdown()
    return 0


def fail(node: str, reason: str) -> int:
    """Say in one line why a process ends; return its exit status."""
    print(f"{node}: {' '.join(reason.split())}", file=sys.stderr, flush=True)
    return 1
