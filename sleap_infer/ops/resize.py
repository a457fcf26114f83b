"""Antialiased bilinear resizing in the arithmetic that models were trained with, with or without torch.

uint8 images go through 16-bit fixed-point weights, columns first, with a rounding to uint8 in between: equal, bit by
bit, to PyTorch's native kernel for uint8 (`interpolate(..., mode="bilinear", antialias=True)` on AVX2 and arm64). Where
PyTorch is loaded anyway its kernel resizes colour, for which it is faster; gray is faster here.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any, TypeVar

import cv2
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Image = TypeVar("Image", bound=np.generic)

COLOURS = 3

MAX_WEIGHT = 1 << 15
MAX_PRECISION = 22

EXACT_IN_FLOAT32 = 16
"""Bits of weights up to which 255 times their sum is below 2**24, so that 32-bit floats hold it exactly."""

PIECE = 8
"""Rows that are made by one product: more, and most of it is with zeros."""

VALUES = 1 << 16
"""Numbers that products are made of at once: as many as stay in the cache; and few calls, for between two of them other
threads want Python's lock.
"""

PRODUCT = 1 << 18
"""Multiplications of one product: so few that no library starts threads for them."""


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
    if sys.modules.get("torch") is not None and images.shape[1] == COLOURS and not lines:
        return resize_with_torch(images, size)
    return resize_with_numpy(images, size)


def resize_with_torch(images: NDArray[Image], size: tuple[int, int]) -> NDArray[Image]:
    """Resize with PyTorch's kernel."""
    import torch

    usable = images.flags.writeable and min(images.strides) >= 0  # as PyTorch wants it
    tensor = torch.from_numpy(images if usable else images.copy())
    resized = torch.nn.functional.interpolate(tensor, size, mode="bilinear", antialias=True, align_corners=False)
    out: NDArray[Image] = resized.numpy()
    return out


def resize_with_numpy(images: NDArray[Image], size: tuple[int, int]) -> NDArray[Image]:
    """Resize with matrix products: columns first, as rows of the transposed image."""
    batch, channels = images.shape[:2]
    out = np.empty((batch, *size, channels), images.dtype)
    for image, resized in zip(images.transpose(0, 2, 3, 1), out, strict=True):
        wide = _turn(_resize_rows(_turn(np.ascontiguousarray(image)), size[1]))
        resized[...] = _resize_rows(wide, size[0])
    return out.transpose(0, 3, 1, 2)


def _turn(image: NDArray[Image]) -> NDArray[Image]:
    """(H, W, C) -> (W, H, C)."""
    height, width, channels = image.shape
    turned: NDArray[Image] = np.asarray(cv2.transpose(image)).reshape(width, height, channels)
    return turned


def _resize_rows(image: NDArray[Image], n_rows: int) -> NDArray[Image]:
    """Resize (H, W, C) to (n_rows, W, C)."""
    if len(image) == n_rows:
        return image
    lines = image.reshape(len(image), -1)
    exact = image.dtype == np.uint8
    pieces = _pieces(len(image), n_rows, exact)
    n_pieces, _, extent = pieces.weights.shape
    out = np.empty((n_pieces * PIECE, lines.shape[1]), image.dtype)
    width = max(PRODUCT // (PIECE * extent), 1)
    for left in range(0, lines.shape[1], width):
        strip = np.ascontiguousarray(lines[:, left : left + width])
        step = max(VALUES // (extent * strip.shape[1]), 1)
        for first in range(0, n_pieces, step):
            now = slice(first, first + step)
            old = strip.take(pieces.rows[now], axis=0).astype(pieces.weights.dtype, copy=False)
            summed = np.matmul(pieces.weights[now], old)
            if exact:
                summed += 0.5  # what follows rounds down; weights are of sum 1 to a thousandth, so none is above 255
            made = out[first * PIECE : (first + step) * PIECE]
            made[:, left : left + width] = summed.reshape(len(made), -1)
    return out[:n_rows].reshape(n_rows, *image.shape[1:])


@frozen
class _Pieces:
    """The products that make all rows, `PIECE` neighbouring rows each; P of them, each from R source rows.

    Attributes:
        rows: (P, R) the old rows.
        weights: (P, PIECE, R) of each in each new one; none in rows behind the last. For integer pixels they are
            integers times a power of two, in a type in which no sum is rounded, whatever the order.
    """

    rows: NDArray[np.int64]
    weights: NDArray[Any]


@lru_cache(maxsize=32)
def _pieces(old: int, new: int, exact: bool) -> _Pieces:
    rows = [_filter_row(row, old, new) for row in range(new)]
    precision = _precision(max(float(weights.max()) for _, weights in rows))
    one, kind = 1 << precision, np.float32 if precision <= EXACT_IN_FLOAT32 or not exact else np.float64
    some = [rows[start : start + PIECE] for start in range(0, new, PIECE)]
    extent = max(max(first + len(weights) for first, weights in piece) - piece[0][0] for piece in some)
    begins = np.array([min(piece[0][0], old - extent) for piece in some])
    matrices = np.zeros((len(some), PIECE, extent), kind)
    for row, (first, weights) in enumerate(rows):
        piece, line = divmod(row, PIECE)
        start = first - begins[piece]
        whole = np.floor(weights * one + 0.5) / one if exact else weights
        matrices[piece, line, start : start + len(weights)] = whole
    return _Pieces(begins[:, None] + np.arange(extent), matrices)


def _filter_row(row: int, old: int, new: int) -> tuple[int, NDArray[np.float64]]:
    """Return the first source row of an output row, and the weights of its source rows: a triangle filter of sum 1."""
    scale = old / new
    extent = max(scale, 1.0)
    centre = scale * (row + 0.5)
    first, last = max(int(centre - extent + 0.5), 0), min(int(centre + extent + 0.5), old)
    weights = np.maximum(0.0, 1.0 - np.abs((np.arange(first, last) - centre + 0.5) / extent))
    return first, weights / weights.sum()


def _precision(largest: float) -> int:
    """Bits to scale weights by, so that the largest still fits into 16."""
    for bits in range(MAX_PRECISION):
        if int(0.5 + largest * (1 << (bits + 1))) >= MAX_WEIGHT:
            return bits
    return MAX_PRECISION
