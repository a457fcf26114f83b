"""Antialiased bilinear resizing, the very arithmetic that models were trained with, with or without torch.

uint8 images go through 16-bit fixed-point weights, columns first, with a rounding to uint8 in between: equal, bit by
bit, to PyTorch's native kernel for uint8 (`interpolate(..., mode="bilinear", antialias=True)` on AVX2 and arm64). Where
PyTorch is loaded anyway its kernel does the work, several times faster.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Image = TypeVar("Image", bound=np.generic)

MAX_WEIGHT = 1 << 15
MAX_PRECISION = 22


def resize(images: NDArray[Image], size: tuple[int, int]) -> NDArray[Image]:
    """Resize with a triangle filter as wide as the reduction, without shifting the picture.

    Args:
        images: (B, C, H, W), uint8 or float32.
        size: new (height, width) in pixels.

    Returns:
        (B, C, *size) of the same type.
    """
    if images.shape[2:] == size:
        return images
    lines = 1 in (*images.shape[2:], *size)  # some of these make PyTorch's kernel stop at an assertion of its own
    if sys.modules.get("torch") is not None and not lines:
        return resize_with_torch(images, size)
    return resize_with_numpy(images, size)


def resize_with_torch(images: NDArray[Image], size: tuple[int, int]) -> NDArray[Image]:
    """`resize` by PyTorch's kernel."""
    import torch

    usable = images.flags.writeable and min(images.strides) >= 0  # as PyTorch wants it
    tensor = torch.from_numpy(images if usable else images.copy())
    resized = torch.nn.functional.interpolate(tensor, size, mode="bilinear", antialias=True, align_corners=False)
    out: NDArray[Image] = resized.numpy()
    return out


def resize_with_numpy(images: NDArray[Image], size: tuple[int, int]) -> NDArray[Image]:
    """`resize` by sparse matrices of filter weights."""
    for axis, length in ((3, size[1]), (2, size[0])):
        if images.shape[axis] != length:
            images = _resize_axis(images, axis, length)
    return images


def _resize_axis(images: NDArray[Image], axis: int, length: int) -> NDArray[Image]:
    weights: Any
    weights, precision = _weights(images.shape[axis], length, fixed_point=images.dtype == np.uint8)
    lines = np.moveaxis(images, axis, 0)
    flat = lines.reshape(lines.shape[0], -1)
    if images.dtype == np.uint8:
        summed = weights @ flat.astype(np.int32)
        out = np.clip((summed + (1 << (precision - 1))) >> precision, 0, 255).astype(np.uint8)
    else:
        out = (weights @ flat).astype(images.dtype)
    return np.moveaxis(out.reshape(length, *lines.shape[1:]), 0, axis)


@lru_cache(maxsize=32)
def _weights(old: int, new: int, fixed_point: bool) -> tuple[csr_array, int]:
    """Rows of filter weights, (new, old), and the number of bits they are scaled by (0 for float weights)."""
    from scipy.sparse import csr_array

    scale = old / new
    reach = max(scale, 1.0)
    rows, columns, values = [], [], []
    for row in range(new):
        centre = scale * (row + 0.5)
        first, last = max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), old)
        taps = np.arange(first, last)
        weight = np.maximum(0.0, 1.0 - np.abs((taps - centre + 0.5) / reach))
        rows.append(np.full(len(taps), row))
        columns.append(taps)
        values.append(weight / weight.sum())
    row_index, column_index, value = (np.concatenate(part) for part in (rows, columns, values))
    precision = _precision(float(value.max())) if fixed_point else 0
    scaled = np.floor(value * (1 << precision) + 0.5).astype(np.int32) if fixed_point else value.astype(np.float32)
    return csr_array((scaled, (row_index, column_index)), shape=(new, old)), precision


def _precision(largest: float) -> int:
    """Bits to scale weights by, so that the largest still fits into 16."""
    for bits in range(MAX_PRECISION):
        if int(0.5 + largest * (1 << (bits + 1))) >= MAX_WEIGHT:
            return bits
    return MAX_PRECISION
