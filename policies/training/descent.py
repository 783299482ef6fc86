"""Gradient descent under a learning-rate schedule: the one training loop of everything that regresses on labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, repeat

import torch
from torch import Tensor, nn

from policies.training.checkpoints import UNKEPT, Checkpoint, Kept
from policies.training.progress import Progress, silent

AVERAGED = 100
"""Last steps whose mean loss `gradient_descent` returns."""
EVERY = 20
"""Steps between two reports of progress."""


@dataclass(frozen=True)
class Restraint:
    """What keeps a network that was carried from another task near to where it started; by default nothing does.

    Time is the number of the round for a state policy, the share of the gradient steps done for an encoder.
    """

    rate_scale: Callable[[float], Mapping[str, Tensor]] = lambda time: {}
    """From time to the factor on the optimiser's step, for each element of a parameter, by the parameter's name."""
    frozen: Callable[[float], tuple[str, ...]] = lambda time: ()
    """From time to the names of the modules that keep their weights and the statistics of their batch normalisation;
    never a module that it did not name before."""
    penalty: Callable[[nn.Module, Tensor, float], Tensor | None] = lambda network, batch, time: None
    """Added to the loss: a function of the network, its input (B, …) and time; None for nothing."""


FREE = Restraint()


@dataclass(frozen=True)
class Loss:
    """What one gradient step minimises."""

    value: Tensor
    """Loss that is reported."""
    penalty: Tensor | None = None
    """Further term that is not."""
    text: Callable[[], str] = lambda: ""
    """Describes the step, for the report of progress."""


def gradient_descent(
    optimiser: torch.optim.Optimizer,
    rates: Iterable[float],
    steps: int,
    loss: Callable[[int], Loss],
    progress: Progress = silent,
    network: nn.Module | None = None,
    rate_scale: Callable[[float], Mapping[str, Tensor]] = FREE.rate_scale,
    checkpoint: Checkpoint | None = None,
) -> float:
    """Take `steps` gradient steps, or those that are left of them.

    Args:
        optimiser: of the parameters that learn.
        rates: learning rate of each step.
        steps: how many.
        loss: from the number of a step to its loss.
        progress: called with the share of the steps that is done.
        network: names the parameters that `rate_scale` is about.
        rate_scale: from the share of the steps that is done to the factors of `scaled_step`.
        checkpoint: keeps all that the steps change, and has what an earlier process kept.

    Returns:
        The mean of the last `AVERAGED` losses.
    """
    checkpoint = checkpoint or UNKEPT.of("")
    kept = checkpoint.restore()
    recent = kept.recent
    for step, rate in zip(range(kept.step, steps), islice(rates, kept.step, None)):
        for group in optimiser.param_groups:
            group["lr"] = rate
        found = loss(step)
        optimiser.zero_grad()
        (found.value if found.penalty is None else found.value + found.penalty).backward()
        if network is None:
            optimiser.step()
        else:
            scaled_step(optimiser, network, rate_scale(step / steps))
        if step >= steps - AVERAGED:
            recent += float(found.value.detach()) / min(AVERAGED, steps)
        if step % EVERY == 0:
            progress(step / steps, found.text())
        if checkpoint.due or step == steps - 1:
            checkpoint.keep(Kept(step + 1, recent), float(found.value.detach()))
    return recent


def scaled_step(optimiser: torch.optim.Optimizer, network: nn.Module, scale: Mapping[str, Tensor]) -> None:
    """Take the optimiser's step, then keep of each element only the share that `scale` gives.

    Scaling the gradient would have no effect: the size of Adam's step does not depend on it.

    Args:
        optimiser: of the network's parameters, whose gradients have been computed.
        network: whose parameters `scale` names.
        scale: 0 (frozen) to 1 (free), in the shape of the parameter, by its name; parameters not named are free.
    """
    slow = [(parameter, scale[name]) for name, parameter in network.named_parameters() if name in scale]
    before = [parameter.detach().clone() for parameter, _ in slow]
    optimiser.step()
    with torch.no_grad():
        for (parameter, share), old in zip(slow, before):
            parameter.copy_(old + share * (parameter - old))


def adam_w(parameters: Iterable[nn.Parameter], rate: float, weight_decay: float = 0.01) -> torch.optim.AdamW:
    """Make AdamW, which updates all parameters in one kernel where their device has one: networks here are small, and
    the many kernels of the usual form take a twentieth of a step.
    """
    learned = list(parameters)
    fused = all(each.device.type in ("cpu", "cuda") for each in learned)
    return torch.optim.AdamW(learned, rate, weight_decay=weight_decay, fused=fused)


def constant(rate: float) -> Iterator[float]:
    """Yield the same learning rate for every step."""
    return repeat(rate)


def one_cycle(peak: float, steps: int) -> Iterator[float]:
    """Yield learning rates: a tenth of the steps up to `peak`, then a cosine down to a hundredth of it."""
    for step in range(steps):
        share = step / steps
        yield peak * min(1.0, 0.02 + share / 0.1) * cosine(share)


def cosine(share: float) -> float:
    """Return the factor of a cosine decay from 1 to 0.01 once `share` of the steps is done."""
    return 0.505 + 0.495 * math.cos(math.pi * share)
