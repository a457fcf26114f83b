"""What preprocessing does to the pixels of tensors on a device. Torch.

Images are uint8, and become the same, bit by bit, as those of `ops.host_images`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

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


def pad(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Add black at right and bottom: (B, C, H, W) -> (B, C, *size)."""
    height, width = images.shape[2:]
    return F.pad(images, (0, size[1] - width, 0, size[0] - height))
