"""Frames that sleap-io reads: embedded in label files, in HDF5 datasets, in image stacks, in other containers."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sleap_infer.errors import FrameReadError
from sleap_infer.frames.colour import settle, spread, with_channels
from sleap_infer.frames.pixels import Scale, check_pixels
from sleap_infer.frames.reader import Image

if TYPE_CHECKING:
    import sleap_io as sio


class SleapVideoReader:
    """Reads a `sleap_io.Video` through its own backend, frame by frame.

    Whether it is gray is settled here (`frames.colour`), and not by sleap-io, which looks at the first frame only.

    Args:
        video: to be read.
    """

    def __init__(self, video: sio.Video) -> None:
        self._video = video
        self.embedded = _embedded_frames(video)
        """Indices of the frames that a label file embeds, ascending; `None` of a video that is not embedded."""
        stated = video.backend_metadata.get("grayscale") if video.backend is None else video.backend.grayscale
        self._stated: bool | None = stated
        self._grayscale: bool | None = False if stated is False else None
        self._backend: Any = None
        self._scale = Scale(self._looks)

    @property
    def n_frames(self) -> int | None:
        """Number of frames; `None` of a video that is embedded in a label file, whose indices have gaps."""
        shape = self._video.shape
        return None if shape is None or self.embedded is not None else int(shape[0])

    def read(self, frame_inds: Sequence[int] | None) -> Iterator[tuple[int, Image | FrameReadError]]:
        """Read frames; see `Reader`."""
        if frame_inds is None:
            frame_inds = self._all()
        if self._grayscale is None:
            self._grayscale = settle(self._pictures(), self._stated)
        for frame_idx in frame_inds:
            image = self._read(frame_idx)
            yield (
                frame_idx,
                image if isinstance(image, FrameReadError) else with_channels(image, self._grayscale or None),
            )

    def in_colour(self) -> Self:
        """Return the same reader, which gives the channels that are stored, whatever its frames look like."""
        other = copy.copy(self)
        other._grayscale = False
        return other

    def close(self) -> None:
        """Close the file."""
        if self._backend is not None:
            self._backend.close()
        self._video.close()

    def _all(self) -> Sequence[int]:
        return range(self.n_frames or 0) if self.embedded is None else self.embedded

    def _pictures(self) -> Iterator[Image]:
        """The first picture, then some that are spread over the video."""
        inds = self._all()
        for frame_idx in [*inds[:1], *(inds[place] for place in spread(len(inds)))]:
            image = self._read(frame_idx)
            if not isinstance(image, FrameReadError):
                yield image

    def _looks(self) -> Iterator[Image]:
        """Stored values of some frames."""
        inds = self._all()
        for place in spread(len(inds)):
            image = self._stored(inds[place])
            if not isinstance(image, FrameReadError):
                yield image

    def _read(self, frame_idx: int) -> Image | FrameReadError:
        stored = self._stored(frame_idx)
        if isinstance(stored, FrameReadError):
            return stored
        return check_pixels(stored, f"frame {frame_idx} of {self._video.filename}", self._scale)

    def _stored(self, frame_idx: int) -> Image | FrameReadError:
        name = f"frame {frame_idx} of {self._video.filename}"
        if self.embedded is not None and frame_idx not in self.embedded:
            return FrameReadError(f"{name} is not embedded there.")
        try:
            return np.asarray(self._opened()[frame_idx])
        except (OSError, IndexError, KeyError, ValueError, RuntimeError, AttributeError, TypeError) as error:
            return FrameReadError(f"{name} cannot be read: {type(error).__name__}: {error}")

    def _opened(self) -> Any:
        """A backend of our own, which does not decide about channels."""
        if self._backend is None:
            if self._video.backend is None:
                self._video.open()
            self._backend = copy.copy(self._video.backend)
            self._backend.grayscale = False
        return self._backend


def _embedded_frames(video: sio.Video) -> tuple[int, ...] | None:
    if video.backend is None and video.open_backend:
        video.open()
    frame_map = getattr(video.backend, "frame_map", None)
    return tuple(sorted(map(int, frame_map))) if frame_map else None


def is_cropped(video: sio.Video) -> bool:
    """Whether a video is a view on a part of another one."""
    return bool(getattr(video, "is_cropped", False))
