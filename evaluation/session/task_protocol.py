"""The plan of a session by the task's own rules: where it is set up, what success is, how long a trial may take."""

from __future__ import annotations

from collections.abc import Mapping

from evaluation.session.protocol import PlacementArea, PlannedPolicy, Protocol
from policies.bundle import PolicyBundle
from robots.specs import SpecError
from sim.tasks import fitted_task
from sim.tasks.task import STRICT

RADIUS = 0.03
"""Distance that counts as success where the task's is not one distance [m]; its own rule decides then."""


def task_protocol(
    bundles: Mapping[str, PolicyBundle], trials: int, seed: int, name: str, strict: bool = False, thing: str = ""
) -> Protocol:
    """Plan `trials` a policy over the whole workspace of the bundles' task and arm; places follow from `seed`.

    Args:
        bundles: the policies by name, all for the same task and arm.
        trials: of each policy.
        seed: of places, order and trials.
        name: of the plan.
        strict: whether a trial lasts to its time limit, and success must hold then, within `STRICT`.
        thing: what policies for several things are asked for.

    Raises:
        SpecError: if the bundles are for different tasks or arms.
    """
    for what, found in (
        ("tasks", sorted({bundle.task for bundle in bundles.values()})),
        ("arms", sorted({bundle.robot.name for bundle in bundles.values()})),
    ):
        if len(found) > 1:
            raise SpecError(f"bundles are for the {what} {', '.join(found)}; one session is one task on one arm")
    first = next(iter(bundles.values()))
    task = fitted_task(first.task, first.robot)
    (x_low, x_high), (y_low, y_high) = task.workspace[:2]
    return Protocol(
        name=name,
        task=first.task,
        policies=tuple(PlannedPolicy(policy, bundle.hash) for policy, bundle in bundles.items()),
        trials=trials,
        seed=seed,
        workspace=PlacementArea(x_low, x_high, y_low, y_high),
        success_radius=STRICT if strict else task.success_radius or RADIUS,
        hold_time=task.hold_time,
        timeout=task.time_limit,
        to_the_end=strict,
        thing=thing,
    )
