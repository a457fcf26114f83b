"""A live feed: frames as they arrive, and the objects that all kinds of feeds share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from sleap_infer.errors import FrameReadError
from sleap_infer.frames.pixels.colour import with_channels
from sleap_infer.frames.reader import Image

if TYPE_CHECKING:
    import sleap_io as sio

Clock: TypeAlias = Callable[[], float]
"""Seconds, from any start."""

TIMEOUT = 10.0
"""Seconds in which a stream must answer, and give its next frame."""


@frozen
class LiveFrame:
    """One frame.

    Attributes:
        image: (H, W, C) uint8, RGB, or one channel where the source is gray.
        index: its position among all frames since the source was opened, taken or not; of a file, its index in the
            file.
        time: when it arrived, in seconds of the source's clock.
    """

    image: NDArray[np.uint8] = field(repr=lambda image: f"{image.dtype} {image.shape}", eq=False)
    index: int
    time: float


class Feed(Protocol):
    """Yields frames as they arrive, in the thread in which it is read."""

    name: str
    """For people and files; without passwords."""

    first: Image
    """A frame of the source, (H, W, C) uint8, to warm up with."""

    must_be_read: bool
    """Whether frames come, and grow old, also while nobody asks for them."""

    def frames(self, stopped: threading.Event) -> Generator[LiveFrame | FrameReadError, None, None]:
        """Wait for frames, one after the other, and give each at once.

        Args:
            stopped: set when no more is wanted.

        Returns:
            An iterator over frames; for a damaged frame, the error with its reason.

        Raises:
            FrameReadError: the source broke off.
        """

    def video(self, n_frames: int) -> sio.Video:
        """Return a description of `n_frames` frames for `sleap_io.Labels`."""

    def in_colour(self) -> None:
        """Give three channels from the next frame on, whatever frames look like."""

    def close(self) -> None:
        """Give the device, the connection or the file back."""


class DeviceFeed:
    """Shared by feeds without a file, which have one channel until three are requested."""

    name: str
    first: Image
    must_be_read = True
    _grayscale = True

    def video(self, n_frames: int) -> sio.Video:
        """Return a name and a size, without a file; see `Feed`."""
        return without_file(self.name, (n_frames, *self.first.shape))

    def in_colour(self) -> None:
        """Give three channels from the next frame on; see `Feed`."""
        self._grayscale = False
        self.first = with_channels(self.first, grayscale=False)


def without_file(name: str, shape: tuple[int, int, int, int]) -> sio.Video:
    """Describe frames that were not saved, for `sleap_io.Labels`.

    Args:
        name: of the source.
        shape: (n_frames, height, width, channels).
    """
    import sleap_io as sio

    return sio.Video(filename=name, backend_metadata={"type": "MediaVideo", "shape": shape}, open_backend=False)
