"""A stream at an address, as a live source: read by PyAV (FFmpeg), with the same pixels as a video file."""

from __future__ import annotations

import threading
from collections.abc import Generator
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import av
import av.error
import numpy as np
from av.codec.context import Flags

from sleap_infer.errors import EmptySourceError, FrameReadError, SourceFormatError, SourceNotFoundError
from sleap_infer.frames.live.feed import TIMEOUT, Clock, DeviceFeed, LiveFrame
from sleap_infer.frames.pixels.colour import is_gray
from sleap_infer.frames.reader import Image
from sleap_infer.frames.readers.av import to_image

if TYPE_CHECKING:
    pass

OPTIONS = {"rtsp_transport": "tcp", "analyzeduration": "1000000", "fpsprobesize": "0", "max_delay": "0"}
"""RTSP over TCP, which loses nothing, and as little looking ahead as is needed to know the format. What is read
meanwhile is kept (no `nobuffer`): thrown away, it would take the first keyframe with it."""


class StreamFeed(DeviceFeed):
    """Gives frames as they arrive; see `frames.live.feed.Feed`. One channel, until a frame has colour.

    Args:
        address: that FFmpeg understands.
        timeout: seconds in which it must answer, and give its next frame.
        clock: that the frames' times are of.

    Attributes:
        must_be_read: True: frames come also while nobody asks for them.

    Raises:
        SourceNotFoundError: nothing answers there.
        SourceFormatError: what answers is not a video, or not one that can be decoded.
        EmptySourceError: no frame comes.
    """

    def __init__(self, address: str, timeout: float = TIMEOUT, clock: Clock = perf_counter) -> None:
        self.name = without_secrets(address)
        self._timeout, self._clock = timeout, clock
        self._index = -1
        self._container = self._open(address)
        try:
            self._decoded = self._decode(self._find_stream())
            first = self._find_first()
        except BaseException:
            self.close()
            raise
        self._waiting: LiveFrame | None = first
        self.first: Image = first.image

    def frames(self, stopped: threading.Event) -> Generator[LiveFrame | FrameReadError, None, None]:
        """Frames as they arrive; see `Feed`."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            yield waiting
        for found in self._decoded:
            if stopped.is_set():
                return
            yield found

    def close(self) -> None:
        """Close the connection."""
        self._container.close()

    def _open(self, address: str) -> Any:
        begin = perf_counter()
        try:
            return av.open(address, options=OPTIONS, timeout=(self._timeout, self._timeout))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if isinstance(error, av.error.ExitError) or perf_counter() - begin >= self._timeout:
                raise SourceNotFoundError(
                    f"{self.name} did not answer within {self._timeout:g} s. Check the address and that it is on the "
                    "air, or give it more time (--timeout)."
                ) from error
            if isinstance(error, av.error.EOFError):
                raise self._without_frames("it ended.") from error
            reason = getattr(error, "strerror", None) or error
            if isinstance(error, (av.error.InvalidDataError, av.error.ProtocolNotFoundError)):
                raise SourceFormatError(
                    f"{self.name} cannot be read as a stream ({reason}). Check that it is a video that "
                    "FFmpeg understands: ffprobe ADDRESS"
                ) from error
            raise SourceNotFoundError(
                f"{self.name} cannot be opened ({reason}). Check the address, and that it is on the air."
            ) from error

    def _find_stream(self) -> Any:
        stream = next(iter(self._container.streams.video), None)
        if stream is None or stream.codec_context is None:
            raise SourceFormatError(f"{self.name} has no video that FFmpeg can decode.")
        stream.thread_type = "SLICE"  # threads that each take a frame would hold back as many
        stream.codec_context.flags |= Flags.low_delay
        return stream

    def _find_first(self) -> LiveFrame:
        begin, reason = perf_counter(), "it ended."
        try:
            for found in self._decoded:
                if isinstance(found, LiveFrame):
                    return found
                if perf_counter() - begin > self._timeout:
                    raise SourceFormatError(
                        f"{self.name} gave no frame that can be decoded within {self._timeout:g} s. Keyframes may be "
                        "far apart: give it more time (--timeout), or set the sender to more of them."
                    )
        except FrameReadError as error:
            reason = str(error)
        raise self._without_frames(reason)

    def _without_frames(self, reason: str) -> EmptySourceError:
        return EmptySourceError(f"{self.name} answers, but gives no frame: {reason} Check the sender.")

    def _decode(self, stream: Any) -> Generator[LiveFrame | FrameReadError, None, None]:
        try:
            for packet in self._container.demux(stream):
                yield from self._frames_of(packet)
        except av.error.EOFError:
            return
        except av.error.FFmpegError as error:
            is_silent = isinstance(error, (av.error.ExitError, av.error.TimeoutError))
            reason = f"nothing came for {self._timeout:g} s" if is_silent else error.strerror or str(error)
            raise FrameReadError(f"frame {self._index + 1} of {self.name} did not come: {reason}.") from error

    def _frames_of(self, packet: Any) -> Generator[LiveFrame | FrameReadError, None, None]:
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            frames = [None]
        for frame in frames:
            now = self._clock()
            self._index += 1
            if frame is None or frame.is_corrupt:
                yield FrameReadError(f"frame {self._index} of {self.name} arrived damaged.")
                continue
            rgb = to_image(frame, grayscale=False)
            self._grayscale = self._grayscale and is_gray(rgb)
            image = rgb[..., :1] if self._grayscale else rgb
            yield LiveFrame(np.ascontiguousarray(image), self._index, now)


def without_secrets(address: str) -> str:
    """Return an address without user, password and query, which may be secret.

    >>> without_secrets("rtsp://me:word@10.0.0.7:554/stream?token=1")
    'rtsp://10.0.0.7:554/stream'
    """
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
