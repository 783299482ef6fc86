"""A posterior by simulation-based inference, for whoever wants its shape: package `sbi`, an optional extra.

Neural posterior estimation (Papamakarios & Murray 2016; Greenberg et al. 2019) on a truncated prior (Deistler et al.,
NeurIPS 2022): candidates are drawn evenly from the box that the Gauss–Newton posterior all but surely lies in,
replayed, given errors like those that were measured, and summarised by the step that Gauss–Newton would take.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from tempfile import TemporaryDirectory

import numpy as np

from adaptation.identification.fit import PRIOR_STD, Fit, Progress
from adaptation.identification.joint_log import LogError
from adaptation.identification.posterior import Posterior, correlation_times, most_likely
from adaptation.identification.replay import Replay
from sim.randomization.parameters import ParameterSpace

SIMULATIONS = 2_000
"""Candidates that are replayed."""
EPOCHS = 200
"""Most passes of the network over them; about two minutes on one core for two joints."""
SAMPLES = 1_000
"""Draws of the posterior that are kept."""
BOX = 0.999
"""Level of the intervals that make the box."""


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
    ends = most_likely(result.u, np.maximum(result.std, 1e-9), BOX)[index]
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
    # Without bounds: a network that has learned little would put most of its draws outside the box, to be thrown away
    share = (draws - ends[:, 0]) / np.ptp(ends, axis=1)
    free = torch.tensor(np.log(share / (1 - share)), dtype=torch.float32)
    with TemporaryDirectory() as scratch:  # or its training log lands wherever the command was called
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
    """Errors (samples, n) as those given: each joint's own, begun anywhere, of either sign, forwards or backwards."""
    columns = []
    for column in errors.T:
        turned = np.roll(column, rng.integers(len(column))) * rng.choice([-1.0, 1.0])
        columns.append(turned[::-1] if rng.random() < 0.5 else turned)
    return np.stack(columns, axis=1)
