"""The interface of all readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from numpy.typing import NDArray

from sleap_infer.errors import FrameReadError

if TYPE_CHECKING:
    from torch import Tensor

Image: TypeAlias = NDArray[Any]
"""(H, W, C), uint8 or float32 in [0, 1]; C is 1 (gray) or 3 (RGB)."""

AnyImage: TypeAlias = "Image | Tensor"
"""The same, or a uint8 tensor of that shape on the device on which it was decoded."""


class Reader(Protocol):
    """Reads the frames of one video."""

    @property
    def n_frames(self) -> int | None:
        """Return the number of frames; `None` if unknown."""

    def read(self, frame_inds: Sequence[int] | None) -> Iterator[tuple[int, AnyImage | FrameReadError]]:
        """Read frames in ascending order.

        Args:
            frame_inds: ascending indices without repeats; `None` for all frames.

        Returns:
            An iterator over the index and the image of each frame; for an unreadable image, the error with its reason.
        """

    def in_colour(self) -> Reader:
        """Return a reader of the same video for models with three channels: no frame makes the others gray."""

    def close(self) -> None:
        """Close files."""


def time_of_last(reader: Reader) -> float | None:
    """Return the time stamp in seconds of the frame that `read` gave last; `None` for sources without time stamps."""
    time: float | None = getattr(reader, "time_s", None)
    return time


def times_s(reader: Reader) -> list[float] | None:
    """Return the time stamp of each frame in seconds; `None` if the source has none."""
    known: Callable[[], list[float] | None] | None = getattr(reader, "times_s", None)
    return None if known is None else known()
