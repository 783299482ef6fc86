"""A classifier in two parts, and the one training loop of all methods that differ by a term of the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from policies.imitation.cloning import one_cycle


class Classifier(nn.Module):
    """Features, and a linear head on them."""

    def __init__(self, features: nn.Module, width: int, classes: int):
        super().__init__()
        self.features = features
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs (N, …) to logits (N, C)."""
        return self.head(self.features(x))


def perceptron(inputs: int, classes: int, width: int = 64) -> Classifier:
    """A small classifier of feature vectors (N, inputs), with batch normalisation."""
    layers = nn.Sequential(
        nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
    )
    return Classifier(layers, width, classes)


def convolutional(side: int, classes: int, channels: int = 24) -> Classifier:
    """A small classifier of grey pictures (N, 1, side, side)."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]

    reduced = side // 4
    layers = nn.Sequential(
        *block(1, channels),
        *block(channels, 2 * channels),
        nn.Flatten(),
        nn.Linear(2 * channels * reduced**2, 96),
        nn.ReLU(),
    )
    return Classifier(layers, 96, classes)


@dataclass(frozen=True)
class DeepConfig:
    """How a classifier is trained."""

    steps: int = 400
    """Gradient steps."""
    batch: int = 64
    """Rows of each domain a step."""
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule."""
    warm_up: float = 0.3
    """Share of the steps before the method's term counts, as it needs features that mean something."""

    def validate(self) -> None:
        """Raise ValueError for a field out of range."""
        for name in ("steps", "batch", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"deep adaptation: {name} is {getattr(self, name)}, expected a positive number")
        if not 0 <= self.warm_up < 1:
            raise ValueError(f"deep adaptation: warm_up is {self.warm_up}, expected within [0, 1)")


@dataclass(frozen=True, eq=False)
class Batch:
    """What a method's term may look at in one step."""

    source: Tensor
    """(B, D) features."""
    target: Tensor
    """(B, D) features."""
    source_logits: Tensor
    """(B, C)."""
    target_logits: Tensor
    """(B, C)."""
    share: float
    """Part of the training that is done."""


Term = Callable[[Batch], Tensor]


def train(
    network: Classifier,
    Xs: Tensor,
    ys: Tensor,
    Xt: Tensor,
    config: DeepConfig,
    seed: int,
    term: Term | None = None,
    extra: nn.Module | None = None,
) -> None:
    """Train on source rows with labels, plus `term` of both domains; `extra` is trained along (a discriminator)."""
    config.validate()
    generator = torch.Generator().manual_seed(seed)
    parameters = [*network.parameters(), *(extra.parameters() if extra is not None else ())]
    optimiser = torch.optim.AdamW(parameters, config.learning_rate, weight_decay=1e-3)
    network.train()
    for step, rate in enumerate(one_cycle(config.learning_rate, config.steps)):
        source = torch.randint(len(Xs), (config.batch,), generator=generator)
        target = torch.randint(len(Xt), (config.batch,), generator=generator)
        of_source = network.features(Xs[source])
        logits = network.head(of_source)
        loss = F.cross_entropy(logits, ys[source])
        share = step / config.steps
        if term is not None and share >= config.warm_up:
            of_target = network.features(Xt[target])
            loss = loss + term(Batch(of_source, of_target, logits, network.head(of_target), share))
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()


@torch.no_grad()
def logits_of(network: nn.Module, X: Tensor, batch: int = 1000) -> Tensor:
    """Compute logits (N, C) without training."""
    network.eval()
    return torch.cat([network(X[i : i + batch]) for i in range(0, len(X), batch)])
