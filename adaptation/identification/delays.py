"""Turn measured delays into timing parameters for training: ages of messages in a recording, by sensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from adaptation.bag_reader import STATE_TYPE, open_bag
from adaptation.identification.joint_log import LogError
from sim.randomization.parameters import Param, ParameterSpace, U

LATENCY_TOPIC = "/policy/latency"
"""std_msgs/Float64MultiArray [s]: age of the joint state, age of the oldest frame, compute time, period error; in any
namespace."""
STAMPED = {
    STATE_TYPE: "joints",
    "sensor_msgs/msg/Image": "camera",
    "sensor_msgs/msg/CompressedImage": "camera",
}
"""Stamped message types, by sensor."""
EDGES = np.concatenate([np.arange(0, 0.1, 0.002), np.arange(0.1, 1.0001, 0.02)])
"""Bins of the histograms [s]: 2 ms up to 0.1 s, 20 ms beyond."""
CLOCK = 1.0
"""An age beyond this [s], or below zero, comes from another clock."""


@dataclass(frozen=True)
class Delay:
    """Distribution of the age of one source's messages."""

    source: str
    """`joints`, `camera` or `compute`, with the topic."""
    count: int
    """Messages."""
    p05: float
    """5 % are younger [s]."""
    p50: float
    """Median [s]."""
    p95: float
    """5 % are older [s]."""
    period: float
    """Median time between messages [s]."""
    lost: float
    """Share of messages that are missing, from gaps of whole periods."""
    histogram: tuple[int, ...]
    """Counts in the bins of `EDGES`; the last one includes all older messages."""

    @classmethod
    def of(cls, source: str, ages: np.ndarray, times: np.ndarray) -> Delay:
        """Summarise `ages` [s] of messages that arrived at `times` [s].

        Raises:
            LogError: for too few messages, or ages from another clock.
        """
        if len(ages) < 20:
            raise LogError(f"{source}: {len(ages)} messages, expected at least 20; record longer")
        if np.median(ages) < -1e-3 or np.median(ages) > CLOCK:
            raise LogError(
                f"{source}: the median age is {np.median(ages):.3f} s; expected between 0 and {CLOCK:g} s: sensor and "
                "recorder have different clocks: synchronise them (chrony, PTP) and record again"
            )
        steps = np.diff(np.sort(times))
        period = float(np.median(steps))
        missing = float(np.sum(np.maximum(np.round(steps / max(period, 1e-6)) - 1, 0)))
        counts = np.histogram(np.clip(ages, 0, EDGES[-1]), EDGES)[0]
        p05, p50, p95 = np.quantile(np.maximum(ages, 0.0), [0.05, 0.5, 0.95])
        return cls(
            source,
            len(ages),
            float(p05),
            float(p50),
            float(p95),
            period,
            missing / (missing + len(ages)),
            tuple(counts.tolist()),
        )

    def bars(self, width: int = 40) -> list[str]:
        """Return the histogram as lines of text."""
        top = max(self.histogram)
        return [
            f"  {1e3 * low:6.0f} to {1e3 * high:4.0f} ms {'█' * max(1, round(width * n / top))} {n}"
            for low, high, n in zip(EDGES[:-1], EDGES[1:], self.histogram)
            if n
        ]


def read_delays(path: Path) -> tuple[Delay, ...]:
    """Read every source's delays from a recording.

    Raises:
        LogError: if the recording is unreadable or has no stamped messages.
    """
    if not path.exists():
        raise LogError(f"bag '{path}' does not exist")
    ages: dict[str, list[tuple[float, float]]] = {}
    with open_bag(path, LogError) as reader:
        chosen = [c for c in reader.connections if c.msgtype in STAMPED or c.topic.endswith(LATENCY_TOPIC)]
        for connection, nanoseconds, raw in reader.messages(chosen):
            message: Any = reader.deserialize(raw, connection.msgtype)  # classes made from the bag
            at = nanoseconds * 1e-9
            if connection.topic.endswith(LATENCY_TOPIC):
                for source, age in zip(("joints", "camera", "compute"), message.data):
                    if np.isfinite(age):
                        ages.setdefault(f"{source} at the policy", []).append((at, float(age)))
                continue
            stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
            if stamp > 0:
                ages.setdefault(f"{STAMPED[connection.msgtype]} on {connection.topic}", []).append((at, at - stamp))
    if not ages:
        raise LogError(
            f"bag '{path}': no stamped joint states or pictures, and no {LATENCY_TOPIC}; record these topics while the "
            "policy node runs"
        )
    return tuple(
        Delay.of(source, np.array([a for _, a in rows]), np.array([t for t, _ in rows]))
        for source, rows in ages.items()
    )


def timing(delays: Sequence[Delay], catalogue: Mapping[str, Param]) -> tuple[Param, ...]:
    """Return the measured timing parameters, based on those in `catalogue` (by name).

    Of a source with two measurements, the age at the policy is used, which includes transport. The delay is uniform
    over the middle 90 %, jitter is the spread within a recording, loss the share of missing messages.
    """
    found = []
    for sensor, prefix in (("joints", "joint"), ("camera", "camera")):
        own = sorted((d for d in delays if d.source.startswith(sensor)), key=lambda d: not d.source.endswith("policy"))
        if not own:
            continue
        delay, spread = own[0], 0.5 * (own[0].p95 - own[0].p05)
        values = {
            f"{prefix}_delay": (delay.p05, delay.p95, delay.p50),
            f"{prefix}_jitter": (0.0, spread, spread / 2),
            f"{prefix}_drop": (0.0, min(2 * delay.lost, 0.9), delay.lost),
        }
        for name, (low, high, nominal) in values.items():
            param = catalogue[name]
            top = min(high, param.at_most)
            found.append(replace(param, operator="=", nominal=min(nominal, top), distribution=U(min(low, top), top)))
    return tuple(found)


def timing_space(delays: Sequence[Delay], base: ParameterSpace) -> ParameterSpace:
    """Return `base` with the measured timing parameters."""
    names = {param.name: param for param in base.params}
    return replace(base.with_params(*timing(delays, names)), name=f"{base.name}+delays")
