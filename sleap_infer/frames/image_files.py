"""Frames that lie in image files, one each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from sleap_infer.errors import FrameReadError
from sleap_infer.frames.reader import Image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


class ImageFilesReader:
    """Reads image files as the frames of one video. Like in SLEAP, gray files give one channel.

    Args:
        paths: of the files, in order.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)

    @property
    def n_frames(self) -> int:
        """Number of files."""
        return len(self.paths)

    def read(self, frame_inds: Sequence[int] | None) -> Iterator[tuple[int, Image | FrameReadError]]:
        """Read frames; see `Reader`."""
        for frame_idx in range(self.n_frames) if frame_inds is None else frame_inds:
            yield frame_idx, read_image(self.paths[frame_idx])

    def close(self) -> None:
        """Nothing to give back."""


def read_image(path: Path) -> Image | FrameReadError:
    """Read one image file as (H, W, C) uint8; an alpha channel is left out.

    Returns:
        The image, or the error that says why there is none.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        return FrameReadError(f"{path} cannot be read: {error.strerror}.")
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if image is None:
        return FrameReadError(f"{path} is not a readable image: it is damaged or empty.")
    if image.dtype != np.uint8:
        return FrameReadError(f"{path} has {image.dtype} pixels. Convert it to 8 bits per channel.")
    image = image.reshape(*image.shape[:2], -1)
    if image.shape[2] in (1, 2):
        return image[..., :1]
    rgb = np.ascontiguousarray(image[..., 2::-1])
    return rgb[..., :1] if np.array_equal(rgb[..., 0], rgb[..., 2]) else rgb


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Sorting key under which `img2.png` comes before `img10.png`.

    >>> sorted([Path("img10.png"), Path("img2.png")], key=natural_order)[0].name
    'img2.png'
    """
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
