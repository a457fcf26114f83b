"""Calibration clips: a few frames in memory for measurements."""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import frozen

from sleap_infer.frames import FrameBatch, Source, open_source
from sleap_infer.frames.indices import Indices
from sleap_infer.frames.readers.arrays import ArrayReader
from sleap_infer.frames.source import VideoPart

CLIP_FRAMES = 32
"""Maximum number of frames in a calibration clip."""


@frozen
class Clip:
    """A calibration clip: frames of one size from the start of a source.

    Attributes:
        images: (B, C, H, W) on the host, B >= 1.
        source: the same frames as a source.
        n_frames: number of frames of the whole source; `None` if unknown.
        remember: whether earlier measurements are used, and new ones saved.
    """

    images: Any
    source: Source
    n_frames: int | None
    remember: bool = True

    @property
    def size(self) -> tuple[int, int, int]:
        """Size of a frame as (height, width, channels)."""
        _, channels, height, width = self.images.shape
        return height, width, channels

    def first(self, n_frames: int) -> Source:
        """Return a source of the first frames only."""
        part = self.source.parts[0]
        few = VideoPart(part.reader, part.video, 0, Indices.of(range(min(n_frames, len(self.images)))), part.known)
        return Source(self.source.name, (few,), self.source.node_names)


def read_clip(source: Any, at_most: int | None = None) -> Clip | None:
    """Return a calibration clip of the first frames of a source; `None` if none of them can be read.

    Args:
        source: as in `Predictor.predict`; it is closed unless it was given opened.
        at_most: maximum number of its frames that will be predicted.

    Raises:
        SourceError: the source cannot be read.
    """
    opened = open_source(source)
    try:
        batch = next((batch for batch in opened.batches(CLIP_FRAMES) if len(batch.images)), None)
        return None if batch is None else _to_clip(opened, batch, at_most)
    finally:
        if opened is not source:
            opened.close()


def _to_clip(opened: Source, batch: FrameBatch, at_most: int | None) -> Clip:
    counts = [count for count in (opened.n_frames, at_most) if count is not None]
    known = {number: frame.known for number, frame in enumerate(batch.readable) if frame.known is not None}
    images = np.ascontiguousarray(batch.images)
    part = VideoPart(ArrayReader(images), opened.parts[0].video, known=known or None)
    return Clip(images, Source(opened.name, (part,), opened.node_names), min(counts, default=None))
