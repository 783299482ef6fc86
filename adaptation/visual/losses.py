"""Losses of domain adaptation as pure functions of the features (N, D) of both domains; each returns a scalar."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def coral(source: Tensor, target: Tensor) -> Tensor:
    """Deep CORAL (Sun & Saenko 2016): ‖Cs − Ct‖² / (4 D²) of the covariances of features (N, D) and (M, D)."""
    D = source.shape[1]
    return (_covariance(source) - _covariance(target)).square().sum() / (4 * D * D)


def mean_gap(source: Tensor, target: Tensor) -> Tensor:
    """Squared distance of the means of features (N, D) and (M, D), per feature; linear MMD."""
    return (source.mean(0) - target.mean(0)).square().mean()


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return features.view_as(features)

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse_gradient(features: Tensor, strength: float = 1.0) -> Tensor:
    """Return `features` unchanged, with the gradient reversed and scaled by `strength` (Ganin & Lempitsky 2015)."""
    reversed_features: Tensor = _Reversal.apply(features, strength)
    return reversed_features


def domain_adversarial(source: Tensor, target: Tensor, discriminator: nn.Module, strength: float = 1.0) -> Tensor:
    """DANN (Ganin et al. 2016): the discriminator's cross-entropy, with reversed gradients for the features.

    `discriminator` maps (N, D) to the logit (N, 1) of a row being from the source.
    """
    logits = discriminator(reverse_gradient(torch.cat([source, target]), strength))[:, 0]
    is_source = torch.cat([logits.new_ones(len(source)), logits.new_zeros(len(target))])
    return F.binary_cross_entropy_with_logits(logits, is_source)


def _covariance(X: Tensor) -> Tensor:
    centred = X - X.mean(0)
    return centred.T @ centred / max(1, len(X) - 1)
