"""An accelerator that is pretended on the CPU: tensors in a memory of their own, which the CPU's cannot be mixed with.

torch takes them for those of its device `meta`, which stores nothing; here what it stores is an ordinary tensor, and
operations are computed by the CPU's kernels. As on a GPU, an operation on tensors of both devices is an error, except
for a single number or CPU indices, and `numpy` wants `cpu` first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

DEVICE = torch.device("meta")
INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
"""Operations that take indices of the CPU for tensors of a GPU."""


class PretendedTensor(torch.Tensor):
    """A tensor there."""

    @staticmethod
    def __new__(cls, stored: torch.Tensor) -> PretendedTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            stored.size(),
            strides=stored.stride(),
            storage_offset=stored.storage_offset(),
            dtype=stored.dtype,
            device=DEVICE,
            requires_grad=stored.requires_grad,
        )
        made.stored = stored.detach()
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(function, args, kwargs or {})


@contextmanager
def pretended_device() -> Iterator[torch.device]:
    """Return the device, which there is inside a `with` block."""
    with _Constructors(), _Operations():
        yield DEVICE


class _Constructors(TorchFunctionMode):
    """`torch.tensor`, which asks `meta` for memory without an operation."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is torch.tensor and kwargs.get("device") == DEVICE:
            return torch.tensor(*args, **{**kwargs, "device": "cpu"}).to(DEVICE)
        return function(*args, **kwargs)


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(function, args, kwargs or {})


def _compute(function: Any, args: Any, kwargs: dict) -> Any:
    flat, form = tree_flatten((args, kwargs))
    there = any(isinstance(each, PretendedTensor) for each in flat)
    name = function._schema.name
    wanted = kwargs.get("device")
    copies = name in ("aten::_to_copy", "aten::copy_")
    if there and not copies and not name.startswith(INDEXED):
        for each in flat:
            if isinstance(each, torch.Tensor) and not isinstance(each, PretendedTensor) and each.dim():
                raise RuntimeError(
                    f"{name}: expected all tensors to be on one device, found {tuple(each.shape)} on cpu"
                )
    own = [each.stored if isinstance(each, PretendedTensor) else each for each in flat]
    plain_args, plain_kwargs = tree_unflatten(own, form)
    if wanted is not None and torch.device(wanted).type == DEVICE.type:
        plain_kwargs["device"] = torch.device("cpu")
        there = True
    elif wanted is not None:
        there = False
    found = function(*plain_args, **plain_kwargs)
    written = {id(one): other for one, other in zip(own, flat) if isinstance(one, torch.Tensor)}
    if name == "aten::copy_":
        return args[0]

    def pretended(each: Any) -> Any:
        if not isinstance(each, torch.Tensor):
            return each
        return written[id(each)] if id(each) in written else PretendedTensor(each)

    return tree_map(pretended, found) if there else found
