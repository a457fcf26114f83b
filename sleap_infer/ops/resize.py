"""Antialiased bilinear resizing, the very arithmetic that models were trained with, with or without torch.

uint8 images go through 16-bit fixed-point weights, columns first, with a rounding to uint8 in between: equal, bit by
bit, to PyTorch's native kernel for uint8 (`interpolate(..., mode="bilinear", antialias=True)` on AVX2 and arm64). Where
PyTorch is loaded anyway its kernel does the work, several times faster.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Image = TypeVar("Image", bound=np.generic)

MAX_WEIGHT = 1 << 15
MAX_PRECISION = 22

EXACT_IN_FLOAT32 = 16
"""Bits of weights up to which 255 times their sum is below 2**24, so that 32-bit floats hold it exactly."""

STRIP = 1 << 16
"""Pixels that are resized at once."""


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
    """`resize` by sums of weighted rows: the columns' turn comes first, as rows of the turned image."""
    out = np.empty((*images.shape[:2], *size), images.dtype)
    for plane, resized in zip(images.reshape(-1, *images.shape[2:]), out.reshape(-1, *size), strict=True):
        resized[...] = _resize_rows(_resize_rows(plane.T, size[1]).T, size[0])
    return out


def _resize_rows(plane: NDArray[Image], n_rows: int) -> NDArray[Image]:
    """Resize (H, W) to (n_rows, W), a strip of columns at a time, so that it stays in the processor's cache."""
    if len(plane) == n_rows:
        return plane
    taps = _taps(len(plane), n_rows, plane.dtype == np.uint8)
    out = np.empty((n_rows, plane.shape[1]), plane.dtype)
    step = max(STRIP // len(plane), 1)
    for first in range(0, plane.shape[1], step):
        columns = slice(first, first + step)
        strip = plane[:, columns].astype(taps.weights.dtype, order="C")
        summed = strip.take(taps.rows[0], axis=0)
        summed *= taps.weights[0]
        for rows, weights in zip(taps.rows[1:], taps.weights[1:], strict=True):
            neighbours = strip.take(rows, axis=0)
            neighbours *= weights
            summed += neighbours
        out[:, columns] = summed if taps.precision is None else _round(summed, taps.precision)
    return out


def _round(summed: NDArray[Any], precision: int) -> NDArray[Any]:
    """Sums of whole-numbered weights as pixels: half a step more, shifted down, limited."""
    summed += 2.0 ** (precision - 1)
    summed *= 2.0**-precision
    np.floor(summed, out=summed)
    return np.clip(summed, 0, 255, out=summed)


@frozen
class _Taps:
    """How rows are resized: the t-th neighbour of every new row, for each t.

    Attributes:
        rows: (T, new) the neighbours.
        weights: (T, new, 1) of each, 0 where a new row has fewer; whole numbers, in a type in which sums are exact.
        precision: bits that they are scaled by; `None` for weights as they are.
    """

    rows: NDArray[np.int64]
    weights: NDArray[Any]
    precision: int | None


@lru_cache(maxsize=32)
def _taps(old: int, new: int, exact: bool) -> _Taps:
    scale = old / new
    reach = max(scale, 1.0)
    starts, values = [], []
    for row in range(new):
        centre = scale * (row + 0.5)
        first, last = max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), old)
        weight = np.maximum(0.0, 1.0 - np.abs((np.arange(first, last) - centre + 0.5) / reach))
        starts.append(first)
        values.append(weight / weight.sum())
    weights = np.zeros((max(map(len, values)), new, 1))
    for row, weight in enumerate(values):
        weights[: len(weight), row, 0] = weight
    rows = np.minimum(np.array(starts) + np.arange(len(weights))[:, None], old - 1)
    if not exact:
        return _Taps(rows, weights.astype(np.float32), None)
    precision = _precision(float(weights.max()))
    kind = np.float32 if precision <= EXACT_IN_FLOAT32 else np.float64
    return _Taps(rows, np.floor(weights * (1 << precision) + 0.5).astype(kind), precision)


def _precision(largest: float) -> int:
    """Bits to scale weights by, so that the largest still fits into 16."""
    for bits in range(MAX_PRECISION):
        if int(0.5 + largest * (1 << (bits + 1))) >= MAX_WEIGHT:
            return bits
    return MAX_PRECISION
