"""Where networks learn: on the processor, or on an accelerator that torch finds.

Networks that learn are moved, and what they learn from follows them; random numbers are drawn on the processor, and
simulation, rendering and all that acts stay there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

DEVICES = ("auto", "cpu", "cuda", "mps")
"""What `--device` may be; `auto` is the first accelerator that there is, or else the processor."""
CPU = torch.device("cpu")


def available_devices() -> tuple[str, ...]:
    """Return the devices of this machine, the fastest first."""
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return tuple(name for name, there in found.items() if there)


def find_device(name: str) -> torch.device:
    """Return the device that `name`, one of `DEVICES`, means here.

    Raises:
        ValueError: for an unknown device, or one that this machine does not have.
    """
    if name not in DEVICES:
        raise ValueError(f"device is '{name}', expected {', '.join(DEVICES)}")
    here = available_devices()
    if name not in ("auto", *here):
        raise ValueError(
            f"device is '{name}', but torch {torch.__version__} finds {', '.join(here)} here; choose one of these or "
            "auto, or install the torch that your driver needs"
        )
    return torch.device(here[0] if name == "auto" else name)


def device_of(network: nn.Module) -> torch.device:
    """Return the device that the parameters of `network` are on."""
    return next(network.parameters()).device


@contextmanager
def moved(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Keep `network` on `device` inside a `with` block; an optimiser of its parameters is made there."""
    before = device_of(network)
    network.to(device)
    try:
        yield
    finally:
        network.to(before)
