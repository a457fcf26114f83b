"""Newest frames of a camera, a stream, or a file played at its own rate; older ones are dropped.

To add a kind of live source: a class that implements `Feed` in a module of its own here, and a line in `open_feed`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Self

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer.errors import FrameReadError, OptionError, SourceFormatError
from sleap_infer.frames.live.feed import TIMEOUT, Clock, Feed, LiveFrame
from sleap_infer.frames.paths import VIDEO_SUFFIXES, existing
from sleap_infer.frames.source import Source, VideoPart

SECONDS_TO_END = 2.0
"""Seconds that closing waits for a device or a network that does not answer; its thread ends later."""

CAMERA_FILE = re.compile(r"/dev/video\d+")
LOCAL = "file://"
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://.*")


@frozen
class LiveCounts:
    """Counts of frames since the first request: `grabbed == taken + dropped + waiting`.

    Attributes:
        grabbed: frames that arrived.
        taken: frames that were requested in time.
        dropped: frames replaced by a newer one before they were taken, or waiting when the source was closed.
        waiting: 1 if a frame waits, else 0.
        failed: damaged frames; not among the grabbed ones.
    """

    grabbed: int = 0
    taken: int = 0
    dropped: int = 0
    waiting: int = 0
    failed: int = 0


class LiveSource:
    """Holds the newest frame of a feed, which is read in its own thread; a context manager.

    A frame that is not taken before the next one comes is dropped, and counted. Counting begins when the first frame is
    asked for: what came before, while a model was opened, is forgotten.

    Args:
        feed: that gives the frames.
        clock: that their times are of.
    """

    def __init__(self, feed: Feed, clock: Clock = perf_counter) -> None:
        self._feed, self.clock = feed, clock
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._newest: LiveFrame | None = None
        self._error: BaseException | None = None
        self._is_asked = self._has_ended = False
        self._n_grabbed = self._n_taken = self._n_dropped = self._n_failed = 0
        self._last_failure: str | None = None
        self._thread = threading.Thread(target=self._grab, name=f"sleap_infer {feed.name}", daemon=True)
        if feed.must_be_read:
            self._thread.start()

    @property
    def name(self) -> str:
        """Return the name for people and files, without passwords."""
        return self._feed.name

    @property
    def first(self) -> NDArray[np.uint8]:
        """A frame of the source to warm up with, (H, W, C) uint8; it is not counted."""
        return np.ascontiguousarray(self._feed.first)

    def in_colour(self) -> None:
        """Give three channels from now on, for models that need them."""
        self._feed.in_colour()

    @property
    def has_ended(self) -> bool:
        """Return whether no frame waits and none will arrive."""
        with self._changed:
            return self._has_ended and self._newest is None and self._error is None

    @property
    def last_failure(self) -> str | None:
        """Return why the last damaged frame could not be read."""
        return self._last_failure

    @property
    def n_grabbed(self) -> int:
        """Return the number of frames since the first request."""
        return self.counts().grabbed

    @property
    def n_dropped(self) -> int:
        """Return the number of frames that were not taken before a newer one arrived."""
        return self.counts().dropped

    def counts(self) -> LiveCounts:
        """Return the counts of frames, all at one moment."""
        with self._changed:
            waiting = int(self._newest is not None)
            return LiveCounts(self._n_grabbed, self._n_taken, self._n_dropped, waiting, self._n_failed)

    def take(self, timeout: float | None = None) -> LiveFrame | None:
        """Take the newest frame that was not taken yet, waiting for one; a file begins to play at the first call.

        Args:
            timeout: seconds to wait; `None` for as long as it takes.

        Returns:
            The frame, or `None`: none came in time, or the source has ended (`has_ended`).

        Raises:
            FrameReadError: the source was interrupted; once, after its last frame.
        """
        with self._changed:
            if not (self._is_asked or self._stopped.is_set()):
                self._is_asked = True
                if not self._feed.must_be_read:
                    self._thread.start()
            self._changed.wait_for(lambda: self._newest is not None or self._has_ended, timeout)
            if self._newest is not None:
                frame, self._newest = self._newest, None
                self._n_taken += 1
                return frame
            error, self._error = self._error, None
        if error is not None:
            raise error
        return None

    def __iter__(self) -> Iterator[LiveFrame]:
        """Yield the newest frame at each request, until the source ends."""
        while (frame := self.take()) is not None:
            yield frame

    def described(self, n_frames: int) -> Source:
        """Return a source of `n_frames` frames that cannot be read again, for labels."""
        part = VideoPart(Gone(self.name, n_frames), lambda: self._feed.video(n_frames))
        return Source(self.name, (part,))

    def close(self) -> None:
        """End the source; closing twice does nothing. A frame that waits is dropped."""
        with self._changed:
            was_read = self._is_asked or self._feed.must_be_read
            is_closed = self._stopped.is_set()
            self._stopped.set()
            self._end()
        if was_read:
            self._thread.join(SECONDS_TO_END)
        elif not is_closed:
            self._feed.close()

    def __enter__(self) -> Self:
        """Enter the lifetime of the source."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _grab(self) -> None:
        error: BaseException | None = None
        try:
            with closing(self._feed.frames(self._stopped)) as frames:
                for found in frames:
                    if not self._keep(found):
                        break
        except BaseException as raised:
            error = raised
        finally:
            self._feed.close()
        with self._changed:
            if not self._stopped.is_set():
                self._error, self._has_ended = error, True
                self._changed.notify_all()

    def _keep(self, found: LiveFrame | FrameReadError) -> bool:
        """Replace the newest frame; return `False` if the source is closed."""
        with self._changed:
            if self._stopped.is_set():
                return False
            if not self._is_asked:
                return True
            if isinstance(found, FrameReadError):
                self._n_failed, self._last_failure = self._n_failed + 1, str(found)
                return True
            self._n_grabbed += 1
            self._n_dropped += self._newest is not None
            self._newest = found
            self._changed.notify_all()
            return True

    def _end(self) -> None:
        self._n_dropped += self._newest is not None
        self._newest, self._error, self._has_ended = None, None, True
        self._changed.notify_all()


