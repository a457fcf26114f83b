"""Frames to network inputs: channels, size, scale, padding, crops. Images stay where they are, and uint8 but for frames
that a SLEAP model gets scaled.

Images are (B, C, H, W), uint8, or float32 in [0, 1]; or uint8 tensors on a device. Every step returns its input
untouched where it has nothing to do.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sleap_infer.model.settings import ImageSettings
from sleap_infer.ops import host_images
from sleap_infer.poses.geometry import Floats, Geometry

Images = TypeVar("Images", bound=Any)
"""An array, or a tensor on a device."""

AS_THEY_ARE = ImageSettings()

GRAY_WEIGHTS = (0.2989, 0.587, 0.114)
"""Weights of R, G and B in a gray value (ITU-R BT.601)."""


def preprocess(images: Images, settings: ImageSettings) -> tuple[Images, Geometry]:
    """Bring whole frames into the form that a network expects.

    Channels and fitted size first, then scale, then padding.

    Args:
        images: (B, C, H, W).
        settings: what to do.

    Returns:
        The network's input (B, C', H', W') and where its points lie in the image.
    """
    height, width = images.shape[2:]
    fitted, factor = fit_frames(images, settings)
    geometry = Geometry((height, width), factor, settings.input_scaling, half_pixel=settings.half_pixel)
    return scale_and_pad(fitted, settings), geometry


def fit_frames(images: Images, settings: ImageSettings) -> tuple[Images, float]:
    """Bring channels and size of frames into the form that the model expects.

    Returns:
        Fitted frames, and the factor they were resized by.
    """
    if settings.conventions.resizing == "antialiased":
        return fit_size(fit_channels(images, settings), settings)
    fitted, factor = fit_size(images, settings)
    return fit_channels(fitted, settings), factor


def fit_channels(images: Images, settings: ImageSettings) -> Images:
    """Repeat gray to three channels, or weight colour to gray (rounding down), where the settings ask for it."""
    channels = images.shape[1]
    if settings.ensure_rgb and channels == 1:
        return _pixels_of(images).to_rgb(images)
    if settings.ensure_grayscale and channels == 3:
        pixels = _pixels_of(images)
        is_ours = settings.conventions.resizing == "antialiased"
        return (pixels.to_gray if is_ours else pixels.to_gray_of_tensorflow)(images, GRAY_WEIGHTS)
    return images


def fit_size(images: Images, settings: ImageSettings) -> tuple[Images, float]:
    """Resize to fit into the maximum size, keeping the aspect ratio, and pad to that size at right and bottom.

    Returns:
        Images of exactly the maximal size, and the factor they were resized by.
    """
    height, width = images.shape[2:]
    size = (settings.max_height or height, settings.max_width or width)
    if (height, width) == size:
        return images, 1.0
    if settings.conventions.resizing == "bilinear":
        fitted: tuple[Images, float] = _pixels_of(images).fit_bilinear(images, size)
        return fitted
    factor = min(size[0] / height, size[1] / width)
    resized = _resize(images, (max(round(height * factor), 1), max(round(width * factor), 1)))
    return pad_to(resized, size), factor


def scale_and_pad(images: Images, settings: ImageSettings) -> Images:
    """Resize by the input scaling (sizes round down), then pad to a multiple of the stride at right and bottom."""
    if settings.input_scaling != 1.0:
        size = scaled_size((images.shape[2], images.shape[3]), settings)
        is_ours = settings.conventions.resizing == "antialiased"
        images = _resize(images, size) if is_ours else _pixels_of(images).resize_bilinear(images, size)
    return _pad_to_stride(images, settings.pad_to_stride)


def scaled_size(size: tuple[int, int], settings: ImageSettings) -> tuple[int, int]:
    """Return the (height, width) of scaled images, rounded down; TensorFlow multiplies in 32-bit floats.

    >>> scaled_size((41, 30), ImageSettings(input_scaling=0.5))
    (20, 15)
    """
    scale = settings.input_scaling
    if settings.conventions.resizing == "bilinear":
        height, width = (int(np.float32(side) * np.float32(scale)) for side in size)
    else:
        height, width = (int(side * scale) for side in size)
    return max(height, 1), max(width, 1)


def _pad_to_stride(images: Images, stride: int) -> Images:
    height, width = (-(-side // stride) * stride for side in images.shape[2:])
    return pad_to(images, (height, width))


def pad_to(images: Images, size: tuple[int, int]) -> Images:
    """Add black at right and bottom up to a size."""
    return images if images.shape[2:] == size else _pixels_of(images).pad(images, size)


def _resize(images: Images, size: tuple[int, int]) -> Images:
    return images if images.shape[2:] == size else _pixels_of(images).resize(images, size)


def _pixels_of(images: Any) -> Any:
    """Return the module for arrays or for tensors; torch is loaded already if an image is a tensor."""
    if isinstance(images, np.ndarray):
        return host_images
    from sleap_infer.ops import device_images

    return device_images


def frames_to_cut(images: Images, frames: ImageSettings, crops: ImageSettings) -> tuple[Images, float]:
    """Return the frames that crops are cut from.

    Args:
        images: (B, C, H, W).
        frames: how whole frames are fitted.
        crops: of the model that looks at the crops.

    Returns:
        Fitted frames, scaled already where the model's crops are cut after scaling; and the factor of the fitting.
    """
    if crops.conventions.cropping == "whole_pixels":
        return fit_size(images, frames)
    fitted, factor = fit_frames(images, frames)
    if crops.input_scaling != 1.0:
        size = scaled_size((fitted.shape[2], fitted.shape[3]), crops)
        fitted = _pixels_of(fitted).resize_bilinear(fitted, size, whole=True)
    return fitted, factor


def place_crops(centroids: Floats, side: int, settings: ImageSettings = AS_THEY_ARE) -> tuple[Floats, NDArray[Any]]:
    """Return the positions of square crops around centroids.

    Args:
        centroids: (I, 2) as (x, y) in fitted pixels.
        side: of the crops, in pixels; `Conventions.cropping` says of which frame.
        settings: of the model that looks at the crops.

    Returns:
        Where each crop's first pixel *counts* to be (I, 2), in fitted pixels, and which pixel of `frames_to_cut` it is
        (I, 2). With sleap-nn, the one is `centroid - side / 2 + 0.5`, not rounded as the other: sleap-nn reports points
        this way, and its models are trained for it. With SLEAP, the one is `centroid - side / 2`, and the other half a
        pixel more, between pixels.
    """
    if settings.conventions.cropping == "between_pixels":
        scale = np.float32(settings.input_scaling)
        scaled = centroids * scale
        between: Floats = scaled - np.float32((side - 1) / 2)
        return (scaled - np.float32(side / 2)) / scale, between
    origin: Floats = (centroids - np.float32(side / 2) + np.float32(0.5)).astype(np.float32)
    return origin, np.trunc(origin + side // 2).astype(np.int64) - side // 2


def take_crops(images: Images, which: Any, first: Any, side: int, settings: ImageSettings) -> Images:
    """Cut square crops and bring them into the form that a network expects.

    Args:
        images: (B, C, H, W), of `frames_to_cut`.
        which: (I,) the frame of each crop.
        first: (I, 2) first pixel of each as (x, y), of `place_crops`.
        side: of the crops, in pixels.
        settings: of the model that looks at them.

    Returns:
        (I, C, H', W').
    """
    pixels = _pixels_of(images)
    if settings.conventions.cropping == "whole_pixels":
        return scale_and_pad(pixels.cut(images, which, first, side), settings)
    return _pad_to_stride(pixels.cut_between(images, which, first, side), settings.pad_to_stride)
