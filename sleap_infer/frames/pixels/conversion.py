"""Stored pixels to images: channels and numbers that are understood, and an error that says why where they are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sleap_infer.errors import FrameReadError
from sleap_infer.frames.reader import Image

CHANNELS = (1, 3, 4)
"""Gray, RGB, and RGB with an alpha channel, which is left out."""

ALPHA = 4
LEVELS = 255

BLACK = 2.0
"""Levels out of 255. Floats of which the largest lies between 1 and this are refused. As a video from 0 to 255 they are
black throughout; they may also be images from 0 to 1 that interpolation or a filter has made brighter."""


class Scale:
    """The scale of the floats of one video: 0 to 1, or 0 to 255. A dark frame does not show it.

    Args:
        looks: gives stored frames that are spread over the video; read when the first frame of floats comes.
    """

    def __init__(self, looks: Callable[[], Iterator[NDArray[Any]]]) -> None:
        self._looks = looks
        self._top: float | None = None
        self._brightest = 0.0

    def to_unit(self, image: NDArray[Any], name: str) -> Image | FrameReadError:
        """Return floats as float32 in [0, 1].

        Args:
            image: floats.
            name: of the frame, for errors.
        """
        values = image.astype(np.float32)
        if not np.isfinite(values).all():
            return FrameReadError(f"{name} holds NaN or infinite values. Replace them.")
        if self._top is None:
            self._brightest = max((top for top in map(_top, (*self._looks(), values)) if top is not None), default=0.0)
            self._top = 1.0 if self._brightest <= 1 else float(LEVELS)
        if 1 < self._brightest < BLACK:
            return FrameReadError(
                f"{name} is of a video of floats up to {self._brightest:g}: too much for 0 to 1, and black for 0 to "
                "255. Clip the values to 0 to 1, or store images as uint8."
            )
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > self._top:
            return FrameReadError(
                f"{name} holds floats from {low:g} to {high:g}, and the video's range is 0 to {self._top:g}. Expected "
                "0 to 1 in all frames, or 0 to 255: store images as uint8."
            )
        return values if self._top == 1 else values / np.float32(LEVELS)


def _top(image: NDArray[Any]) -> float | None:
    """Return the largest value of a float frame; `None` if a value cannot be that of a pixel."""
    if not image.size or not np.issubdtype(image.dtype, np.floating) or not np.isfinite(image).all():
        return None
    low, high = float(image.min()), float(image.max())
    return high if low >= 0 and high <= LEVELS else None


def check_pixels(image: NDArray[Any], name: str, scale: Scale) -> Image | FrameReadError:
    """Return a stored frame as an image.

    Args:
        image: (H, W) or (H, W, C), C is 1, 3 or 4 (alpha, left out); uint8, or floats from 0 to 1 or 0 to 255.
        name: of the frame, for errors.
        scale: of its video.

    Returns:
        (H, W, C), C is 1 or 3, uint8 or float32 in [0, 1]; or the error that says why it is none.
    """
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or 0 in image.shape or image.shape[2] not in CHANNELS:
        return FrameReadError(
            f"{name} has the shape {image.shape}. Expected (height, width, channels) with 1 (gray), 3 (RGB) or 4 (RGB "
            "and alpha) channels."
        )
    image = image[..., :3] if image.shape[2] == ALPHA else image
    if image.dtype == np.uint8:
        return image
    if not np.issubdtype(image.dtype, np.floating):
        return FrameReadError(f"{name} has {image.dtype} pixels. Convert it to 8 bits per channel (uint8).")
    return scale.to_unit(image, name)
