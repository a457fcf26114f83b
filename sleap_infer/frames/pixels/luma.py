"""Gray pictures without the way through colour: where chroma says nothing, a table of 256 entries makes luma gray."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

import av
import cv2
import numpy as np
from numpy.typing import NDArray

ToRgb: TypeAlias = Callable[[Any], NDArray[np.uint8]]
"""From an `av.VideoFrame` to (H, W, 3)."""

PLANAR = frozenset({"yuv420p", "yuvj420p"})
"""Formats of pictures in three planes of bytes: what almost all videos are decoded to."""

NEUTRAL = 128
"""Chroma of gray."""

N_LEVELS = 256


def gray_from_luma(frame: Any, to_rgb: ToRgb) -> NDArray[np.uint8] | None:
    """Return the red channel of a gray decoded picture, as converted to RGB, in a third of the time.

    Args:
        frame: an `av.VideoFrame`.
        to_rgb: the conversion. It is run once for each kind of video, on all levels of luma.

    Returns:
        (H, W, 1) uint8; `None` where the picture has colour, or is of another form than those known here. FFmpeg
        converts pictures of odd sides in another way, which mixes neighbours.
    """
    if frame.format.name not in PLANAR or frame.rotation or frame.width % 2 or frame.height % 2:
        return None
    luma, *chroma = (_pixels(plane) for plane in frame.planes)
    if any(cv2.minMaxLoc(plane)[:2] != (NEUTRAL, NEUTRAL) for plane in chroma):
        return None
    table = _levels(frame.format.name, int(frame.colorspace), int(frame.color_range), to_rgb)
    return np.asarray(cv2.LUT(luma, table))[..., None]


def _pixels(plane: Any) -> NDArray[np.uint8]:
    """(H, W) of a plane, in its own memory."""
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


@lru_cache(maxsize=32)
def _levels(format_name: str, colorspace: int, color_range: int, to_rgb: ToRgb) -> NDArray[np.uint8]:
    """Return the converted value of each level of luma, (256,)."""
    frame = av.VideoFrame(N_LEVELS, 2, format_name)
    frame.colorspace, frame.color_range = colorspace, color_range
    luma, *chroma = (_pixels(plane) for plane in frame.planes)
    luma[:] = np.arange(N_LEVELS)
    for plane in chroma:
        plane[:] = NEUTRAL
    return np.ascontiguousarray(to_rgb(frame)[0, :, 0])
