"""Small tensors whose values are known beforehand, put on a device once instead of at each call."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import torch
from torch import Tensor

Numbers: TypeAlias = tuple[float, ...] | tuple[tuple[float, ...], ...]


def constant(values: Numbers, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return a cached tensor of these values; do not change it.

    Made afresh it would be copied from the host each time, and a GPU would wait for it.

    >>> constant((1, 2), torch.device("cpu"), torch.int64)
    tensor([1, 2])
    """
    if torch.compiler.is_compiling():
        return torch.tensor(values, device=device, dtype=dtype)
    return _kept(values, device, dtype)


def indices(values: tuple[int, ...], device: torch.device) -> Tensor:
    """Return cached indices along one dimension."""
    return constant(values, device, torch.int64)


@lru_cache(maxsize=256)
def _kept(values: Numbers, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, device=device, dtype=dtype)
