"""Frames of a video file, decoded in order by PyAV (FFmpeg).

Frame identity comes from the packets. Each packet of a video stream is one frame and carries the time at which it is
shown; the decoder gives frames in that order. A time that the decoder passes over is a frame that could not be decoded:
it keeps its place, and no frame behind it is shifted.
"""

from __future__ import annotations

import bisect
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from sleap_infer.errors import EmptySourceError, FrameReadError, SourceFormatError
from sleap_infer.frames.reader import Image

SEEK_AHEAD = 300
"""Frames that are decoded for nothing before seeking pays."""

MARGIN = 32
"""Frames before a sought one that are decoded too, so that all that it refers to is there."""

HIDDEN_FRAME_CODECS = ("vp8",)
"""Codecs in which a packet need not be a frame that is shown; their frames are just counted."""


class VideoFileReader:
    """Reads a video file. Videos whose first frame is gray give one channel, as in sleap-io.

    Args:
        path: of the file.
        grayscale: one channel or three; by default as the first frame is.

    Raises:
        SourceFormatError: this is not a video.
        EmptySourceError: it has no frames.
    """

    def __init__(self, path: Path, grayscale: bool | None = None) -> None:
        self.path = path
        self._grayscale = grayscale
        with self._open() as container:
            stream = container.streams.video[0]
            self._n_claimed = int(stream.frames)
            self._is_counted = stream.codec_context.name in HIDDEN_FRAME_CODECS
            self._require_frames(container)

    @property
    def n_frames(self) -> int | None:
        """Number of frames that the file claims to have; `None` if it does not say."""
        return self._n_claimed or None

    def read(self, frame_inds: Sequence[int] | None) -> Iterator[tuple[int, Image | FrameReadError]]:
        """Read frames; see `Reader`."""
        wanted = None if frame_inds is None else list(frame_inds)
        frames = self._decode_all() if wanted is None else self._decode_some(wanted)
        try:
            for frame_idx, frame in frames:
                yield frame_idx, frame if isinstance(frame, FrameReadError) else self._to_image(frame)
        finally:
            frames.close()

    def close(self) -> None:
        """Nothing to give back: the file is open only while it is read."""

    def _open(self) -> Any:
        try:
            container = av.open(str(self.path))
        except (av.error.FFmpegError, OSError) as error:
            raise SourceFormatError(
                f"{self.path} cannot be opened as a video ({error.strerror or error}). The file may be incomplete or "
                "of another format; try to repair it with: ffmpeg -i IN -c copy OUT.mp4"
            ) from error
        if not container.streams.video:
            container.close()
            raise SourceFormatError(f"{self.path} has no video stream.")
        container.streams.video[0].thread_type = "AUTO"
        return container

    def _require_frames(self, container: Any) -> None:
        stream = container.streams.video[0]
        try:
            if any(packet.size for packet in container.demux(stream)):
                return
        except av.error.FFmpegError as error:
            raise SourceFormatError(f"{self.path} cannot be read as a video ({error.strerror}).") from error
        raise EmptySourceError(f"{self.path} is a video without a single frame.")

    def _decode_all(self) -> Generator[tuple[int, Any], None, None]:
        """All frames from the start, and at the end what the file claims to have but has not."""
        n_read = 0
        with self._open() as container:
            for _, frame in _in_order(container, self._is_counted):
                yield n_read, frame or self._damaged(n_read)
                n_read += 1
        for frame_idx in range(n_read, self._n_claimed):
            yield frame_idx, self._ended(frame_idx, n_read)

    def _decode_some(self, wanted: list[int]) -> Generator[tuple[int, Any], None, None]:
        """Only the wanted frames; far ones are sought by their time."""
        if not wanted:
            return
        ranges = _runs(wanted, SEEK_AHEAD)
        if ranges[0][0] < SEEK_AHEAD and len(ranges) == 1:
            yield from self._pick(self._decode_all(), wanted)
            return
        times = self._times()
        for run in ranges:
            if times is None or run[0] < SEEK_AHEAD:
                yield from self._pick(self._decode_all(), run)
            else:
                yield from self._pick(self._decode_from(run[0], times), run)

    def _pick(self, frames: Iterator[tuple[int, Any]], wanted: list[int]) -> Iterator[tuple[int, Any]]:
        remaining = iter(wanted)
        target, last = next(remaining), -1
        for frame_idx, frame in frames:
            last = frame_idx
            if frame_idx == target:
                yield frame_idx, frame
                following = next(remaining, None)
                if following is None:
                    return
                target = following
        for frame_idx in (target, *remaining):
            yield frame_idx, self._ended(frame_idx, last + 1)

    def _times(self) -> list[int] | None:
        """Times of all frames in order, read without decoding; `None` if packets do not say them."""
        times = []
        with self._open() as container:
            try:
                for packet in container.demux(container.streams.video[0]):
                    if packet.size and not packet.is_discard:
                        times.append(packet.pts)
            except av.error.FFmpegError:
                pass
        return None if self._is_counted or None in times else sorted(times)

    def _decode_from(self, frame_idx: int, times: list[int]) -> Iterator[tuple[int, Any]]:
        """Frames from an index on, decoded from a keyframe well before it."""
        if frame_idx >= len(times):
            return
        index = {time: number for number, time in enumerate(times)}
        expected = frame_idx
        with self._open() as container:
            container.seek(times[frame_idx - MARGIN], stream=container.streams.video[0], backward=True)
            for time, frame in _in_order(container):
                number = -1 if time is None else index.get(time, -1)
                if number >= expected:
                    yield from ((missing, self._damaged(missing)) for missing in range(expected, number))
                    yield number, frame or self._damaged(number)
                    expected = number + 1
        yield from ((missing, self._damaged(missing)) for missing in range(expected, len(times)))

    def _damaged(self, frame_idx: int) -> FrameReadError:
        return FrameReadError(f"frame {frame_idx} of {self.path} cannot be decoded: its data are damaged.")

    def _ended(self, frame_idx: int, n_read: int) -> FrameReadError:
        claimed = f" of {self._n_claimed}" if self._n_claimed else ""
        return FrameReadError(f"frame {frame_idx} of {self.path} is not there: it ends after {n_read}{claimed} frames.")

    def _to_image(self, frame: Any) -> Image:
        rgb: Image = frame.reformat(format="rgb24").to_ndarray()
        if self._grayscale is None:
            self._grayscale = bool(np.array_equal(rgb[..., 0], rgb[..., 2]))
        return rgb[..., :1] if self._grayscale else rgb


