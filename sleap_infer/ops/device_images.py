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
    """Resize as `ops.resize.resize`: (B, C, H, W) -> (B, C, *size)."""
    new = constant(size, images.device, torch.int64)
    return resize_and_pad(images.to(torch.float32), (new[0], new[1]), size).to(images.dtype)


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
