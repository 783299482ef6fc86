"""Trials of a bundle in simulation, without a store."""

from __future__ import annotations

from evaluation.session.task_protocol import task_protocol
from evaluation.session.trials import Trial
from evaluation.simulation.simulated_trials import SimulatedArm
from policies.bundle import PolicyBundle
from sim.randomization.parameters import ParameterSpace


def run_simulated(
    bundle: PolicyBundle,
    space: str | ParameterSpace,
    trials: int,
    seed: int = 0,
) -> list[Trial]:
    """Try `bundle` in its own task under `space`, on seeds that training never used; nothing is stored."""
    protocol = task_protocol({bundle.name: bundle}, trials, seed, "simulation")
    arm = SimulatedArm(bundle, protocol, space)
    return [arm.run(planned) for planned in protocol.schedule()]
