"""`ops.bilinear` for tensors, on a device or traced into a graph: the same steps in 32-bit floats. Torch.

Sizes may be open while tracing: symbolic numbers, or scalars that are only known when the graph runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from attrs import frozen
from torch import Tensor

Size: TypeAlias = tuple[int, int]
Pick: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Pixels at rows and columns."""


@frozen
class SourceAxis:
    """`ops.bilinear.SourceAxis` as tensors of any shape; `lower` and `upper` are int64."""

    lower: Tensor
    upper: Tensor
    weight: Tensor
    inside: Tensor


def resize(images: Tensor, size: Size) -> Tensor:
    """Resize to a new (height, width); (B, C, H, W) of any type -> floats of the same range, not rounded."""
    new = tuple(torch.scalar_tensor(side, device=images.device) for side in size)
    return resize_into(images, (new[0], new[1]), size)


def resize_into(
    images: Tensor, new: tuple[Tensor, Tensor], size: Size, begin: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Resize to a size that is only known when the graph runs, at a position in a black image.

    Args:
        images: (B, C, H, W).
        new: height and width to resize to, float scalars.
        size: height and width of the result, not smaller.
        begin: top and left, float scalars; 0 by default.

    Returns:
        (B, C, *size) floats, not rounded.
    """
    height, width = images.shape[2:]
    zero = images.new_zeros((), dtype=torch.float32)
    top, left = begin or (zero, zero)
    rows, columns = _resized(height, new[0], size[0], top), _resized(width, new[1], size[1], left)
    floats = images.to(torch.float32)
    first, last = floats.index_select(3, columns.lower), floats.index_select(3, columns.upper)
    wide = first + (last - first) * columns.weight
    above, below = wide.index_select(2, rows.lower), wide.index_select(2, rows.upper)
    resized = above + (below - above) * rows.weight[:, None]
    return resized * (rows.inside[:, None] & columns.inside)


def cut_crops(frames: Tensor, which: Tensor, first: Tensor, side: int) -> Tensor:
    """Cut crops that may begin between pixels, as `ops.bilinear.cut`.

    Args:
        frames: (B, C, H, W).
        which: (I,) the frame of each crop.
        first: (I, 2) where its first pixel lies, as (x, y); float32.
        side: of the crops, in pixels.

    Returns:
        (I, C, side, side), of the same type; integers are rounded down.
    """
    height, width = frames.shape[2:]
    inner = frames.permute(0, 2, 3, 1)

    def pick(rows: Tensor, columns: Tensor) -> Tensor:
        found = inner[which[:, None, None], rows[:, :, None], columns[:, None]]
        return found.permute(0, 3, 1, 2).to(torch.float32)

    rows, columns = crop_axis(first[:, 1], side, height), crop_axis(first[:, 0], side, width)
    inside = (rows.inside[:, :, None] & columns.inside[:, None])[:, None]
    return (_interpolate(pick, rows, columns) * inside).to(frames.dtype)


def cut_open_crops(images: Tensor, first: Tensor, side: int) -> Tensor:
    """Cut the same number of crops from each image, of a size that is open while tracing, as `ops.bilinear.cut`.

    Args:
        images: (B, C, H, W), floats that hold integers.
        first: (B, I, 2) where the first pixel of each crop lies, as (x, y).
        side: of the crops, in pixels.

    Returns:
        (B, I, C, side, side), integers.
    """
    height, width = images.shape[2:]

    def pick(rows: Tensor, columns: Tensor) -> Tensor:
        index = rows[..., :, None] * width + columns[..., None, :]
        flat = index.flatten(1)[:, None].expand(-1, images.shape[1], -1)
        return images.flatten(2).gather(2, flat).unflatten(2, index.shape[1:]).transpose(1, 2)

    rows, columns = crop_axis(first[..., 1], side, height), crop_axis(first[..., 0], side, width)
    inside = rows.inside[..., :, None] & columns.inside[..., None, :]
    return _interpolate(pick, rows, columns).floor() * inside[:, :, None]


def _interpolate(pick: Pick, rows: SourceAxis, columns: SourceAxis) -> Tensor:
    """Columns first, then rows, as TensorFlow does; (I, C, R, C') or (B, I, C, R, C')."""
    right, down = columns.weight[..., None, None, :], rows.weight[..., None, :, None]
    above, below = (
        (left := pick(lines, columns.lower)) + (pick(lines, columns.upper) - left) * right
        for lines in (rows.lower, rows.upper)
    )
    return above + (below - above) * down


def _resized(old: int, new: Tensor, length: int, begin: Tensor) -> SourceAxis:
    line = torch.arange(length, device=new.device, dtype=torch.float32) - begin
    scale = torch.scalar_tensor(old, dtype=torch.float32, device=new.device) / new.to(torch.float32)
    return _between((line + 0.5) * scale - 0.5, old, (line >= 0) & (line < new))


def crop_axis(first: Tensor, side: int, length: int) -> SourceAxis:
    """Return the source positions of one axis of crops, as `ops.bilinear.crop_axis`; (...) -> (..., side)."""
    last = torch.scalar_tensor(length, dtype=torch.float32, device=first.device) - 1.0
    extent = last.clamp(min=1.0)
    begin, end = first / extent, (first + float(side - 1)) / extent
    step = (end - begin) * extent / float(max(side - 1, 1))
    line = torch.arange(side, device=first.device, dtype=torch.float32)
    at = (begin * extent)[..., None] + line * step[..., None]
    return _between(at, length, (at >= 0) & (at <= last))


def _between(at: Tensor, length: int, inside: Tensor) -> SourceAxis:
    floor = at.floor()
    lower, upper = (edge.to(torch.int64).clamp(0, length - 1) for edge in (floor, at.ceil()))
    return SourceAxis(lower, upper, at - floor, inside)
