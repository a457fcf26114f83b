"""Frames that sleap-io reads: embedded in label files, in HDF5 datasets, in image stacks, in other containers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sleap_infer.errors import FrameReadError
from sleap_infer.frames.reader import Image

if TYPE_CHECKING:
    import sleap_io as sio


class SleapVideoReader:
    """Reads a `sleap_io.Video` through its own backend, frame by frame.

    Args:
        video: to be read.
    """

    def __init__(self, video: sio.Video) -> None:
        self._video = video
        self.embedded = _embedded_frames(video)
        """Indices of the frames that a label file embeds, ascending; `None` of a video that is not embedded."""

    @property
    def n_frames(self) -> int | None:
        """Number of frames; `None` of a video that is embedded in a label file, whose indices have gaps."""
        shape = self._video.shape
        return None if shape is None or self.embedded is not None else int(shape[0])

    def read(self, frame_inds: Sequence[int] | None) -> Iterator[tuple[int, Image | FrameReadError]]:
        """Read frames; see `Reader`."""
        if frame_inds is None:
            frame_inds = range(self.n_frames or 0) if self.embedded is None else self.embedded
        for frame_idx in frame_inds:
            yield frame_idx, self._read(frame_idx)

    def close(self) -> None:
        """Close the file."""
        self._video.close()

    def _read(self, frame_idx: int) -> Image | FrameReadError:
        name = f"frame {frame_idx} of {self._video.filename}"
        if self.embedded is not None and frame_idx not in self.embedded:
            return FrameReadError(f"{name} is not embedded there.")
        try:
            image = np.asarray(self._video[frame_idx])
        except (OSError, IndexError, KeyError, ValueError, RuntimeError, AttributeError) as error:
            return FrameReadError(f"{name} cannot be read: {type(error).__name__}: {error}")
        if image.dtype != np.uint8:
            return FrameReadError(f"{name} has {image.dtype} pixels. Convert it to 8 bits per channel.")
        image = image.reshape(*image.shape[:2], -1)
        return image[..., :3] if image.shape[2] >= 3 else image[..., :1]


def _embedded_frames(video: sio.Video) -> tuple[int, ...] | None:
    if video.backend is None and video.open_backend:
        video.open()
    frame_map = getattr(video.backend, "frame_map", None)
    return tuple(sorted(map(int, frame_map))) if frame_map else None


def is_cropped(video: sio.Video) -> bool:
    """Whether a video is a view on a part of another one."""
    return bool(getattr(video, "is_cropped", False))
