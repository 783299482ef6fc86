"""Deep adaptation on a small data set with a known shift; what a frozen model can do; collapse is undone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adaptation.classifiers.deep import at_test_time
from adaptation.classifiers.deep.at_test_time import recalibrate_prototypes, stable_tent, take_statistics, tent
from adaptation.classifiers.deep.classifier import Classifier, DeepConfig, convolutional, logits_of, perceptron, train
from adaptation.classifiers.deep.methods import METHODS

CONFIG = DeepConfig(steps=120, batch=48)


def shifted(seed: int, shift: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four classes in eight dimensions; the target is moved by `shift` in four dimensions and scaled a little."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(42).normal(0, 1.6, (4, 8))
    ys, yt = rng.integers(0, 4, 400), rng.integers(0, 4, 400)
    Xs = centres[ys] + rng.normal(0, 0.6, (400, 8))
    Xt = (centres[yt] + rng.normal(0, 0.6, (400, 8))) * 1.2 + shift * np.repeat([1.0, 0.0], 4)
    return tuple(torch.from_numpy(a.astype(k)) for a, k in zip((Xs, ys, Xt, yt), (np.float32, int, np.float32, int)))  # type: ignore[return-value]


def accuracy(network: nn.Module, X: Tensor, y: Tensor) -> float:
    return float((logits_of(network, X).argmax(1) == y).float().mean())


def trained(method: str, seed: int, shift: float) -> tuple[float, Classifier]:
    Xs, ys, Xt, yt = shifted(seed, shift)
    torch.manual_seed(seed)
    network = perceptron(8, 4, width=32)
    METHODS[method](network, Xs, ys, Xt, CONFIG, seed)
    return accuracy(network, Xt, yt), network


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_right_where_nothing_shifts(method: str) -> None:
    assert trained(method, 0, 0.0)[0] > 0.85


@pytest.mark.parametrize("method", ["batch-norm", "deep-coral", "dan", "dann", "mcc", "information", "self-training"])
def test_methods_undo_a_known_shift(method: str) -> None:
    source = np.mean([trained("source-only", seed, 4.0)[0] for seed in range(1)])
    adapted = np.mean([trained(method, seed, 4.0)[0] for seed in range(1)])
    assert adapted > source + 0.05


def test_the_same_seed_trains_the_same_network() -> None:
    a, b = (trained("dann", 3, 2.0)[1] for _ in range(2))
    for one, other in zip(a.state_dict().values(), b.state_dict().values()):
        assert torch.equal(one, other)


def test_statistics_of_a_shifted_input_are_taken_over() -> None:
    norm = nn.BatchNorm1d(2)
    X = torch.randn(512, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 3.0]) + 5
    take_statistics(norm, X)
    np.testing.assert_allclose(norm.running_mean, X.mean(0), atol=1e-4)
    np.testing.assert_allclose(norm.running_var, X.var(0), rtol=0.02)
    assert not norm.training


def source_model(shift: float) -> tuple[Classifier, Tensor, Tensor]:
    Xs, ys, Xt, yt = shifted(1, shift)
    torch.manual_seed(0)
    network = perceptron(8, 4, width=32)
    train(network, Xs, ys, Xt, CONFIG, 0)
    return network, Xt, yt


def test_test_time_adaptation_helps_on_a_shift() -> None:
    network, Xt, yt = source_model(4.0)
    before = accuracy(network, Xt, yt)
    for adapt in (tent, stable_tent):
        changed = copy.deepcopy(network)
        adapt(changed, Xt)
        assert accuracy(changed, Xt, yt) > before + 0.05


def test_prototypes_are_no_worse_and_leave_the_network_alone() -> None:
    network, Xt, yt = source_model(1.0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    right = float((recalibrate_prototypes(network, Xt).argmax(1) == yt).float().mean())
    assert right > accuracy(network, Xt, yt) - 0.05
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_one_class_alone_teaches_nothing_and_a_collapse_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    network, Xt, _ = source_model(4.0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    one_class = Xt[:1].repeat(400, 1) + 0.01 * torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    wild = copy.deepcopy(network)
    tent(wild, one_class)
    assert not all(torch.equal(value, before[name]) for name, value in wild.state_dict().items())
    assert not stable_tent(network, one_class)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    # any loss of variety counts as a collapse here; what really collapses depends on the last bit of rounding
    monkeypatch.setattr(at_test_time, "BACK", 2.0)
    assert not stable_tent(network, Xt, rate=0.1)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_pictures_have_a_classifier_too() -> None:
    assert logits_of(convolutional(16, 10), torch.zeros(3, 1, 16, 16)).shape == (3, 10)


def test_configurations_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="steps is 0, expected a positive number"):
        DeepConfig(steps=0).validate()
    with pytest.raises(ValueError, match=r"warm_up is 1\.0"):
        DeepConfig(warm_up=1.0).validate()
    with pytest.raises(ValueError, match="no batch normalisation"):
        tent(nn.Linear(2, 2), torch.zeros(4, 2))
