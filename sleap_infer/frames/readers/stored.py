"""Shared by readers of stored arrays: channels, floats, and the samples that decide both for a whole video."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Self

from numpy.typing import NDArray

from sleap_infer.errors import FrameReadError
from sleap_infer.frames.pixels.colour import settle, spread, with_channels
from sleap_infer.frames.pixels.conversion import Scale, check_pixels
from sleap_infer.frames.reader import Image


class StoredReader(ABC):
    """Reads frames that are stored as arrays, one by one.

    Args:
        name: of the video, for errors.
        stated: whether a description says that the video is gray; `None` if there is none.
    """

    def __init__(self, name: str, stated: bool | None = None) -> None:
        self.name = name
        self._stated = stated
        self._grayscale: bool | None = False if stated is False else None
        self._scale = Scale(self._stored_looks)

    def read(self, frame_inds: Sequence[int] | None) -> Iterator[tuple[int, Image | FrameReadError]]:
        """Read frames; see `Reader`."""
        if self._grayscale is None:
            self._grayscale = settle(self._looks(), self._stated)
        for frame_idx in self._all() if frame_inds is None else frame_inds:
            image = self._read(frame_idx)
            if not isinstance(image, FrameReadError) and self._grayscale:
                image = with_channels(image, grayscale=True)
            yield frame_idx, image

    def in_colour(self) -> Self:
        """Return the same reader, which gives the channels that are stored, whatever its frames look like."""
        other = copy.copy(self)
        other._grayscale = False
        return other

    @abstractmethod
    def _all(self) -> Sequence[int]:
        """Return the indices of all frames."""

    @abstractmethod
    def _stored(self, frame_idx: int) -> NDArray[Any] | FrameReadError:
        """Return a frame as it is stored, (H, W) or (H, W, C)."""

    def _read(self, frame_idx: int) -> Image | FrameReadError:
        stored = self._stored(frame_idx)
        if isinstance(stored, FrameReadError):
            return stored
        return check_pixels(stored, f"frame {frame_idx} of {self.name}", self._scale)

    def _looks(self) -> Iterator[Image]:
        """Yield the first picture, then some that are spread over the video."""
        inds = self._all()
        found = (self._read(inds[place]) for place in [0, *spread(len(inds))] if place < len(inds))
        return (image for image in found if not isinstance(image, FrameReadError))

    def _stored_looks(self) -> Iterator[NDArray[Any]]:
        """Yield stored values of some frames that are spread over the video."""
        inds = self._all()
        found = (self._stored(inds[place]) for place in spread(len(inds)))
        return (image for image in found if not isinstance(image, FrameReadError))
