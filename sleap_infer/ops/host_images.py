"""What preprocessing does to the pixels of arrays. numpy; `ops.device_images` is the twin for tensors."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sleap_infer.ops.resize import resize

__all__ = ["pad", "resize", "to_gray", "to_rgb"]

Image = TypeVar("Image", bound=np.generic)


def to_rgb(images: NDArray[Image]) -> NDArray[Image]:
    """Repeat gray: (B, 1, H, W) -> (B, 3, H, W)."""
    return np.repeat(images, 3, axis=1)


def to_gray(images: NDArray[Image], weights: tuple[float, float, float]) -> NDArray[Image]:
    """Weight red, green and blue: (B, 3, H, W) -> (B, 1, H, W), rounding down."""
    red, green, blue = (images[:, c : c + 1].astype(np.float32) * np.float32(weights[c]) for c in range(3))
    return (red + green + blue).astype(images.dtype)


def pad(images: NDArray[Image], size: tuple[int, int]) -> NDArray[Image]:
    """Add black at right and bottom: (B, C, H, W) -> (B, C, *size)."""
    batch, channels, height, width = images.shape
    padded = np.zeros((batch, size[0], size[1], channels), images.dtype).transpose(0, 3, 1, 2)
    padded[:, :, :height, :width] = images
    return padded
