"""Losses of the benchmark's adaptation methods, beside those of `adaptation.visual.losses`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


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


def consistency(student: Tensor, teacher: Tensor, spread: Tensor, most: float) -> Tensor:
    """Self-training for regression: L1 distance (N, D) to the teacher where its `spread` (N,) is at most `most`."""
    sure = (spread <= most).float()
    return ((student - teacher.detach()).abs().mean(1) * sure).sum() / sure.sum().clamp_min(1.0)