def _in_order(container: Any, is_counted: bool = False) -> Iterator[tuple[int | None, Any]]:
    """Frames in the order in which they are shown.

    Args:
        container: open, with one video stream to read.
        is_counted: take frames as they come, without looking at times; so too where packets have no times.

    Yields:
        The time of each frame, and the frame, or `None` where the decoder passed over it.
    """
    pending: list[int] = []
    for packet in _packets(container):
        if packet.size and not packet.is_discard:
            is_counted = is_counted or packet.pts is None
            if not is_counted:
                bisect.insort(pending, packet.pts)
        for frame in _decode(packet):
            while pending and frame.pts is not None and pending[0] < frame.pts:
                yield pending.pop(0), None
            if pending and pending[0] == frame.pts:
                pending.pop(0)
            yield frame.pts, frame
    yield from ((time, None) for time in pending)


def _packets(container: Any) -> Iterator[Any]:
    """Packets of the video stream, the flushing one last; damage in the container is the end of it."""
    try:
        yield from container.demux(container.streams.video[0])
    except av.error.FFmpegError:
        return


def _decode(packet: Any) -> list[Any]:
    try:
        return [frame for frame in packet.decode() if not frame.is_corrupt]
    except av.error.FFmpegError:
        return []


def _runs(wanted: list[int], gap: int) -> list[list[int]]:
    """Ascending indices in runs without a larger gap.

    >>> _runs([1, 2, 9], 5)
    [[1, 2], [9]]
    """
    runs = [[wanted[0]]]
    for index in wanted[1:]:
        if index - runs[-1][-1] > gap:
            runs.append([index])
        else:
            runs[-1].append(index)
    return runs
