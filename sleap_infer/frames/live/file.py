"""A video file that is played at its own rate, as a live source."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from attrs import define

from sleap_infer.errors import EmptySourceError, FrameReadError
from sleap_infer.frames.descriptions import of_file
from sleap_infer.frames.live.feed import Clock, LiveFrame
from sleap_infer.frames.pixels.colour import with_channels
from sleap_infer.frames.reader import Image
from sleap_infer.frames.readers.av import VideoFileReader

if TYPE_CHECKING:
    import sleap_io as sio

Wait: TypeAlias = Callable[[threading.Event, float], object]
"""Waits for a number of seconds, or until the event is set."""

USUAL_RATE = 25.0
"""Frames per second where a file does not say."""


class FilePlayer:
    """Gives the frames of a video file at the times at which they are shown; see `frames.live.feed.Feed`.

    If decoding is slower than the frame rate, playback is delayed; no frame is left out here.

    Args:
        path: of the file.
        clock: that the frames' times are of.
        wait: waits between frames.

    Attributes:
        must_be_read: False: frames wait until they are requested.

    Raises:
        SourceFormatError: this is not a video.
        EmptySourceError: it has no frame that can be read.
    """

    must_be_read = False

    def __init__(self, path: Path, clock: Clock = perf_counter, wait: Wait = threading.Event.wait) -> None:
        self.name = str(path)
        self._path, self._clock, self._wait = path, clock, wait
        self._reader = VideoFileReader(path)
        images = (image for _, image in self._reader.read(None) if isinstance(image, np.ndarray))
        first = next(images, None)
        images.close()
        if first is None:
            raise EmptySourceError(f"{path} has no frame that can be decoded: its data are damaged.")
        self.first: Image = first

    def frames(self, stopped: threading.Event) -> Generator[LiveFrame | FrameReadError, None, None]:
        """Frames at their times, from the first call on; see `Feed`."""
        start, timeline = None, Timeline(1 / (self._reader.fps or USUAL_RATE))
        for index, found in self._reader.read(None):
            if isinstance(found, FrameReadError):
                yield found
                continue
            image = np.ascontiguousarray(found)
            start = self._clock() if start is None else start
            ahead = start + timeline.place(index, self._reader.time_s) - self._clock()
            if ahead > 0:
                self._wait(stopped, ahead)
            if stopped.is_set():
                return
            yield LiveFrame(image, index, self._clock())

    def video(self, n_frames: int) -> sio.Video:
        """Describe the file; see `Feed`."""
        return of_file(self._path)

    def in_colour(self) -> None:
        """Give three channels; see `Feed`."""
        self._reader = self._reader.in_colour()
        self.first = with_channels(self.first, grayscale=False)

    def close(self) -> None:
        """Nothing to give back: the file is open only while it is read."""


@define
class Timeline:
    """Times of frames that always go on, also where those of a file are missing or start anew.

    Attributes:
        interval: seconds between frames whose times do not say.

    >>> timeline = Timeline(0.5)
    >>> [timeline.place(*frame) for frame in [(0, 7.0), (1, 7.25), (2, None), (4, None), (5, 1.0), (6, 1.25)]]
    [0.0, 0.25, 0.75, 1.75, 2.25, 2.5]
    """

    interval: float
    _origin: float | None = None
    _index: int = -1
    _last: float = 0.0

    def place(self, index: int, shown_at: float | None) -> float:
        """Seconds from the first frame to this one.

        Args:
            index: of the frame; they ascend.
            shown_at: its time stamp in the file, in seconds.
        """
        is_first, steps = self._index < 0, index - self._index
        now = None if shown_at is None or self._origin is None else shown_at - self._origin
        if now is None or now <= self._last:
            now = 0.0 if is_first else self._last + steps * self.interval
            self._origin = None if shown_at is None else shown_at - now
        self._index, self._last = index, now
        return now
