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

SPLIT = 256
"""Weights are multiplied in two parts, so that no sum is rounded."""

Size: TypeAlias = tuple[int, int]
"""(height, width); symbolic numbers while tracing open sizes."""


def resize_and_pad(images: Tensor, new: tuple[Tensor, Tensor], size: Size) -> Tensor:
    """Resize to a size that is only known when the graph runs, with black at right and bottom up to another.

    Args:
        images: (B, C, H, W) floats that hold integers from 0 to 255.
        new: height and width to resize to, int64 scalars.
        size: height and width of the result, not smaller.

    Returns:
        (B, C, *size), integers from 0 to 255.

    >>> ramp = torch.arange(8.0).expand(1, 1, 1, 8) * 10
    >>> resize_and_pad(ramp, (torch.tensor(1), torch.tensor(4)), (1, 5)).flatten().tolist()
    [7.0, 25.0, 45.0, 63.0, 0.0]
    """
    wide = _along_last_axis(images, new[1], size[1])
    return _along_last_axis(wide.transpose(2, 3), new[0], size[0]).transpose(2, 3)


def _along_last_axis(images: Tensor, new: Tensor, length: int) -> Tensor:
    weights, one = whole_weights(*filter_matrix(images.shape[-1], new, length, images.device))
    coarse = (weights / SPLIT).floor()
    # Products of integers below 2**24, which 32-bit floats hold exactly; so they do all that follows.
    high, low = (images @ part.transpose(0, 1) for part in (coarse, weights - coarse * SPLIT))
    whole = (high * SPLIT / one).floor()
    rest = (high * SPLIT - whole * one) + low + one / 2
    return (whole + (rest / one).floor()).clamp(0.0, 255.0)


def whole_weights(numerators: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights as 16-bit integers (in floats, halves rounded up), and the power of two they are scaled by.

    A quotient in 32-bit floats may be rounded to the wrong side of a half. What remains of the division tells, in whole
    numbers; runtimes multiply these, but not all of them divide them.
    """
    one = _unit((numerators / sums).max())
    near = (numerators / sums * one + 0.5).floor()
    above, row = (one * numerators).to(torch.int64), sums.to(torch.int64)
    left = (2 * above + row - 2 * row * near.to(torch.int64)).to(torch.float32)
    return near - (left < 0).to(torch.float32) + (left >= 2 * sums).to(torch.float32), one


def filter_matrix(old: int, new: Tensor, length: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Return the integer weights of a triangle filter as wide as the reduction, and their sums.

    A tap counts by its distance from the centre of the new bin, in units of the larger of the the old and the new bin.

    Returns:
        (length, old), zero in rows from `new` on, and the sum of each row (length, 1), 1 from `new` on; floats.
    """
    n_old = torch.scalar_tensor(old, dtype=torch.int64, device=device)
    row = torch.arange(length, device=device)[:, None]
    tap = torch.arange(old, device=device)[None]
    distance = (new * (2 * tap + 1) - n_old * (2 * row + 1)).abs()
    extent = 2 * torch.maximum(n_old, new)
    numerators = (extent - distance).to(torch.float32).clamp(min=0.0) * (row < new)
    return numerators, numerators.sum(dim=1, keepdim=True).clamp(min=1.0)


def _unit(largest: Tensor) -> Tensor:
    """Return the power of two that weights are scaled by, so that the largest still fits into 16 bits."""
    bits = torch.arange(1, MAX_PRECISION + 1, device=largest.device)
    fits = (0.5 + largest * torch.exp2(bits.to(torch.float32))).floor() < MAX_WEIGHT
    return torch.exp2(fits.sum().to(torch.float32))
