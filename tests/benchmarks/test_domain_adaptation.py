"""Domain adaptation of classifiers: closed forms and a known shift."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.domain_adaptation.classifiers import nearest, support_vectors
from benchmarks.domain_adaptation.features import (
    discrepancy_matrix,
    neighbour_laplacian,
    principal_axes,
    squared_distances,
    standardised,
    unit_rows,
)
from benchmarks.domain_adaptation.geodesic_flow import flow_features
from benchmarks.domain_adaptation.methods import METHODS, transported
from benchmarks.domain_adaptation.transfer_components import components


def two_domains(seed: int, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Three classes in ten dimensions; the target is turned, stretched and moved by `shift` times what it can be."""
    rng = np.random.default_rng(seed)
    centres = 4.0 * np.linalg.qr(rng.normal(size=(10, 3)))[0].T
    ys, yt = np.repeat(np.arange(3), 50), np.repeat(np.arange(3), 40)
    Xs = centres[ys] + rng.normal(0, 0.7, (150, 10))
    Xt = centres[yt] + rng.normal(0, 0.7, (120, 10))
    turn = np.eye(10)
    a = 0.5 * shift
    turn[:2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    return Xs, ys, (Xt @ turn) * (1 + 0.5 * shift * np.linspace(-1, 1, 10)) + 2.0 * shift * rng.normal(size=10), yt


def test_geodesic_flow_is_the_integral_over_the_geodesic() -> None:
    Xs, _, Xt, _ = two_domains(2)
    Zs, Zt = flow_features(Xs, Xt, 3)
    Ps, Pt = principal_axes(Xs, 3), principal_axes(Xt, 3)
    U, cosine, Vt = np.linalg.svd(Ps.T @ Pt)
    angle = np.arccos(np.clip(cosine, -1, 1))
    sideways = (Pt @ Vt.T - Ps @ U * cosine) / np.sin(angle)
    t = (np.arange(2000) + 0.5) / 2000
    G = np.zeros((10, 10))
    for moment in t:
        phi = Ps @ U * np.cos(moment * angle) + sideways * np.sin(moment * angle)
        G += phi @ phi.T / len(t)
    np.testing.assert_allclose(Zs @ Zt.T, 2 * Xs @ G @ Xt.T, atol=1e-3)


def test_geodesic_flow_between_equal_subspaces_is_the_projection() -> None:
    X = two_domains(3)[0]
    Zs, Zt = flow_features(X, X, 3)
    P = principal_axes(X, 3)
    np.testing.assert_allclose(Zs @ Zt.T, 2 * X @ P @ P.T @ X.T, atol=1e-8)


def test_the_discrepancy_matrix_measures_the_distance_of_the_means() -> None:
    Xs, ys, Xt, yt = two_domains(4)
    Z = np.concatenate([Xs, Xt])
    M = discrepancy_matrix(ys, None, len(Xt), 0.0, np.arange(3))
    gap = float(np.sum((Xs.mean(0) - Xt.mean(0)) ** 2))
    unscaled = np.linalg.norm(np.concatenate([np.full(150, 1 / 150), np.full(120, 1 / 120)])) ** 2
    assert np.trace(Z.T @ M @ Z) * unscaled == pytest.approx(gap)
    by_class = discrepancy_matrix(ys, yt, len(Xt), 1.0, np.arange(3))
    assert np.trace(Z.T @ by_class @ Z) > 0
    # where each class has the same mean in both domains there is nothing to measure
    still = np.concatenate([ys[:, None], yt[:, None]]).astype(float)
    assert np.trace(still.T @ by_class @ still) == pytest.approx(0.0, abs=1e-12)


def test_components_hide_a_shift_of_the_mean() -> None:
    Xs, ys, Xt, _ = two_domains(5)
    X = np.concatenate([Xs, Xt])
    M = discrepancy_matrix(ys, None, len(Xt), 0.0, np.arange(3))
    A = components(X, M, dimensions=3, ridge=1e-3)
    before = np.linalg.norm(Xs.mean(0) - Xt.mean(0)) / X.std()
    Z = X @ A
    after = np.linalg.norm(Z[:150].mean(0) - Z[150:].mean(0)) / Z.std()
    assert after < 0.1 * before


def test_transport_undoes_a_shift() -> None:
    rng = np.random.default_rng(6)
    ys = np.repeat(np.arange(4), 25)
    Xs = np.array([[0.0, 0.0], [0.0, 6.0], [6.0, 0.0], [6.0, 6.0]])[ys] + rng.normal(0, 0.3, (100, 2))
    moved = Xs + np.array([5.0, 0.0])
    carried = transported(Xs, ys, moved)
    assert np.abs(carried - moved).max() < 2.0
    assert (nearest(Xs, ys, moved) == ys).mean() < 0.6
    assert (nearest(carried, ys, moved) == ys).mean() == 1.0


def test_the_laplacian_is_positive_and_still_on_its_components() -> None:
    Z = two_domains(7)[0]
    L = neighbour_laplacian(Z, 5)
    values = np.linalg.eigvalsh(L)
    assert values[0] == pytest.approx(0.0, abs=1e-9)
    assert values[-1] <= 2.0 + 1e-9


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_right_where_nothing_shifts(method: str) -> None:
    Xs, ys, Xt, yt = two_domains(8, shift=0.0)
    assert (METHODS[method](standardised(Xs), ys, standardised(Xt)) == yt).mean() > 0.9


@pytest.mark.parametrize("method", [m for m in METHODS if not m.startswith("source-only")])
def test_every_method_gives_labels_that_exist_and_the_same_twice(method: str) -> None:
    Xs, ys, Xt, _ = two_domains(9)
    first = METHODS[method](Xs, ys + 7, Xt)
    assert first.shape == (120,)
    assert set(first) <= {7, 8, 9}
    np.testing.assert_array_equal(first, METHODS[method](Xs, ys + 7, Xt))


def test_correlation_alignment_beats_source_only_on_a_known_shift() -> None:
    source, adapted = [], []
    for seed in range(5):
        Xs, ys, Xt, yt = two_domains(10 + seed)
        source.append((METHODS["source-only-1nn"](Xs, ys, Xt) == yt).mean())
        adapted.append((METHODS["coral"](standardised(Xs), ys, standardised(Xt)) == yt).mean())
    assert np.mean(adapted) > np.mean(source) + 0.1


def test_the_machine_separates_what_can_be_separated() -> None:
    Xs, ys, Xt, yt = two_domains(20, shift=0.0)
    assert (support_vectors(Xs, ys, Xt) == yt).mean() > 0.95


def test_distances_and_lengths() -> None:
    A = np.array([[0.0, 0.0], [3.0, 4.0]])
    np.testing.assert_allclose(squared_distances(A, A), [[0, 25], [25, 0]], atol=1e-12)
    np.testing.assert_allclose(unit_rows(A), [[0, 0], [0.6, 0.8]])
    np.testing.assert_allclose(standardised(np.array([[1.0, 5.0], [3.0, 5.0]])), [[-1, 0], [1, 0]])
