"""Export a state network as a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from policies.bundle import PolicyBundle
from policies.bundle.export import Contract, export_bundle
from policies.bundle.input_watch import FEWEST
from policies.models.history_network import HistoryNetwork
from policies.models.recurrent_network import RecurrentNetwork
from policies.models.state_network import StateNetwork
from robots.specs import ObservationSpec
from sim.env import ArmEnv

PARITY_RECORDS = 1_000


@dataclass(frozen=True)
class RecordedInputs:
    """Recorded observations of a policy."""

    arrays: Mapping[str, np.ndarray]
    """Observations (N, …) by name; for a policy with a memory in temporal order, episode after episode."""
    begin: np.ndarray | None = None
    """(N,) bool: where an episode begins; only needed for a policy with a memory."""

    def some(self, count: int, with_memory: bool) -> RecordedInputs:
        """Return about `count` of them, evenly spread, or the first ones where the order matters."""
        total = len(next(iter(self.arrays.values())))
        rows = np.arange(min(count, total)) if with_memory else np.linspace(0, total - 1, min(count, total)).astype(int)
        begin = self.begin[rows] if with_memory and self.begin is not None else None
        return RecordedInputs({name: array[rows] for name, array in self.arrays.items()}, begin)

    def within(self, spec: ObservationSpec) -> RecordedInputs:
        """Return those within `spec`: a policy that is hardly trained drives joints past their limits."""
        kept = np.ones(len(next(iter(self.arrays.values()))), bool)
        for array in spec.arrays:
            values = self.arrays[array.name]
            inside = (values >= array.low) & (values <= array.high)
            kept &= inside.reshape(len(values), -1).all(1)
        return RecordedInputs({name: values[kept] for name, values in self.arrays.items()})


def export_state(
    name: str,
    network: StateNetwork | RecurrentNetwork | HistoryNetwork,
    env: ArmEnv,
    newest: RecordedInputs,
    provenance: dict,
    seen: Mapping[str, np.ndarray] | None = None,
) -> PolicyBundle:
    """Export `network`, trained in environments like `env`.

    Args:
        name: of the bundle.
        network: the policy.
        env: has the same observation, action and arm.
        newest: recorded observations, of which 1,000 become parity records.
        provenance: of the network.
        seen: all observations (N, …) by name, for the input ranges that the control loop checks; `newest` by default.
    """
    names = env.observation_spec.names
    memory = {} if isinstance(network, StateNetwork) else network.memory
    parity = newest.some(PARITY_RECORDS, bool(memory))
    if not memory:
        parity = parity.within(env.observation_spec)
    watched = newest.arrays if seen is None else seen
    return export_bundle(
        name,
        network,
        Contract(env.task.name, env.observation_spec, env.action_spec, env.robot, {}),
        parity.arrays,
        network.architecture(),
        provenance,
        {key: watched[key] for key in names} if len(watched[names[0]]) >= FEWEST else None,
        memory,
        parity.begin,
    )
