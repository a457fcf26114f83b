"""Pixel operations of preprocessing on arrays. NumPy; `ops.device_images` has the same functions for tensors."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sleap_infer.ops import bilinear
from sleap_infer.ops.resize import resize as resize

Image = TypeVar("Image", bound=np.generic)


def to_rgb(images: NDArray[Image]) -> NDArray[Image]:
    """Repeat gray: (B, 1, H, W) -> (B, 3, H, W)."""
    return np.repeat(images, 3, axis=1)


def to_gray(images: NDArray[Image], weights: tuple[float, float, float]) -> NDArray[Image]:
    """Weight red, green and blue: (B, 3, H, W) -> (B, 1, H, W), rounding down."""
    red, green, blue = (images[:, c : c + 1].astype(np.float32) * np.float32(weights[c]) for c in range(3))
    return (red + green + blue).astype(images.dtype)


def to_gray_of_tensorflow(images: NDArray[Image], weights: tuple[float, float, float]) -> NDArray[Image]:
    """Convert as `to_gray`, with the steps of TensorFlow's `rgb_to_grayscale`: integers go through floats in [0, 1]."""
    whole = images.dtype == np.uint8
    floats = images.astype(np.float32) / np.float32(255 if whole else 1)
    red, green, blue = (floats[:, c : c + 1] * np.float32(weights[c]) for c in range(3))
    return ((red + green + blue) * np.float32(255.5 if whole else 1)).astype(images.dtype)


def resize_bilinear(images: NDArray[Image], size: tuple[int, int], whole: bool = False) -> NDArray[Any]:
    """Resize without antialiasing: (B, C, H, W) -> (B, C, *size), floats in [0, 1], or of the same type if `whole`."""
    resized = bilinear.resize(images if whole else as_floats(images), size)
    return resized.astype(images.dtype) if whole else resized


def fit_bilinear(images: NDArray[Image], size: tuple[int, int]) -> tuple[NDArray[Image], float]:
    """Fit into a size by `bilinear.fitted_size`: (B, C, H, W) -> (B, C, *size) of the same type, and the factor."""
    factor, new, (top, left) = bilinear.fitted_size((images.shape[2], images.shape[3]), size)
    fitted = np.zeros((*images.shape[:2], *size), images.dtype)
    fitted[:, :, top : top + new[0], left : left + new[1]] = bilinear.resize(images, new).astype(images.dtype)
    return fitted, factor


def as_floats(images: NDArray[Any]) -> NDArray[np.float32]:
    """Convert uint8 to floats in [0, 1]; return floats unchanged."""
    return images * np.float32(1 / 255) if images.dtype == np.uint8 else images.astype(np.float32, copy=False)


def cut(images: NDArray[Image], which: NDArray[np.int64], first: NDArray[np.int64], side: int) -> NDArray[Image]:
    """Cut square crops out of fitted frames at whole pixels; black outside of the frame.

    Args:
        images: (B, C, H, W) frames.
        which: (I,) the frame of each crop.
        first: (I, 2) first pixel of each as (x, y).
        side: of the crops, in pixels.

    Returns:
        Crops (I, C, side, side).
    """
    channels, height, width = images.shape[1:]
    crops = np.zeros((len(which), side, side, channels), images.dtype).transpose(0, 3, 1, 2)
    for number, (frame, (x, y)) in enumerate(zip(which, first, strict=True)):
        top, bottom, left, right = max(y, 0), min(y + side, height), max(x, 0), min(x + side, width)
        if top < bottom and left < right:
            crops[number, :, top - y : bottom - y, left - x : right - x] = images[frame, :, top:bottom, left:right]
    return crops


cut_between = bilinear.cut


def pad(images: NDArray[Image], size: tuple[int, int]) -> NDArray[Image]:
    """Add black at right and bottom: (B, C, H, W) -> (B, C, *size)."""
    batch, channels, height, width = images.shape
    padded = np.zeros((batch, size[0], size[1], channels), images.dtype).transpose(0, 3, 1, 2)
    padded[:, :, :height, :width] = images
    return padded
