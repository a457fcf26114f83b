"""Pixel operations of preprocessing on tensors, on any device. Torch.

Results are bit-identical to those of `ops.host_images`, whose functions have the same names.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sleap_infer.ops import bilinear, bilinear_torch
from sleap_infer.ops.constants import constant
from sleap_infer.ops.resize_traced import resize_and_pad


def to_rgb(images: Tensor) -> Tensor:
    """Repeat gray: (B, 1, H, W) -> (B, 3, H, W)."""
    return images.expand(-1, 3, -1, -1)


def to_gray(images: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """Weight red, green and blue: (B, 3, H, W) -> (B, 1, H, W), rounding down."""
    factors = constant(weights, images.device, torch.float32)
    red, green, blue = (images[:, c : c + 1].to(torch.float32) * factors[c] for c in range(3))
    return (red + green + blue).to(images.dtype)


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize as `ops.resize.resize`: (B, C, H, W) -> (B, C, *size); floats in [0, 1] in steps of 1 / 255."""
    new = constant(size, images.device, torch.int64)
    unit = 1.0 if images.dtype == torch.uint8 else 255.0
    resized = resize_and_pad(images.to(torch.float32) * unit, (new[0], new[1]), size)
    return resized.to(images.dtype) if unit == 1.0 else resized / unit


def to_gray_of_tensorflow(images: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """Convert as `to_gray`, with the steps of TensorFlow's `rgb_to_grayscale`."""
    factors = constant(weights, images.device, torch.float32)
    floats = images.to(torch.float32) / 255.0
    red, green, blue = (floats[:, c : c + 1] * factors[c] for c in range(3))
    return ((red + green + blue) * 255.5).to(images.dtype)


def resize_bilinear(images: Tensor, size: tuple[int, int], whole: bool = False) -> Tensor:
    """Resize without antialiasing: (B, C, H, W) -> (B, C, *size), floats in [0, 1], or of the same type if `whole`."""
    if whole:
        return bilinear_torch.resize(images, size).to(images.dtype)
    return bilinear_torch.resize(images.to(torch.float32) * (1 / 255), size)


def fit_bilinear(images: Tensor, size: tuple[int, int]) -> tuple[Tensor, float]:
    """Fit into a size by `bilinear.fitted_size`: (B, C, H, W) -> (B, C, *size) of the same type, and the factor."""
    factor, new, (top, left) = bilinear.fitted_size((images.shape[2], images.shape[3]), size)
    inner = bilinear_torch.resize(images, new).to(images.dtype)
    return F.pad(inner, (left, size[1] - left - new[1], top, size[0] - top - new[0])), factor


def pad(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Add black at right and bottom: (B, C, H, W) -> (B, C, *size)."""
    height, width = images.shape[2:]
    return F.pad(images, (0, size[1] - width, 0, size[0] - height))


def cut(images: Tensor, which: Tensor, first: Tensor, side: int) -> Tensor:
    """Cut square crops at whole pixels; black outside of the frame.

    Args:
        images: (B, C, H, W).
        which: (I,) the frame of each crop.
        first: (I, 2) first pixel of each as (x, y).
        side: of the crops, in pixels.

    Returns:
        (I, C, side, side), of the same type.
    """
    height, width = images.shape[2:]
    line = torch.arange(side, device=images.device)
    columns, rows = first[:, 0, None] + line, first[:, 1, None] + line
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    rows, columns = rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None]
    pixels = images.permute(0, 2, 3, 1)[which[:, None, None], rows, columns]
    return (pixels * inside[..., None]).permute(0, 3, 1, 2)


cut_between = bilinear_torch.cut_crops
