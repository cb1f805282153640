"""A device that is not there: what is on it holds its numbers, and mixes with the CPU's no more
than a GPU's would.
"""

from typing import Any, Self

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")  # that nothing initializes
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
INDEXED = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default)


class There(torch.Tensor):
    """A tensor on the device."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls: type[Self], inner: torch.Tensor) -> Self:
        """Look like ``inner``, on the device."""
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
            requires_grad=inner.requires_grad,
        )

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do it on the CPU, for tensors that are all on the device."""
        kwargs = kwargs or {}
        flat = tree_flatten((args, kwargs))[0]
        here = [t for t in flat if isinstance(t, torch.Tensor) and not isinstance(t, There)]
        by_index = func in INDEXED and isinstance(args[0], There)  # torch takes these to a GPU
        if any(tensor.ndim for tensor in here) and func not in MOVES and not by_index:
            raise RuntimeError(f"{func}: expected all tensors to be on the same device")
        found = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        if func is torch.ops.aten.copy_.default:
            return args[0]
        target = kwargs.get("device")
        return found if target is not None and torch.device(target) != DEVICE else _there(found)


class Device(TorchDispatchMode):
    """Inside it, ``DEVICE`` is a device that computes."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Take what is made on the device, or moved to it, there."""
        kwargs = kwargs or {}
        there = any(isinstance(t, There) for t in tree_flatten((args, kwargs))[0])
        if not there and kwargs.get("device") == DEVICE:
            return _there(func(*args, **tree_map(_inner, kwargs)))
        return func(*args, **kwargs)


def _inner(value: Any) -> Any:
    if isinstance(value, There):
        return value.inner
    return torch.device("cpu") if isinstance(value, torch.device) and value == DEVICE else value


def _there(found: Any) -> Any:
    return tree_map(lambda x: There(x) if isinstance(x, torch.Tensor) else x, found)
