"""Losses of domain adaptation as pure functions of features (N, D) or logits (N, C); each returns a scalar.

Classification losses take logits; regression losses take features or predictions. None holds state.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def coral(source: Tensor, target: Tensor) -> Tensor:
    """Deep CORAL (Sun & Saenko 2016): ‖Cs − Ct‖² / (4 D²) of the covariances of features (N, D) and (M, D)."""
    D = source.shape[1]
    return (_covariance(source) - _covariance(target)).square().sum() / (4 * D * D)


def mean_gap(source: Tensor, target: Tensor) -> Tensor:
    """Squared distance of the means of features (N, D) and (M, D), a feature; what linear MMD measures."""
    return (source.mean(0) - target.mean(0)).square().mean()


def mmd(source: Tensor, target: Tensor, widths: Sequence[float] = (0.5, 1.0, 2.0)) -> Tensor:
    """Squared maximum mean discrepancy of features (N, D) and (M, D), unbiased (Gretton et al. 2012).

    The kernel is the mean of Gaussians; their widths are shares of the median distance (DAN, Long et al. 2015).
    """
    both = torch.cat([source, target])
    squared = (both[:, None] - both[None]).square().sum(2)
    n, m = len(source), len(target)
    off_diagonal = ~torch.eye(n + m, dtype=torch.bool)
    scale = squared.detach()[off_diagonal].median().clamp_min(1e-12)
    K = torch.stack([torch.exp(-squared / (2 * w * w * scale)) for w in widths]).mean(0)
    within_source = (K[:n, :n].sum() - n) / (n * (n - 1))
    within_target = (K[n:, n:].sum() - m) / (m * (m - 1))
    return within_source + within_target - 2 * K[:n, n:].mean()


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return features.view_as(features)

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse_gradient(features: Tensor, strength: float = 1.0) -> Tensor:
    """Return `features` unchanged, whose gradient is turned round and scaled (Ganin & Lempitsky 2015)."""
    reversed_features: Tensor = _Reversal.apply(features, strength)
    return reversed_features


def domain_adversarial(source: Tensor, target: Tensor, discriminator: nn.Module, strength: float = 1.0) -> Tensor:
    """DANN (Ganin et al. 2016): the discriminator's cross-entropy, which the features maximise.

    `discriminator` maps (N, D) to a logit (N, 1) that a row is of the source.
    """
    logits = discriminator(reverse_gradient(torch.cat([source, target]), strength))[:, 0]
    is_source = torch.cat([torch.ones(len(source)), torch.zeros(len(target))])
    return F.binary_cross_entropy_with_logits(logits, is_source)


def conditioned(features: Tensor, prediction: Tensor) -> Tensor:
    """Outer product (N, D · C) of features (N, D) and predictions (N, C), what CDAN discriminates (Long et al. 2018).

    For classification give probabilities, for regression standardised outputs; predictions carry no gradient.
    """
    return (features[:, :, None] * prediction.detach()[:, None, :]).flatten(1)


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the predicted classes [nats]; what TENT minimises (Wang et al. 2021)."""
    return -(F.softmax(logits, 1) * F.log_softmax(logits, 1)).sum(1).mean()


def diversity(logits: Tensor) -> Tensor:
    """Entropy of the mean prediction [nats]: high where classes are used evenly."""
    mean = F.softmax(logits, 1).mean(0)
    return -(mean * mean.clamp_min(1e-12).log()).sum()


def information_maximisation(logits: Tensor) -> Tensor:
    """Entropy minus diversity (SHOT, Liang et al. 2020): sure of each row, not of the same class for all."""
    return entropy(logits) - diversity(logits)


def class_confusion(logits: Tensor, temperature: float = 2.5) -> Tensor:
    """Minimum class confusion (Jin et al. 2020): how much classes are confused in pairs, surer rows counting more."""
    p = F.softmax(logits / temperature, 1)
    H = -(p * p.clamp_min(1e-12).log()).sum(1)
    weight = 1 + torch.exp(-H)
    weight = (len(p) * weight / weight.sum()).detach()
    confusion = (p * weight[:, None]).T @ p
    confusion = confusion / confusion.sum(1, keepdim=True)
    return (confusion.sum() - confusion.trace()) / p.shape[1]


def self_training(logits: Tensor, teacher: Tensor, confidence: float = 0.9) -> Tensor:
    """Cross-entropy with the teacher's class on the rows (N, C) where it is sure; 0 where it is sure of none."""
    surest, label = F.softmax(teacher.detach(), 1).max(1)
    sure = (surest >= confidence).float()
    return (F.cross_entropy(logits, label, reduction="none") * sure).sum() / sure.sum().clamp_min(1.0)


def consistency(student: Tensor, teacher: Tensor, spread: Tensor, most: float) -> Tensor:
    """Self-training for regression: L1 distance (N, D) from the teacher where its `spread` (N,) is at most `most`."""
    sure = (spread <= most).float()
    return ((student - teacher.detach()).abs().mean(1) * sure).sum() / sure.sum().clamp_min(1.0)


def _covariance(X: Tensor) -> Tensor:
    centred = X - X.mean(0)
    return centred.T @ centred / max(1, len(X) - 1)
