"""Frames that sleap-io reads: embedded in label files, in HDF5 datasets, in image stacks, in other containers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sleap_infer.errors import FrameReadError
from sleap_infer.frames.pixels.headers import too_large_image
from sleap_infer.frames.readers.stored import StoredReader

if TYPE_CHECKING:
    import sleap_io as sio


class SleapVideoReader(StoredReader):
    """Reads a `sleap_io.Video` through its own backend, frame by frame.

    Whether it is gray is decided here (`frames.pixels.colour`), not by sleap-io, which looks at the first frame only.

    Args:
        video: to be read.
    """

    def __init__(self, video: sio.Video) -> None:
        self._video = video
        self.paths = tuple(map(Path, video.filename if isinstance(video.filename, list) else [video.filename]))
        self.embedded = _embedded_frames(video)
        """Indices of the frames that a label file embeds, ascending; `None` of a video that is not embedded."""
        stated = video.backend_metadata.get("grayscale") if video.backend is None else video.backend.grayscale
        super().__init__(str(video.filename), stated)
        self._backend: Any = None

    @property
    def n_frames(self) -> int | None:
        """Number of frames; `None` of a video that is embedded in a label file, whose indices have gaps."""
        shape = self._video.shape
        return None if shape is None or self.embedded is not None else int(shape[0])

    def close(self) -> None:
        """Close the file."""
        if self._backend is not None:
            self._backend.close()
            self._backend = None
        self._video.close()

    def _all(self) -> Sequence[int]:
        return range(self.n_frames or 0) if self.embedded is None else self.embedded

    def _stored(self, frame_idx: int) -> NDArray[Any] | FrameReadError:
        name = f"frame {frame_idx} of {self.name}"
        if self.embedded is not None and frame_idx not in self.embedded:
            return FrameReadError(f"{name} is not embedded there.")
        try:
            backend = self._opened()
            if self.embedded is not None and backend.has_embedded_images:
                reason = too_large_image(backend.get_frame_raw_bytes(frame_idx))
                if reason is not None:
                    return FrameReadError(f"{name} is not read: {reason}.")
            return np.asarray(backend[frame_idx])
        except (OSError, LookupError, ValueError, RuntimeError, AttributeError, TypeError, MemoryError) as error:
            return FrameReadError(f"{name} cannot be read: {type(error).__name__}: {error}")

    def _opened(self) -> Any:
        """Return a backend of our own, which does not decide about channels."""
        if self._backend is None:
            if self._video.backend is None:
                self._video.open()
            self._backend = copy.copy(self._video.backend)
            self._backend.grayscale = False
        return self._backend


def _embedded_frames(video: sio.Video) -> tuple[int, ...] | None:
    if video.backend is None:
        video.open()
    frame_map = getattr(video.backend, "frame_map", None)
    return tuple(sorted(map(int, frame_map))) if frame_map else None


def is_cropped(video: sio.Video) -> bool:
    """Return whether a video is a view on a part of another one."""
    return bool(getattr(video, "is_cropped", False))
