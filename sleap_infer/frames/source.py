"""A source: one or more videos and their requested frames, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from attrs import define, evolve, field
from numpy.typing import NDArray

from sleap_infer.errors import FrameReadError, OptionError
from sleap_infer.frames.batch import NO_IMAGES, FrameBatch, FrameRef, Images
from sleap_infer.frames.indices import Indices, as_indices
from sleap_infer.frames.reader import AnyImage, Reader, time_of_last
from sleap_infer.frames.readers.av import VideoFileReader

if TYPE_CHECKING:
    import sleap_io as sio

Points = NDArray[np.float32]


@define
class VideoPart:
    """The requested frames of one video.

    Attributes:
        reader: reads it.
        video: returns its description for `sleap_io.Labels`.
        video_idx: its index in the source.
        frame_inds: ascending; `None` for all.
        known: (I, N, 2) points that a person gave, by frame; `None` without labels.
        first: position of the first of these frames among those of the whole job. Batches end at multiples of their
            size, so that a job that goes on somewhere cuts them as if it had begun at the start. Where all frames are
            wanted, it is the index of the first.
    """

    reader: Reader
    video: Callable[[], sio.Video]
    video_idx: int = 0
    frame_inds: Indices | None = field(default=None, converter=as_indices)
    known: Mapping[int, Points] | None = field(default=None, repr=False)
    first: int = 0

    @property
    def n_frames(self) -> int | None:
        """Return the number of requested frames; `None` if unknown."""
        if self.frame_inds is not None:
            return len(self.frame_inds)
        return None if self.reader.n_frames is None else max(self.reader.n_frames - self.first, 0)

    def some(self, start: int, stop: int | None = None) -> VideoPart:
        """Return the requested frames at positions from `start` up to `stop`, or to the end of the video.

        Args:
            start: position among the requested frames.
            stop: position after the last frame; if all frames of a video are requested, an index.
        """
        if self.frame_inds is not None:
            return evolve(self, frame_inds=self.frame_inds[start:stop], first=start)
        return evolve(self, frame_inds=None if stop is None else range(start, stop), first=start)

    def reaches(self, place: int) -> bool:
        """Return whether there is a requested frame at a position; reads the video if its length is unknown."""
        if self.frame_inds is not None:
            return place < len(self.frame_inds)
        if self.reader.n_frames is not None and place < self.reader.n_frames:
            return True
        return next(iter(self.some(place).read()), None) is not None

    def read(self) -> Iterator[tuple[int, AnyImage | FrameReadError]]:
        """Read the requested frames; see `Reader`."""
        if self.frame_inds is not None or self.first == 0:
            return self.reader.read(self.frame_inds)
        if isinstance(self.reader, VideoFileReader):
            return self.reader.read_from(self.first)
        if self.reader.n_frames is not None:
            rest = range(self.first, self.reader.n_frames)
            return self.reader.read(rest) if rest else iter(())
        return (found for found in self.reader.read(None) if found[0] >= self.first)

    def refer(self, frame_idx: int, failure: str | None = None, time_s: float | None = None) -> FrameRef:
        """Return what identifies a frame."""
        known = None if self.known is None else self.known.get(frame_idx)
        return FrameRef(self.video_idx, frame_idx, failure, known, time_s)


@define
class Source:
    """Frames of one or more videos, ready to be read; a context manager.

    Attributes:
        name: for people.
        parts: the requested frames of each video, in order.
        node_names: of the skeletons of a label file, each once, in order; `None` for a source without labels.
    """

    name: str
    parts: tuple[VideoPart, ...]
    node_names: tuple[str, ...] | None = None

    @property
    def n_frames(self) -> int | None:
        """Return the number of frames; `None` if the length of a video is unknown."""
        counts = [part.n_frames for part in self.parts]
        return None if None in counts else sum(count for count in counts if count is not None)

    def in_colour(self) -> Source:
        """Return the same source, read for models with three channels: no gray frame makes the others gray."""
        return evolve(self, parts=tuple(evolve(part, reader=part.reader.in_colour()) for part in self.parts))

    def videos(self) -> dict[int, sio.Video]:
        """Return descriptions of the videos for `sleap_io.Labels`, by index in the source."""
        return {part.video_idx: part.video() for part in self.parts}

    def batches(self, batch_size: int) -> Iterator[FrameBatch]:
        """Read all requested frames in order.

        Args:
            batch_size: maximum number of frames of a batch. A batch ends at multiples of it, and where the video,
                the size or the type changes.

        Raises:
            OptionError: the size is below 1.
        """
        if batch_size < 1:
            raise OptionError(f"batch_size is a whole number from 1 up, found {batch_size!r}.")
        for part in self.parts:
            yield from _in_batches(part, batch_size)

    def close(self) -> None:
        """Close all files."""
        for part in self.parts:
            part.reader.close()

    def __enter__(self) -> Self:
        """Enter the lifetime of the source."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


def _in_batches(part: VideoPart, batch_size: int) -> Iterator[FrameBatch]:
    images: list[AnyImage] = []
    frames: list[FrameRef] = []
    for place, (frame_idx, found) in enumerate(part.read(), start=part.first):
        image = None if isinstance(found, FrameReadError) else found
        changed = image is not None and bool(images) and _form(image) != _form(images[0])
        if frames and (changed or place % batch_size == 0):
            yield _to_batch(images, frames)
            images, frames = [], []
        frames.append(part.refer(frame_idx, str(found) if image is None else None, time_of_last(part.reader)))
        if image is not None:
            images.append(image)
    if frames:
        yield _to_batch(images, frames)


def _form(image: AnyImage) -> tuple[object, ...]:
    return (*image.shape, image.dtype)


def _to_batch(images: list[Any], frames: list[FrameRef]) -> FrameBatch:
    return FrameBatch(_stack(images) if images else NO_IMAGES, tuple(frames))


def _stack(images: list[Any]) -> Images:
    """(H, W, C) of one form -> (B, C, H, W), where they are."""
    if isinstance(images[0], np.ndarray):
        return np.stack(images).transpose(0, 3, 1, 2)
    import torch

    return torch.stack(images).permute(0, 3, 1, 2)
