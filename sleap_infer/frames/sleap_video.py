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

    @property
    def n_frames(self) -> int | None:
        """Number of frames; of a video that is embedded in a label file, one past the last index that it can read."""
        shape = self._video.shape
        return None if shape is None else int(shape[0])

    def read(self, frame_inds: Sequence[int] | None) -> Iterator[tuple[int, Image | FrameReadError]]:
        """Read frames; see `Reader`."""
        for frame_idx in range(self.n_frames or 0) if frame_inds is None else frame_inds:
            yield frame_idx, self._read(frame_idx)

    def close(self) -> None:
        """Close the file."""
        self._video.close()

    def _read(self, frame_idx: int) -> Image | FrameReadError:
        try:
            image = np.asarray(self._video[frame_idx])
        except (OSError, IndexError, KeyError, ValueError, RuntimeError) as error:
            return FrameReadError(f"frame {frame_idx} of {self._video.filename}: {type(error).__name__}: {error}")
        if image.dtype != np.uint8:
            return FrameReadError(f"frame {frame_idx} of {self._video.filename} has {image.dtype} pixels, not 8 bits.")
        return image.reshape(*image.shape[:2], -1)[..., :3]
