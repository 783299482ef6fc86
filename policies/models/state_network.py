"""The state policy: named arrays in, a normalised action out; the normaliser and the features are in the graph.

What the network sees is a row of *named* columns, and what it commands is a row of named actions. Names are
what transfer aligns: the column `goal - ee_pos` of reaching means the same to pushing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from policies.bundle import BundleError, PolicyBundle
from policies.bundle.weights import require_kind, with_weights
from robots.specs import ActionSpec, ObservationSpec

STATE_NETWORK = "state_network"
NEAR = 0.02
"""Distance at which a squashed difference bends [m]: it resolves millimetres, where the plain one is all zero."""
FINE = 0.003
"""The same where a tip must find a hole with a millimetre to spare [m]."""
SAME = 0.005
"""Distance below which object and goal have no direction between them any more [m]."""
SMALLEST_SPREAD = 1e-3
"""Least standard deviation that the normaliser divides by: what never varied in training must not blow up."""
MOST_SPREADS = 10.0
"""Where the normalised columns are cut off: further out is nothing that training saw."""

JUDGE_WIDTH = 64
"""Width of the hidden layer that predicts success."""

Arrays = dict[str, Tensor]


@dataclass(frozen=True)
class Feature:
    """Some columns of the network's input."""

    name: str
    """What transfer knows them by."""
    width: int
    """Number of columns."""
    compute: Callable[[Arrays], Tensor]
    """From the observation's arrays (B, …) to (B, width)."""


def features_of(arrays: Sequence[tuple[str, tuple[int, ...]]]) -> tuple[Feature, ...]:
    """List the columns for an observation of `arrays` (name, shape).

    Each array as it is; the way between any two of end effector, tip, object and goal, plain and squashed; the
    cube's turn against the fingers, which comes round every 90°; the way to each post. And what pushing is about: the
    heading from object to goal, and how far behind and beside the object the end effector is in that heading.
    """
    shapes = dict(arrays)
    found = [Feature(name, _size(shape), partial(_flat, name)) for name, shape in arrays]
    points = [name for name in ("goal", "object_pos", "tip", "ee_pos") if name in shapes]
    for to, of in itertools.combinations(points, 2):
        found.append(Feature(f"{to} - {of}", 3, partial(_difference, to, of)))
        found.append(Feature(f"near({to} - {of})", 3, partial(_squashed, to, of)))
    if {"goal", "tip"} <= set(shapes):
        found.append(Feature("fine(goal - tip)", 3, partial(_squashed, "goal", "tip", near=FINE)))
    if {"goal", "object_pos", "ee_pos"} <= set(shapes):
        found.append(Feature("heading", 2, _heading))
        found.append(Feature("ee_pos in heading", 4, _ee_in_heading))
    if "object_quat" in shapes:
        found.append(Feature("object_turn", 2, partial(_object_turn, "ee_yaw" in shapes)))
    if "posts" in shapes:
        found.append(Feature("posts - ee_pos", _size(shapes["posts"]), _posts))
    return tuple(found)


