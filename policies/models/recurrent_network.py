"""A recurrent state policy: named columns, an LSTM, and a multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from policies.models.state_network import StateNetwork, perceptron

RECURRENT_NETWORK = "recurrent_network"


class RecurrentNetwork(nn.Module):
    """Observation (B, …) and memory (B, m), (B, m) to the action (B, a) in [-1, 1] and the next memory."""

    def __init__(
        self,
        arrays: Sequence[tuple[str, tuple[int, ...]]],
        actions: Sequence[str],
        memory_width: int,
        hidden: Sequence[int],
    ):
        """Build the network.

        Args:
            arrays: name and shape of each array of the observation.
            actions: names of the action's elements.
            memory_width: width m of the LSTM.
            hidden: widths of the layers behind it.
        """
        super().__init__()
        self.columns = StateNetwork(arrays, actions, ())  # its features and its normaliser; its one layer is not used
        self.columns.body = nn.Identity()  # type: ignore[assignment]
        self.filter = memory_width
        self.hidden = tuple(hidden)
        width = sum(feature.width for feature in self.columns.features)
        self.lstm = nn.LSTMCell(width, memory_width)
        self.body = perceptron(memory_width, *self.hidden, len(actions))

    @property
    def arrays(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Name and shape of each array of the observation."""
        return self.columns.arrays

    @property
    def layers(self) -> list[nn.Linear]:
        """The linear layers behind the LSTM, first to last."""
        return [layer for layer in self.body if isinstance(layer, nn.Linear)]

    @property
    def memory(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the state between two actions."""
        return {"hidden": (self.filter,), "cell": (self.filter,)}

    def forward(self, *arguments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map the observation's arrays in order, then `hidden` and `cell`, to action, `next_hidden`, `next_cell`."""
        *arrays, hidden, cell = arguments
        row = self.columns.normalise(self.columns.row(*arrays))
        hidden, cell = self.lstm(row, (hidden, cell))
        return self.body(hidden).clamp(-1.0, 1.0), hidden, cell

    def architecture(self) -> dict:
        """Describe the network so that it can be built again."""
        return {
            "kind": RECURRENT_NETWORK,
            "arrays": [[name, list(shape)] for name, shape in self.arrays],
            "actions": list(self.columns.actions),
            "memory_width": self.filter,
            "hidden": list(self.hidden),
        }
