"""`ops.resize` as mathematics that can be traced: the same fixed-point arithmetic, as products with filter matrices.

ONNX has an antialiased Resize, but TensorRT refuses it and its rounding is not that of training. A matrix product runs
everywhere and gives the very pixels of PyTorch's kernel for uint8. Sizes may be open: the matrices are computed in the
graph.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from sleap_infer.ops.resize import MAX_PRECISION, MAX_WEIGHT

Size: TypeAlias = tuple[int, int]
"""(height, width); symbolic numbers while tracing open sizes."""


def resize_and_pad(images: Tensor, new: tuple[Tensor, Tensor], size: Size) -> Tensor:
    """Resize to a size that is only known when the graph runs, with black at right and bottom up to another.

    Args:
        images: (B, C, H, W) floats that hold whole numbers from 0 to 255.
        new: height and width to resize to, int64 scalars.
        size: height and width of the result, not smaller.

    Returns:
        (B, C, *size), whole numbers from 0 to 255.

    >>> ramp = torch.arange(8.0).expand(1, 1, 1, 8) * 10
    >>> resize_and_pad(ramp, (torch.tensor(1), torch.tensor(4)), (1, 5)).flatten().tolist()
    [7.0, 25.0, 45.0, 63.0, 0.0]
    """
    wide = _along_last_axis(images, new[1], size[1])
    return _along_last_axis(wide.transpose(2, 3), new[0], size[0]).transpose(2, 3)


def _along_last_axis(images: Tensor, new: Tensor, length: int) -> Tensor:
    weights = filter_matrix(images.shape[-1], new, length, images.device)
    one = torch.exp2(_precision(weights.max()))
    summed = images @ (weights * one + 0.5).floor().transpose(0, 1)  # whole numbers below 2**24: exact in 32-bit floats
    return ((summed + one / 2) / one).floor().clamp(0.0, 255.0)


def filter_matrix(old: int, new: Tensor, length: int, device: torch.device | None = None) -> Tensor:
    """Weights of a triangle filter as wide as the reduction, (length, old); rows from `new` on are zero.

    A tap counts by its distance from the centre of the new cell, in units of the larger of the old and the new cell.
    Numerators and denominators stay whole numbers, so that there is nothing to round.
    """
    n_old = torch.scalar_tensor(old, dtype=torch.int64, device=device)
    row = torch.arange(length, device=device)[:, None]
    tap = torch.arange(old, device=device)[None]
    distance = (new * (2 * tap + 1) - n_old * (2 * row + 1)).abs().to(torch.float32)
    weights = (1.0 - distance / (2 * torch.maximum(n_old, new)).to(torch.float32)).clamp(min=0.0)
    weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-9)
    return weights * (row < new)


def _precision(largest: Tensor) -> Tensor:
    """Bits to scale weights by, so that the largest still fits into 16."""
    bits = torch.arange(1, MAX_PRECISION + 1, device=largest.device)
    fits = (0.5 + largest * torch.exp2(bits.to(torch.float32))).floor() < MAX_WEIGHT
    return fits.sum().to(torch.float32)
