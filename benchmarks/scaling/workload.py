"""What workers do while they are measured: draw labelled renders of two cameras, and roll out a round of DAgger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from policies.imitation.recipes import state_recipe
from policies.imitation.rollouts import Rollout, collect
from policies.models.state_network import StateNetwork
from policies.scoring.evaluator import FullLengthEnv
from policies.training.progress import silent
from robots.registry import load_robot
from sim.catalogue import parameter_space
from sim.datasets.labelled_renders import sample_renders
from sim.tasks import fitted_task
from sim.workers.pool import Workers

TASK, ROBOT, RIG = "pick_place", "franka_panda", "front_side"


def draw(workers: Workers, count: int, seed: int, progress: Callable[[float], None] = lambda share: None):
    """Draw renders with everything random."""
    space = parameter_space(fitted_task(TASK, load_robot(ROBOT), RIG), load_robot(ROBOT)).preset("full")
    return sample_renders(TASK, ROBOT, space, count, seed, workers, progress, cameras=RIG)


def roll_out(workers: Workers, steps: int, seed: int) -> None:
    """Collect a round in which expert and policy share the arms."""
    make = FullLengthEnv(TASK, ROBOT, "full")
    env = make.arm()
    env.close()
    network = StateNetwork.for_specs(env.observation_spec, env.action_spec, (256, 256)).eval()
    recipe = replace(state_recipe(TASK, ROBOT), round_steps=steps)
    rollout = Rollout(make, recipe, 1, seed, 20, env.action_spec.names, tuple(make.names()))
    collect(workers, network, rollout, silent)
