"""Frames of an array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from sleap_infer.frames.arrays import as_video
from sleap_infer.frames.reader import Image


class ArrayReader:
    """Reads frames from an array in memory.

    Args:
        array: as in `frames.arrays.as_video`.
        channels_first: whether its second or its last axis are channels; by default as its shape says.

    Raises:
        ImageError: this is not a batch of images.
        OptionError: its channels are not where they are said to be.
    """

    def __init__(self, array: Any, channels_first: bool | None = None) -> None:
        self._frames: NDArray[Any] = as_video(array, channels_first).transpose(0, 2, 3, 1)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self._frames)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n_frames, height, width, channels)."""
        n_frames, height, width, channels = self._frames.shape
        return n_frames, height, width, channels

    def read(self, frame_inds: Sequence[int] | None) -> Iterator[tuple[int, Image]]:
        """Read frames; see `Reader`."""
        for frame_idx in range(self.n_frames) if frame_inds is None else frame_inds:
            yield frame_idx, self._frames[frame_idx]

    def in_colour(self) -> ArrayReader:
        """Return itself: an array has the channels that it has."""
        return self

    def close(self) -> None:
        """Nothing to give back."""
