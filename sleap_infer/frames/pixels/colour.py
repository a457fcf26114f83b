"""Find out whether a video is gray: from frames that can show it, not from a black or a flat one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from sleap_infer.errors import FrameReadError
from sleap_infer.frames.reader import Image, Reader

N_LOOKS = 8
"""Frames that are looked at, spread over a video, where its first frame shows nothing."""

DARK, BRIGHT = 16, 239
"""Levels outside of which a pixel is black or white: the encoder leaves it no colour."""

MIN_SHARE = 0.05
"""Share of pixels between them that a gray picture needs to show that its video is gray."""

FLAT = 8
"""Range of levels of a picture that is uniform, apart from the noise of compression."""


def is_gray(image: Image) -> bool:
    """Return whether a picture holds no colour.

    Args:
        image: (H, W, C), C is 1 or 3.
    """
    return image.shape[2] == 1 or bool(
        np.array_equal(image[..., 0], image[..., 2]) and np.array_equal(image[..., 0], image[..., 1])
    )


def shows_gray(image: Image) -> bool | None:
    """Return what a picture shows about its video: gray, in colour, or, if it is black, white or flat, nothing.

    Args:
        image: (H, W, C), uint8 or float in [0, 1]; C is 1 or 3.

    >>> shows_gray(np.zeros((4, 4, 3), np.uint8)) is None
    True
    """
    levels = image if image.dtype == np.uint8 else image * np.float32(255)
    if not is_gray(image):
        return None if all(_range(levels[..., number]) <= FLAT for number in range(3)) else False
    first = levels[..., 0]
    middle = first[(first > DARK) & (first < BRIGHT)]
    return True if middle.size >= MIN_SHARE * first.size and _range(middle) > FLAT else None


def settle(looks: Iterator[Image], stated: bool | None = None) -> bool:
    """Decide whether a video is read as gray.

    The first frame decides where it can, as in sleap-io. Where it is black, white or flat, one frame in colour among
    the others makes it a video in colour.

    Args:
        looks: the first picture of the video, then some that are spread over it; no more are read than needed.
        stated: what a description of the video says. sleap-io finds that out from the first frame too, so it does not
            count where that frame shows nothing and others do.

    Returns:
        True: one channel is read. Without any picture: what was stated, else False.
    """
    first = next(looks, None)
    if first is None:
        return bool(stated)
    shown = shows_gray(first)
    if shown is not None:
        return shown if stated is None else stated
    others = [shows_gray(image) for image in islice(looks, N_LOOKS)]
    if False in others:
        return False
    return True if True in others or stated else is_gray(first)


def spread(n_frames: int, n_looks: int = N_LOOKS) -> list[int]:
    """Return indices of frames spread over a video, ascending, without repeats.

    >>> spread(100, 4), spread(3, 4)
    ([12, 37, 62, 87], [0, 1, 2])
    """
    return sorted({(2 * number + 1) * n_frames // (2 * n_looks) for number in range(n_looks)})


def has_colour(reader: Reader) -> bool:
    """Return whether a frame in colour is among some that are spread over a video of known length."""
    n_frames = reader.n_frames or 0
    looks = (image for _, image in reader.read(spread(n_frames))) if n_frames else iter(())
    return any(not isinstance(image, FrameReadError) and image.shape[2] > 1 for image in looks)


def with_channels(image: Image, grayscale: bool | None) -> Image:
    """Return a picture with one channel (the first), with three, or as it is."""
    if grayscale is None:
        return image
    return image[..., :1] if grayscale else np.broadcast_to(image, (*image.shape[:2], 3))


def _range(values: NDArray[np.generic]) -> float:
    return float(values.max()) - float(values.min()) if values.size else 0.0