@frozen
class Gone:
    """A `Reader` of frames that were not saved: each is an error."""

    name: str
    n_frames: int

    def read(self, frame_inds: Sequence[int] | None) -> Iterator[tuple[int, FrameReadError]]:
        """Read frames; see `Reader`."""
        for frame_idx in range(self.n_frames) if frame_inds is None else frame_inds:
            yield frame_idx, FrameReadError(f"frame {frame_idx} of {self.name} was not saved.")

    def in_colour(self) -> Gone:
        """Return itself: there is no frame."""
        return self

    def close(self) -> None:
        """Do nothing."""


def open_live(source: str | int | Path, timeout: float = TIMEOUT) -> LiveSource:
    """Open a live source.

    Args:
        source: the index of a camera (`0`, `"0"`, or on Linux `"/dev/video0"`), the address of a stream (`"rtsp://..."`,
            `"http://..."`, `"udp://..."`, `"tcp://..."`), or a video file, which is played at its own rate.
        timeout: seconds in which a stream must answer, and give its next frame.

    Raises:
        SourceNotFoundError: there is no such camera or file, or nothing answers at the address.
        SourceFormatError: it is not a video.
        EmptySourceError: it has no frame.
        OptionError: the timeout is not above zero.
    """
    if not timeout > 0:
        raise OptionError(f"timeout is in seconds, above zero; found {timeout!r}.")
    return LiveSource(open_feed(source, timeout))


def open_feed(source: str | int | Path, timeout: float = TIMEOUT, clock: Clock = perf_counter) -> Feed:
    """Open the feed of a live source; see `open_live`."""
    text = str(source)
    is_path = isinstance(source, Path)
    if not is_path and (text.isdecimal() or CAMERA_FILE.fullmatch(text)):
        from sleap_infer.frames.live.camera import CameraFeed

        return CameraFeed(int(text) if text.isdecimal() else text, clock)
    if not is_path and ADDRESS.fullmatch(text) and not text.startswith(LOCAL):
        from sleap_infer.frames.live.stream import StreamFeed

        return StreamFeed(text, timeout, clock)
    path = existing(text if is_path else text.removeprefix(LOCAL))
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise SourceFormatError(
            f"{path} is not played live. Give a camera (0), an address (rtsp://...) or a video file "
            f"({', '.join(VIDEO_SUFFIXES)}); anything else that holds frames is for: sleap-infer predict"
        )
    from sleap_infer.frames.live.file import FilePlayer

    return FilePlayer(path, clock)