def perceptron(*widths: int) -> nn.Sequential:
    """Build linear layers of `widths`, input first, with rectifiers between them."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class StateNetwork(nn.Module):
    """A multi-layer perceptron over named columns."""

    centre: Tensor
    spread: Tensor

    def __init__(
        self,
        arrays: Sequence[tuple[str, tuple[int, ...]]],
        actions: Sequence[str],
        hidden: Sequence[int] = (256, 256),
        squash: str = "clamp",
        *,
        judges: bool = False,
    ):
        """Build the network, its normaliser neutral.

        Args:
            arrays: name and shape of each array of the observation, in the order of `forward`'s arguments.
            actions: names of the action's elements.
            hidden: widths of the hidden layers.
            squash: what keeps actions in [-1, 1]: `clamp`, or `tanh` as in most of reinforcement learning.
            judges: whether it also predicts success.
        """
        super().__init__()
        if squash not in ("clamp", "tanh"):
            raise ValueError(f"squash is '{squash}', expected clamp or tanh")
        self.squash = squash
        self.arrays = tuple((name, tuple(shape)) for name, shape in arrays)
        self.actions = tuple(actions)
        self.hidden = tuple(hidden)
        self.features = features_of(self.arrays)
        columns = sum(feature.width for feature in self.features)
        self.body = perceptron(columns, *self.hidden, len(self.actions))
        self.success: nn.Module | None = None
        """Predicts whether the task has been achieved; independent of the actions."""
        if judges:
            self.success = perceptron(columns, JUDGE_WIDTH, 1)
        self.register_buffer("centre", torch.zeros(columns))
        self.register_buffer("spread", torch.ones(columns))

    @classmethod
    def for_specs(cls, observation: ObservationSpec, action: ActionSpec, hidden: Sequence[int]) -> StateNetwork:
        """Build the network for what an environment sees and commands."""
        return cls([(array.name, array.shape) for array in observation.arrays], action.names, hidden)

    @property
    def layers(self) -> list[nn.Linear]:
        """The linear layers, first to last."""
        return [layer for layer in self.body if isinstance(layer, nn.Linear)]

    def columns(self) -> dict[str, slice]:
        """Where each feature's columns are, by name."""
        ends = list(itertools.accumulate(feature.width for feature in self.features))
        return {f.name: slice(end - f.width, end) for f, end in zip(self.features, ends)}

    def row(self, *arrays: Tensor) -> Tensor:
        """Compute the features (B, columns), not normalised, from the observation's arrays (B, …)."""
        named = {name: array for (name, _), array in zip(self.arrays, arrays, strict=True)}
        return torch.cat([feature.compute(named) for feature in self.features], dim=1)

    def normalise(self, row: Tensor) -> Tensor:
        """Centre and scale features (B, columns)."""
        return ((row - self.centre) / self.spread).clamp(-MOST_SPREADS, MOST_SPREADS)

    def fit_normaliser(self, row: Tensor) -> None:
        """Take centre and spread from features (N, columns)."""
        self.centre.copy_(row.mean(0))
        self.spread.copy_(row.std(0).clamp_min(SMALLEST_SPREAD))

    def forward(self, *arrays: Tensor) -> Tensor:
        """Map the observation's arrays (B, …), in order, to actions (B, a) in [-1, 1]."""
        return self.act(self.row(*arrays))

    def act(self, row: Tensor) -> Tensor:
        """Map features (B, columns), not normalised, to actions (B, a) in [-1, 1]."""
        action = self.body(self.normalise(row))
        return action.tanh() if self.squash == "tanh" else action.clamp(-1.0, 1.0)

    def success_logit(self, row: Tensor) -> Tensor:
        """Compute the logit (B, 1) of the probability that the task has been achieved, from features (B, columns).

        Only of a network that judges.
        """
        assert self.success is not None
        return self.success(self.normalise(row))

    def architecture(self) -> dict:
        """Describe the network so that `restore_state_network` can build it again."""
        return {
            "kind": STATE_NETWORK,
            "arrays": [[name, list(shape)] for name, shape in self.arrays],
            "features": [[feature.name, feature.width] for feature in self.features],
            "actions": list(self.actions),
            "hidden": list(self.hidden),
            "squash": self.squash,
        }


def restore_state_network(bundle: PolicyBundle) -> StateNetwork:
    """Build the network of `bundle` with its weights.

    Raises:
        BundleError: if the bundle has no weights, holds another kind of network, or weights of the wrong shape.
    """
    require_kind(bundle, STATE_NETWORK, "; train one with 'sim2real train --observation state'")
    described = bundle.network
    network = StateNetwork(
        [(name, tuple(shape)) for name, shape in described["arrays"]],
        described["actions"],
        described["hidden"],
        described.get("squash", "clamp"),
    )
    made = [[feature.name, feature.width] for feature in network.features]
    if made != described["features"]:
        raise BundleError(
            f"bundle '{bundle.name}' was trained on the columns {described['features']}, this version computes {made}; "
            "train it again"
        )
    return with_weights(network, bundle)


def _size(shape: Sequence[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _flat(name: str, arrays: Arrays) -> Tensor:
    return arrays[name].flatten(1)


def _difference(to: str, of: str, arrays: Arrays) -> Tensor:
    return arrays[to] - arrays[of]


def _squashed(to: str, of: str, arrays: Arrays, near: float = NEAR) -> Tensor:
    return torch.tanh((arrays[to] - arrays[of]) / near)


def _object_turn(against_fingers: bool, arrays: Arrays) -> Tensor:
    """Sine and cosine of four times the cube's turn about z, against the fingers' where they turn."""
    x, y, z, w = arrays["object_quat"].unbind(1)
    turn = torch.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    if against_fingers:
        turn = turn - arrays["ee_yaw"][:, 0]
    return torch.stack([torch.sin(4 * turn), torch.cos(4 * turn)], dim=1)


def _heading(arrays: Arrays) -> Tensor:
    """Unit vector (B, 2) on the table from object to goal; shorter where they are as good as one."""
    way = (arrays["goal"] - arrays["object_pos"])[:, :2]
    return way / (way.square().sum(1, keepdim=True) + SAME**2).sqrt()


def _ee_in_heading(arrays: Arrays) -> Tensor:
    """How far the end effector is ahead and to the left of the object, (B, 2) plain [m] and (B, 2) squashed."""
    ahead = _heading(arrays)
    from_object = (arrays["ee_pos"] - arrays["object_pos"])[:, :2]
    along = (from_object * ahead).sum(1)
    aside = from_object[:, 1] * ahead[:, 0] - from_object[:, 0] * ahead[:, 1]
    both = torch.stack([along, aside], dim=1)
    return torch.cat([both, torch.tanh(both / NEAR)], dim=1)


def _posts(arrays: Arrays) -> Tensor:
    return (arrays["posts"] - arrays["ee_pos"][:, None]).flatten(1)
