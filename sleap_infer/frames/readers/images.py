"""Frames that lie in image files, one each."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sleap_infer.errors import FrameReadError, SourceFormatError
from sleap_infer.frames.pixels.colour import is_gray, shows_gray, with_channels
from sleap_infer.frames.pixels.headers import too_large_image, too_large_pages
from sleap_infer.frames.reader import Image
from sleap_infer.model.readers.texts import explain, one_line

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


class ImageFilesReader:
    """Reads image files as the frames of one video. Like in SLEAP, gray files give one channel.

    Args:
        paths: of the files, in order.
        grayscale: one channel or three; by default as each file is.
    """

    def __init__(self, paths: Sequence[Path], grayscale: bool | None = None) -> None:
        self.paths = tuple(paths)
        self._grayscale = grayscale
        self._is_settled = False

    @property
    def n_frames(self) -> int:
        """Number of files."""
        return len(self.paths)

    def read(self, frame_inds: Sequence[int] | None) -> Iterator[tuple[int, Image | FrameReadError]]:
        """Read frames; see `Reader`."""
        grayscale = self._channels()
        for frame_idx in range(self.n_frames) if frame_inds is None else frame_inds:
            image = read_image(self.paths[frame_idx])
            yield frame_idx, image if isinstance(image, FrameReadError) else with_channels(image, grayscale)

    def in_colour(self) -> ImageFilesReader:
        """Return a reader of the same files, which gives three channels whatever they look like."""
        return ImageFilesReader(self.paths, False)

    def close(self) -> None:
        """Nothing to give back."""

    def _channels(self) -> bool | None:
        """One channel, three, or as each file is. A gray description counts only where the first file shows gray."""
        if self._grayscale and not self._is_settled:
            first = read_image(self.paths[0]) if self.paths else None
            shown = shows_gray(first) if isinstance(first, np.ndarray) else None
            self._grayscale, self._is_settled = None if shown is None else True, True
        return self._grayscale


class ImageStackReader:
    """Reads the pages of one TIFF file as the frames of one video.

    Args:
        path: of the file.
        grayscale: one channel or three; by default as each page is.

    Raises:
        SourceFormatError: its pages are too large.
    """

    def __init__(self, path: Path, grayscale: bool | None = None) -> None:
        self.path = path
        self._grayscale = grayscale
        self.n_frames = n_pages(path)
        reason = too_large_pages(path)
        if reason is not None:
            raise SourceFormatError(f"{path} is not read: {reason}.")

    def read(self, frame_inds: Sequence[int] | None) -> Iterator[tuple[int, Image | FrameReadError]]:
        """Read frames; see `Reader`."""
        for frame_idx in range(self.n_frames) if frame_inds is None else frame_inds:
            image = self._page(frame_idx)
            yield frame_idx, image if isinstance(image, FrameReadError) else with_channels(image, self._grayscale)

    def _page(self, frame_idx: int) -> Image | FrameReadError:
        name = f"page {frame_idx} of {self.path}"
        try:
            _, pages = cv2.imreadmulti(str(self.path), frame_idx, 1, flags=cv2.IMREAD_UNCHANGED)
        except (cv2.error, MemoryError) as error:
            return _undecoded(name, error)
        return _check(pages[0] if pages else None, name)

    def in_colour(self) -> ImageStackReader:
        """Return a reader of the same file, which gives three channels whatever its pages look like."""
        return ImageStackReader(self.path, False)

    def close(self) -> None:
        """Nothing to give back."""


def read_image(path: Path) -> Image | FrameReadError:
    """Read one image file as (H, W, C) uint8; an alpha channel is left out.

    Returns:
        The image, or the error that says why there is none.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return FrameReadError(f"{path} is no file.")
        data = np.fromfile(path, np.uint8)
        reason = too_large_image(data)
        if reason is not None:
            return FrameReadError(f"{path} is not read: {reason}.")
        if n_pages(path) > 1:
            return FrameReadError(f"{path} has {n_pages(path)} pages, of which a frame can be one only. Give it alone.")
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    except OSError as error:
        return FrameReadError(f"{path} cannot be read: {explain(error)}.")
    except (cv2.error, MemoryError) as error:
        return _undecoded(str(path), error)
    return _check(image, str(path))


def _undecoded(name: str, error: Exception) -> FrameReadError:
    is_memory = isinstance(error, MemoryError) or getattr(error, "code", 0) == cv2.Error.StsNoMem
    reason = "it does not fit into the free memory" if is_memory else f"it is damaged ({one_line(error)})"
    return FrameReadError(f"{name} cannot be decoded: {reason}.")


def _check(image: NDArray[Any] | None, name: str) -> Image | FrameReadError:
    if image is None:
        return FrameReadError(f"{name} is not a readable image: it is damaged or empty.")
    if image.dtype != np.uint8:
        return FrameReadError(f"{name} has {image.dtype} pixels. Convert it to 8 bits per channel.")
    image = image.reshape(*image.shape[:2], -1)
    if image.shape[2] in (1, 2):
        return image[..., :1]
    rgb = np.ascontiguousarray(image[..., 2::-1])
    return rgb[..., :1] if is_gray(rgb) else rgb


def n_pages(path: Path) -> int:
    """Return the number of images in a file; only TIFF files hold several."""
    return int(cv2.imcount(str(path))) if path.suffix.lower() in (".tif", ".tiff") else 1


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Sorting key under which `img2.png` comes before `img10.png`.

    >>> sorted([Path("img10.png"), Path("img2.png")], key=natural_order)[0].name
    'img2.png'
    """
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
