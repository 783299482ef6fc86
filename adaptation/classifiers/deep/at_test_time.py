"""What a trained classifier can do with a recording of the target alone: no source data, no labels, reversible.

Each function changes the model it is given; keep a copy to go back to.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptation.classifiers.deep.classifier import Classifier, logits_of
from adaptation.visual import losses

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
SURE = 0.4
"""Share of the greatest entropy, ln C, above which a row teaches nothing (SAR and EATA, Niu et al. 2022, 2023)."""
FEW = 0.3
"""Entropy of the mean prediction, a share of ln C, below which the recording shows too few classes to adapt to."""
BACK = 0.7
"""Entropy of the mean prediction, a share of what it was, below which the model has collapsed and goes back."""


@torch.no_grad()
def take_statistics(network: nn.Module, X: Tensor) -> None:
    """AdaBN (Li et al. 2016): the statistics of X (N, …) in every batch normalisation."""
    layers = [layer for layer in network.modules() if isinstance(layer, NORMS)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over all batches
        layer.train()
    for part in torch.tensor_split(X, max(1, len(X) // 256)):
        network(part)
    for layer in layers:
        layer.momentum = 0.1
    network.eval()


def tent(network: nn.Module, X: Tensor, steps: int = 30, batch: int = 64, rate: float = 1e-3, seed: int = 0) -> None:
    """TENT (Wang et al., ICLR 2021): scale and shift of the normalisations minimise the entropy of X's predictions."""
    _minimise_entropy(network, X, steps, batch, rate, seed, stable=False)


def stable_tent(
    network: nn.Module, X: Tensor, steps: int = 30, batch: int = 64, rate: float = 1e-3, seed: int = 0
) -> bool:
    """TENT that learns from sure rows only, and goes back when it has become too sure of one class.

    Where the predictions hardly differ to begin with there is nothing to tell apart, and nothing is changed.

    Returns:
        Whether the change was kept.
    """
    before = {name: value.clone() for name, value in network.state_dict().items()}
    spread_before = float(losses.diversity(logits_of(network, X)))
    most = math.log(logits_of(network, X[:1]).shape[1])
    if spread_before < FEW * most:
        return False
    _minimise_entropy(network, X, steps, batch, rate, seed, stable=True)
    if float(losses.diversity(logits_of(network, X))) < BACK * spread_before:
        network.load_state_dict(before)
        return False
    return True


@torch.no_grad()
def recalibrate_prototypes(network: Classifier, X: Tensor, keep: int = 20) -> Tensor:
    """Label X (N, …) by its nearest prototype: each class's weight and its surest rows (T3A, Iwasawa & Matsuo 2021).

    The network stays as it is.

    Returns:
        (N, C) logits.
    """
    network.eval()
    features = network.features(X)
    logits = network.head(features)
    classes = logits.shape[1]
    label = logits.argmax(1)
    unsure = -(F.softmax(logits, 1) * F.log_softmax(logits, 1)).sum(1)
    prototypes = []
    for c in range(classes):
        members = torch.nonzero(label == c)[:, 0]
        chosen = members[unsure[members].argsort()[:keep]]
        support = torch.cat([F.normalize(network.head.weight[c : c + 1], dim=1), F.normalize(features[chosen], dim=1)])
        prototypes.append(support.mean(0))
    return F.normalize(features, dim=1) @ F.normalize(torch.stack(prototypes), dim=1).T


def _minimise_entropy(
    network: nn.Module, X: Tensor, steps: int, batch: int, rate: float, seed: int, stable: bool
) -> None:
    layers = [layer for layer in network.modules() if isinstance(layer, NORMS)]
    if not layers:
        raise ValueError("test-time adaptation: the network has no batch normalisation to adapt")
    generator = torch.Generator().manual_seed(seed)
    network.eval()
    for layer in layers:
        layer.train()
    optimiser = torch.optim.Adam([p for layer in layers for p in layer.parameters()], rate)
    for _ in range(steps):
        logits = network(X[torch.randint(len(X), (batch,), generator=generator)])
        if stable:
            H = -(F.softmax(logits, 1) * F.log_softmax(logits, 1)).sum(1)
            sure = (SURE * math.log(logits.shape[1]) > H).float().detach()
            weight = sure * torch.exp(-H.detach())
            loss = (weight * H).sum() / weight.sum().clamp_min(1.0)
        else:
            loss = losses.entropy(logits)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
