"""A batch of frames: the images of readable frames, and a reference for each requested frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Images: TypeAlias = "NDArray[Any] | Tensor"
"""(B, C, H, W), uint8, or float32 in [0, 1]; or a uint8 tensor on a device."""


@frozen
class FrameRef:
    """One requested frame.

    Attributes:
        video_idx: index of its video in the source.
        frame_idx: its index in that video.
        failure: why it cannot be read; such a frame has no image in its batch.
        known: (I, N, 2) labelled points of its instances, in image pixels; `None` without labels.
        time_s: its time stamp in seconds; `None` for sources without time stamps.
    """

    video_idx: int
    frame_idx: int
    failure: str | None = None
    known: NDArray[np.float32] | None = field(default=None, eq=False, repr=False)
    time_s: float | None = None


@frozen
class FrameBatch:
    """Frames of one video and one size.

    Attributes:
        images: the frames that could be read, in order.
        frames: all frames, in order; B of them have no failure.
    """

    images: Images = field(repr=lambda images: f"{images.dtype} {images.shape}", eq=False)
    frames: tuple[FrameRef, ...] = field()

    @images.validator
    def _check_images(self, _attribute: object, images: Images) -> None:
        if images.ndim != 4:
            raise ValueError(f"a batch is (B, C, H, W), found {images.shape = }")

    @frames.validator
    def _check_frames(self, _attribute: object, frames: tuple[FrameRef, ...]) -> None:
        readable = sum(frame.failure is None for frame in frames)
        if readable != len(self.images):
            raise ValueError(f"{len(self.images)} images for {readable} readable frames")

    @property
    def readable(self) -> tuple[FrameRef, ...]:
        """Return the frames that have an image."""
        return tuple(frame for frame in self.frames if frame.failure is None)


NO_IMAGES: NDArray[np.uint8] = np.zeros((0, 1, 1, 1), np.uint8)
"""Images of a batch in which no frame could be read."""
