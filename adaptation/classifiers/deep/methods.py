"""Deep adaptation methods by name: each is the training loop with one more term, over `adaptation.visual.losses`."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptation.classifiers.deep.at_test_time import take_statistics
from adaptation.classifiers.deep.classifier import Batch, Classifier, DeepConfig, logits_of, train
from adaptation.visual import losses

Method = Callable[[Classifier, Tensor, Tensor, Tensor, DeepConfig, int], None]
"""Trains the classifier on source rows, source labels and target rows."""


def source_only(network: Classifier, Xs: Tensor, ys: Tensor, Xt: Tensor, config: DeepConfig, seed: int) -> None:
    """No adaptation."""
    train(network, Xs, ys, Xt, config, seed)


def batch_norm(network: Classifier, Xs: Tensor, ys: Tensor, Xt: Tensor, config: DeepConfig, seed: int) -> None:
    """AdaBN: the target's statistics in every batch normalisation."""
    train(network, Xs, ys, Xt, config, seed)
    take_statistics(network, Xt)


def deep_coral(network: Classifier, Xs: Tensor, ys: Tensor, Xt: Tensor, config: DeepConfig, seed: int) -> None:
    """Deep CORAL: covariances of the features agree, and their means."""
    train(
        network, Xs, ys, Xt, config, seed,
        lambda b: 10.0 * losses.coral(b.source, b.target) + losses.mean_gap(b.source, b.target),
    )  # fmt: skip


def dan(network: Classifier, Xs: Tensor, ys: Tensor, Xt: Tensor, config: DeepConfig, seed: int) -> None:
    """DAN: the features' maximum mean discrepancy is small."""
    train(network, Xs, ys, Xt, config, seed, lambda b: losses.mmd(b.source, b.target))


def dann(network: Classifier, Xs: Tensor, ys: Tensor, Xt: Tensor, config: DeepConfig, seed: int) -> None:
    """DANN: a discriminator cannot tell the features' domain."""
    judge = _discriminator(network.head.in_features)
    train(
        network, Xs, ys, Xt, config, seed,
        lambda b: losses.domain_adversarial(b.source, b.target, judge, _ramp(b.share)), judge,
    )  # fmt: skip


def cdan(network: Classifier, Xs: Tensor, ys: Tensor, Xt: Tensor, config: DeepConfig, seed: int) -> None:
    """CDAN: a discriminator cannot tell the domain of features and prediction together."""
    judge = _discriminator(network.head.in_features * network.head.out_features)

    def term(b: Batch) -> Tensor:
        of_source = losses.conditioned(b.source, F.softmax(b.source_logits, 1))
        of_target = losses.conditioned(b.target, F.softmax(b.target_logits, 1))
        return losses.domain_adversarial(of_source, of_target, judge, _ramp(b.share))

    train(network, Xs, ys, Xt, config, seed, term, judge)


def adda(network: Classifier, Xs: Tensor, ys: Tensor, Xt: Tensor, config: DeepConfig, seed: int) -> None:
    """ADDA (Tzeng et al. 2017): the target gets features of its own, trained to look like the source's frozen ones."""
    train(network, Xs, ys, Xt, config, seed)
    frozen = copy.deepcopy(network.features)
    judge = _discriminator(network.head.in_features)
    generator = torch.Generator().manual_seed(seed + 1)
    to_judge = torch.optim.Adam(judge.parameters(), 1e-3)
    to_fool = torch.optim.Adam(network.features.parameters(), 1e-4)
    network.features.train()
    for _ in range(config.steps // 2):
        source = torch.randint(len(Xs), (config.batch,), generator=generator)
        target = torch.randint(len(Xt), (config.batch,), generator=generator)
        with torch.no_grad():
            of_source = frozen(Xs[source])
        of_target = network.features(Xt[target])
        is_source, is_target = judge(of_source)[:, 0], judge(of_target.detach())[:, 0]
        judged = F.binary_cross_entropy_with_logits(is_source, torch.ones_like(is_source))
        judged = judged + F.binary_cross_entropy_with_logits(is_target, torch.zeros_like(is_target))
        _step(to_judge, judged)
        passed = judge(of_target)[:, 0]
        _step(to_fool, F.binary_cross_entropy_with_logits(passed, torch.ones_like(passed)))
    network.eval()


def mcc(network: Classifier, Xs: Tensor, ys: Tensor, Xt: Tensor, config: DeepConfig, seed: int) -> None:
    """MCC: the target's classes are confused as little as can be."""
    train(network, Xs, ys, Xt, config, seed, lambda b: losses.class_confusion(b.target_logits))


def information(network: Classifier, Xs: Tensor, ys: Tensor, Xt: Tensor, config: DeepConfig, seed: int) -> None:
    """SHOT's objective beside the source's: sure of each target row, and of all classes."""
    train(network, Xs, ys, Xt, config, seed, lambda b: 0.3 * losses.information_maximisation(b.target_logits))


def self_training(network: Classifier, Xs: Tensor, ys: Tensor, Xt: Tensor, config: DeepConfig, seed: int) -> None:
    """Train, adapt the statistics, label what is sure, and train on with those labels (Lee 2013)."""
    train(network, Xs, ys, Xt, config, seed)
    for round_ in range(3):
        take_statistics(network, Xt)
        told = logits_of(network, Xt)
        surest, label = F.softmax(told, 1).max(1)
        sure = surest >= 0.9
        if int(sure.sum()) < config.batch // 4:
            return
        train(network, Xt[sure], label[sure], Xt, config, seed + 1 + round_)


METHODS: dict[str, Method] = {
    "source-only": source_only,
    "batch-norm": batch_norm,
    "deep-coral": deep_coral,
    "dan": dan,
    "dann": dann,
    "cdan": cdan,
    "adda": adda,
    "mcc": mcc,
    "information": information,
    "self-training": self_training,
}
"""None looks at a target label."""


def _discriminator(inputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 1))


def _ramp(share: float) -> float:
    """Strength of the turned gradient, from 0 to 1 (Ganin et al. 2016, γ = 10)."""
    return 2 / (1 + math.exp(-10 * share)) - 1


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
