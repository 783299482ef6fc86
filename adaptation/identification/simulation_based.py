"""A posterior by simulation-based inference (package `sbi`, an optional extra).

Neural posterior estimation (Papamakarios & Murray 2016; Greenberg et al. 2019) on a truncated prior (Deistler et al.,
NeurIPS 2022): candidates are drawn uniformly from a box around the Gauss–Newton posterior, replayed, given errors like
the measured ones, and summarised by the Gauss–Newton step.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from tempfile import TemporaryDirectory

import numpy as np

from adaptation.identification.fit import PRIOR_STD, Fit, Progress
from adaptation.identification.joint_log import LogError
from adaptation.identification.posterior import Posterior, correlation_times, shortest_interval
from adaptation.identification.replay import Replay
from sim.randomization.parameters import ParameterSpace

SIMULATIONS = 2_000
"""Number of replayed candidates."""
EPOCHS = 200
"""Largest number of training epochs; about two minutes on one core for two joints."""
SAMPLES = 1_000
"""Number of draws from the posterior."""
BOX = 0.999
"""Level of the intervals that define the box."""


def check_installed() -> None:
    """Raise LogError if the package is missing."""
    if importlib.util.find_spec("sbi") is None:
        raise LogError(
            "method 'sbi' needs the package sbi, which is not installed: pip install 'sim2real-arms[sbi]', or take "
            "--method laplace or dropo"
        )


def simulation_based(
    replay: Replay,
    space: ParameterSpace,
    fit: Fit,
    result: Posterior,
    used: np.ndarray,
    rng: np.random.Generator,
    progress: Progress | None = None,
    simulations: int = SIMULATIONS,
    epochs: int = EPOCHS,
) -> Posterior:
    """Return `result` with samples of a learned posterior in place of its normal.

    Raises:
        LogError: if `sbi` is not installed.
    """
    check_installed()
    import torch
    from sbi.inference import NPE
    from torch.utils.tensorboard import SummaryWriter

    index = np.flatnonzero(fit.free)
    ends = shortest_interval(result.u, np.maximum(result.std, 1e-9), BOX)[index]
    draws = rng.uniform(ends[:, 0], ends[:, 1], (simulations, len(index)))
    weight = np.where(used, 1.0 / (fit.sigma**2 * correlation_times(fit.errors)), 0.0)
    root = np.sqrt(weight)
    J = (np.concatenate(fit.jacobian) * root[None, :, None]).reshape(-1, len(index))
    project = np.linalg.solve(J.T @ J + np.eye(len(index)) / PRIOR_STD**2, J.T)  # the Gauss–Newton step

    def summary(difference: list[np.ndarray]) -> np.ndarray:
        return project @ (np.concatenate(difference) * root).ravel()

    seen = np.empty((simulations, len(index)))
    for begin in range(0, simulations, 100):
        rows = draws[begin : begin + 100]
        us = np.tile(result.u, (len(rows), 1))
        us[:, index] = rows
        for k, errors in enumerate(replay.batch([space.at(u) for u in us])):
            noise = [_like(e, rng) for e in fit.errors]
            seen[begin + k] = summary([a - b + c for a, b, c in zip(errors, fit.errors, noise)])
        if progress is not None:
            progress(min(1.0, (begin + 100) / simulations), "simulations")
    torch.manual_seed(int(rng.integers(2**31)))
    # unbounded coordinates: no draw can be outside the box
    share = (draws - ends[:, 0]) / np.ptp(ends, axis=1)
    free = torch.tensor(np.log(share / (1 - share)), dtype=torch.float32)
    with TemporaryDirectory() as scratch:  # sbi writes its training log into the working directory
        inference = NPE(density_estimator="maf", summary_writer=SummaryWriter(scratch), show_progress_bars=False)
        inference.append_simulations(free, torch.tensor(seen, dtype=torch.float32))
        learned = inference.train(max_num_epochs=epochs)
    observed = torch.tensor(summary([-e for e in fit.errors]), dtype=torch.float32)
    with torch.no_grad():
        drawn = learned.sample((SAMPLES,), condition=observed[None])[:, 0].numpy().astype(np.float64)
    inside = ends[:, 0] + np.ptp(ends, axis=1) / (1 + np.exp(-np.clip(drawn, -30, 30)))
    samples = rng.uniform(size=(SAMPLES, len(result.u)))
    samples[:, index] = np.clip(inside, 0.0, 1.0)
    u, covariance = result.u.copy(), result.covariance.copy()
    u[index] = np.median(samples[:, index], axis=0)
    covariance[np.ix_(index, index)] = np.cov(samples[:, index].T)
    return replace(result, u=u, covariance=covariance, samples=samples)


def _like(errors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Resample errors (samples, n): each joint's own, rolled, with random sign and direction."""
    columns = []
    for column in errors.T:
        turned = np.roll(column, rng.integers(len(column))) * rng.choice([-1.0, 1.0])
        columns.append(turned[::-1] if rng.random() < 0.5 else turned)
    return np.stack(columns, axis=1)
