"""A bundle's weights back in the torch network that it describes."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

import torch
from torch import nn

from policies.bundle.policy_bundle import BundleError, PolicyBundle

Network = TypeVar("Network", bound=nn.Module)


def require_kind(bundle: PolicyBundle, kind: str, advice: str = "", keys: Collection[str] = ()) -> None:
    """Check that `bundle` holds the weights of a network of `kind`, described by `keys`.

    Raises:
        BundleError: if it does not; the message ends with `advice`, or says that another version wrote the bundle.
    """
    if bundle.network.get("kind") != kind or not bundle.weights:
        raise BundleError(
            f"bundle '{bundle.name}' holds a network of kind '{bundle.network.get('kind', 'none')}', expected "
            f"'{kind}' with weights{advice}"
        )
    if missing := [key for key in keys if key not in bundle.network]:
        raise BundleError(
            f"bundle '{bundle.name}' was written by another version: its network is described without "
            f"{', '.join(missing)}; train it again"
        )


def with_weights(network: Network, bundle: PolicyBundle) -> Network:
    """Load the weights of `bundle` into `network` and return it, ready to act.

    Raises:
        BundleError: if they do not fit.
    """
    try:
        network.load_state_dict({key: torch.from_numpy(value.copy()) for key, value in bundle.weights.items()})
    except RuntimeError as error:
        raise BundleError(f"bundle '{bundle.name}': weights.npz does not fit its network: {error}") from None
    return network.eval()
