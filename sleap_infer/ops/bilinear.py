"""Bilinear resizing and cropping between pixels, without antialiasing, as TensorFlow computes them. numpy.

`ops.bilinear_torch` is the twin for tensors. Positions are computed in 32-bit floats, step by step as in TensorFlow's
kernels (`tf.image.resize` with half pixel centres, `tf.image.crop_and_resize`), since a position that is off by a last
bit may change a pixel that is rounded down.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

ONE, HALF, TWO = np.float32(1), np.float32(0.5), np.float32(2)


@frozen
class SourceAxis:
    """Source positions of the pixels of one axis.

    Attributes:
        lower: nearest source pixel at or before each position.
        upper: nearest source pixel at or after it.
        weight: weight of the upper one, from 0 to 1.
        inside: whether the position is in the image.
    """

    lower: Indices
    upper: Indices
    weight: Floats
    inside: NDArray[np.bool_]


def resized_axis(old: int, new: int) -> SourceAxis:
    """Return the source positions of a resized axis; pixel centres are half a pixel from the edges on both sides.

    >>> axis = resized_axis(4, 2)
    >>> axis.lower.tolist(), axis.upper.tolist(), axis.weight.tolist()
    ([0, 2], [1, 3], [0.5, 0.5])
    """
    at = (np.arange(new, dtype=np.float32) + HALF) * (np.float32(old) / np.float32(new)) - HALF
    return _between(at, old, np.ones(new, bool))


def crop_axis(first: float, side: int, length: int) -> SourceAxis:
    """Return the source positions of one axis of a crop; positions outside of the image are not `inside`.

    Args:
        first: where the first pixel of the crop lies.
        side: pixels of the crop.
        length: pixels of the image.

    >>> crop_axis(-0.5, 3, 2).inside.tolist()
    [False, True, False]
    """
    at = _crop_positions(np.float32(first), side, np.float32(length - 1))
    return _between(at, length, (at >= 0) & (at <= np.float32(length - 1)))


def edge_lines(side: int, lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether whole-pixel crops hold the first and the last line of an image.

    TensorFlow's rounding may put either line outside of the image, which depends on its position in the crop and on the
    length of the image. Lines between these two are never affected.

    Args:
        side: lines of a crop.
        lengths: (L,) lines of the images, from 1 up.

    Returns:
        (L, 2, side): the first and the last line of the image, by position in the crop.

    >>> edge_lines(5, np.array([6, 7]))[:, 1].tolist()
    [[True, True, True, False, True], [True, True, True, True, True]]
    """
    last = np.asarray(lengths, np.float32)[:, None, None] - ONE
    position = np.arange(side)
    first = np.concatenate([np.zeros_like(last), last], axis=1) - position.astype(np.float32)
    at = np.diagonal(_crop_positions(first, side, last), axis1=-2, axis2=-1)
    found: NDArray[np.bool_] = (at >= 0) & (at <= last)
    return found


def _crop_positions(first: Any, side: int, last: Any) -> Floats:
    """Positions of the lines of crops as TensorFlow computes them; (...) -> (..., side).

    Args:
        first: float32, where the first line of each crop lies.
        side: lines of a crop.
        last: float32, the last line of the image.
    """
    extent = np.maximum(last, ONE)
    begin, end = first / extent, (first + np.float32(side - 1)) / extent
    step = (end - begin) * extent / np.float32(max(side - 1, 1))
    at: Floats = (begin * extent)[..., None] + np.arange(side, dtype=np.float32) * step[..., None]
    return at


def resize(images: NDArray[Any], size: tuple[int, int]) -> Floats:
    """Resize to a new (height, width); (B, C, H, W) of any type -> floats of the same range, not rounded."""
    height, width = images.shape[2:]
    return _interpolate(
        images.astype(np.float32, copy=False), resized_axis(height, size[0]), resized_axis(width, size[1])
    )


def fitted_size(old: tuple[int, int], size: tuple[int, int]) -> tuple[float, tuple[int, int], tuple[int, int]]:
    """Return how an image is fitted into a size, as SLEAP and TensorFlow's `resize_with_pad` together do it.

    Where the sides do not go up, TensorFlow leaves a line black and may shift the image by it; points ignore that.

    Args:
        old: (height, width) of the image.
        size: (height, width) to fit into.

    Returns:
        The factor that points are scaled by, (height, width) that the image is resized to, and its top and left.

    >>> fitted_size((40, 50), (20, 30))
    (0.5, (20, 25), (0, 0))
    """
    height, width = np.float32(old[0]), np.float32(old[1])
    by_height, by_width = np.float32(size[0]) / height, np.float32(size[1]) / width
    factor = min(by_height, by_width)
    inner = (int(height * factor), size[1]) if by_height > by_width else (size[0], int(width * factor))
    inner = max(inner[0], 1), max(inner[1], 1)
    ratio = max(height / np.float32(inner[0]), width / np.float32(inner[1]))
    exact = height / ratio, width / ratio
    new = max(int(exact[0]), 1), max(int(exact[1]), 1)
    top, left = (max(int((np.float32(side) - length) / TWO), 0) for side, length in zip(inner, exact, strict=True))
    return float(factor), new, (top, left)


def cut(images: NDArray[Any], which: Indices, first: Floats, side: int) -> NDArray[Any]:
    """Cut square crops that may begin between pixels; black outside of the frame.

    Args:
        images: (B, C, H, W) frames.
        which: (I,) the frame of each crop.
        first: (I, 2) where its first pixel lies, as (x, y).
        side: of the crops, in pixels.

    Returns:
        Crops (I, C, side, side), of the same type; integers are rounded down.
    """
    channels, height, width = images.shape[1:]
    crops = np.empty((len(which), channels, side, side), images.dtype)
    for number, (frame, (x, y)) in enumerate(zip(which, first, strict=True)):
        rows, columns = crop_axis(y, side, height), crop_axis(x, side, width)
        top, left = rows.lower.min(), columns.lower.min()
        part = images[frame, None, :, top : rows.upper.max() + 1, left : columns.upper.max() + 1].astype(np.float32)
        cropped = _interpolate(part, _moved(rows, top), _moved(columns, left))[0]
        crops[number] = np.where(rows.inside[:, None] & columns.inside, cropped, 0).astype(images.dtype)
    return crops


def _between(at: Floats, length: int, inside: NDArray[np.bool_]) -> SourceAxis:
    floor = np.floor(at)
    lower, upper = (np.clip(edge, 0, length - 1).astype(np.int64) for edge in (floor, np.ceil(at)))
    return SourceAxis(lower, upper, at - floor, inside)


def _moved(axis: SourceAxis, by: int) -> SourceAxis:
    return SourceAxis(axis.lower - by, axis.upper - by, axis.weight, axis.inside)


def _interpolate(images: Floats, rows: SourceAxis, columns: SourceAxis) -> Floats:
    """Columns first, then rows, as TensorFlow does."""
    left, right = images[..., columns.lower], images[..., columns.upper]
    wide = left + (right - left) * columns.weight
    above, below = wide[:, :, rows.lower], wide[:, :, rows.upper]
    out: Floats = above + (below - above) * rows.weight[:, None]
    return out
