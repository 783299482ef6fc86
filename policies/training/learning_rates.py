"""Let some elements of a network learn more slowly than others, with any optimiser."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def paced_step(optimiser: torch.optim.Optimizer, network: nn.Module, pace: Mapping[str, Tensor]) -> None:
    """Take the optimiser's step, then keep of it only the share that `pace` allows each element.

    A smaller gradient would not do: Adam's step does not depend on its size.

    Args:
        optimiser: of the network's parameters, whose gradients are there.
        network: whose parameters `pace` names.
        pace: 0 (frozen) to 1 (free), in the shape of the parameter, by its name; those not named are free.
    """
    slow = [(parameter, pace[name]) for name, parameter in network.named_parameters() if name in pace]
    before = [parameter.detach().clone() for parameter, _ in slow]
    optimiser.step()
    with torch.no_grad():
        for (parameter, share), old in zip(slow, before):
            parameter.copy_(old + share * (parameter - old))
