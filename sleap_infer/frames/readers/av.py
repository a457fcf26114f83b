"""Frames of a video file, decoded in order by PyAV (FFmpeg); its pixels are those that OpenCV gives."""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import av
import av.error
import numpy as np

from sleap_infer.errors import EmptySourceError, FrameReadError, SourceFormatError
from sleap_infer.frames.indices import Indices
from sleap_infer.frames.pixels.colour import settle, spread
from sleap_infer.frames.pixels.limits import too_large
from sleap_infer.frames.pixels.luma import gray_from_luma
from sleap_infer.frames.reader import AnyImage, Image
from sleap_infer.frames.readers.packets import has_stable_times, in_order, is_place, n_claimed, packets, times_of_all
from sleap_infer.frames.readers.seeking import frames_from
from sleap_infer.model.readers.texts import explain
from sleap_infer.system.machine import available_cores

SEEK_AHEAD = 300
"""Frames that are decoded for nothing before seeking pays."""

UNSOUGHT = 1000
"""Frames within which a file is looked at that cannot be sought."""

LOCAL_ONLY = {"protocol_whitelist": "file,crypto,data"}
"""A playlist that is named like a video must not make FFmpeg read from the network."""

ONE_THREAD = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}
"""Since PyAV 17 the conversion to RGB takes all processor cores, which makes it half as fast."""


class VideoFileReader:
    """Reads a video file. Gray videos give one channel, as in sleap-io; see `frames.pixels.colour.settle`.

    Args:
        path: of the file.
        grayscale: one channel or three; by default as the frames are.
        stated: what a description of the video says about that.

    Raises:
        SourceFormatError: this is not a video.
        EmptySourceError: it has no frames.

    Attributes:
        fps: frames per second on average; `None` if the file does not say.
        time_s: time stamp in seconds of the frame that was read last; `None` where the file has none.
    """

    def __init__(self, path: Path, grayscale: bool | None = None, stated: bool | None = None) -> None:
        self.path = path
        self.grayscale = grayscale
        self._stated = stated
        self._repeats_gray = False
        self.time_s: float | None = None
        with self._open() as container:
            self._n_claimed = n_claimed(container)
            self.fps = float(container.streams.video[0].average_rate or 0) or None
            self._time_base = container.streams.video[0].time_base if has_stable_times(container) else None
            self._require_frames(container)

    @property
    def n_frames(self) -> int | None:
        """Number of frames that the file claims to have; `None` if it does not say."""
        return self._n_claimed or None

    def read(self, frame_inds: Sequence[int] | None) -> Iterator[tuple[int, AnyImage | FrameReadError]]:
        """Read frames; see `Reader`."""
        return self._to_images(self._decode_all() if frame_inds is None else self._decode_some(frame_inds))

    def read_from(self, begin: int) -> Iterator[tuple[int, AnyImage | FrameReadError]]:
        """Read all frames from an index on, the same ones as `read(None)` gives there."""
        return self._to_images(self._decode_rest(begin))

    def times_s(self) -> list[float] | None:
        """When each frame is shown, in seconds; `None` where the file does not say."""
        with self._open() as container:
            times, unit = times_of_all(container), container.streams.video[0].time_base
        return None if times is None or unit is None else [float(time * unit) for time in times]

    def in_colour(self) -> Self:
        """Return the same reader, which gives three channels whatever its frames look like."""
        other = copy.copy(self)
        other.grayscale, other._repeats_gray = False, True
        return other

    def settle_channels(self) -> bool:
        """Return whether the video is read as gray; where that is open, look at frames of it once."""
        if self.grayscale is None:
            self.grayscale = settle(self._looks(), self._stated)
        return self.grayscale

    def count(self) -> int:
        """Return the number of frames, counted in the packets of the whole file."""
        with self._open() as container:
            return sum(map(is_place, packets(container)))

    def close(self) -> None:
        """Nothing to give back: the file is open only while it is read."""

    def _to_images(
        self, frames: Generator[tuple[int, Any], None, None]
    ) -> Iterator[tuple[int, AnyImage | FrameReadError]]:
        self.settle_channels()
        try:
            for frame_idx, frame in frames:
                found = frame if isinstance(frame, FrameReadError) else self._to_image(frame)
                self.time_s = self._seconds(frame.pts)
                yield frame_idx, found
        finally:
            frames.close()

    def _seconds(self, pts: int | None) -> float | None:
        return None if pts is None or self._time_base is None else float(pts * self._time_base)

    def _open(self) -> Any:
        try:
            container = av.open(f"file:{self.path}", options=LOCAL_ONLY)  # else `a:b.mp4` would be an address
        except av.error.EOFError as error:
            raise self._without_frames() from error
        except (av.error.FFmpegError, OSError) as error:
            raise self._not_opened(error) from error
        stream = next(iter(container.streams.video), None)
        if stream is None or stream.codec_context is None:
            is_empty = not len(container.streams)
            container.close()
            if is_empty:
                raise self._without_frames()
            lack = "has no video stream" if stream is None else "is compressed in a way that FFmpeg does not know"
            raise SourceFormatError(f"{self.path} {lack}. Convert it first with: ffmpeg -i IN -c:v libx264 OUT.mp4")
        reason = too_large(stream.codec_context.height, stream.codec_context.width)
        if reason is not None:
            container.close()
            raise SourceFormatError(f"{self.path} is not read: {reason}.")
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = max(available_cores() - 1, 1)
        return container

    def _not_opened(self, error: OSError) -> SourceFormatError:
        try:  # FFmpeg's words are about the content; those of the system, about the file, come first
            with self.path.open("rb"):
                pass
        except OSError as reason:
            return SourceFormatError(f"{self.path} cannot be opened: {explain(reason)}.")
        return SourceFormatError(
            f"{self.path} cannot be opened as a video ({error.strerror or error}). The file may be incomplete or "
            "of another format; try to repair it with: ffmpeg -i IN -c copy OUT.mp4"
        )

    def _require_frames(self, container: Any) -> None:
        try:
            if any(packet.size for packet in container.demux(container.streams.video[0])):
                return
        except av.error.FFmpegError as error:
            raise SourceFormatError(f"{self.path} cannot be read as a video ({error.strerror}).") from error
        raise self._without_frames()

    def _without_frames(self) -> EmptySourceError:
        return EmptySourceError(f"{self.path} is a video without a single frame, or it is incomplete. Record it again.")

    def _decode_all(self) -> Generator[tuple[int, Any], None, None]:
        """All frames from the start, and at the end what the file claims to have but has not."""
        n_read = 0
        with self._open_to_decode() as container:
            for pts, frame in in_order(container):
                yield n_read, frame or self._damaged(n_read, pts)
                n_read += 1
        for frame_idx in range(n_read, self._n_claimed):
            yield frame_idx, self._ended(frame_idx, n_read)

    def _decode_some(self, wanted: Sequence[int]) -> Generator[tuple[int, Any], None, None]:
        """Only the wanted frames; far ones are sought by their time."""
        times, is_known = None, False
        for run in Indices.of(wanted).runs(SEEK_AHEAD):
            if run[0] >= SEEK_AHEAD and not is_known:
                with self._open() as container:
                    times, is_known = times_of_all(container), True
            if times is None or run[0] < SEEK_AHEAD:
                yield from self._pick(self._decode_all(), run)
            else:
                yield from self._pick(self._decode_from(run[0], times), run, len(times))

    def _decode_rest(self, begin: int) -> Generator[tuple[int, Any], None, None]:
        """As `_decode_all` from an index on."""
        times = None
        if begin >= SEEK_AHEAD:
            with self._open() as container:
                times = times_of_all(container)
        if times is None or begin >= len(times):
            yield from (found for found in self._decode_all() if found[0] >= begin)
            return
        yield from (found for found in self._decode_from(begin, times) if found[0] >= begin)
        for frame_idx in range(len(times), self._n_claimed):
            yield frame_idx, self._ended(frame_idx, len(times))

    def _pick(
        self, frames: Generator[tuple[int, Any], None, None], wanted: Sequence[int], n_there: int = 0
    ) -> Iterator[tuple[int, Any]]:
        """Yield the wanted ones of ascending frames, of which there are at least `n_there`."""
        remaining = iter(wanted)
        following = next(remaining, None)
        try:
            for frame_idx, frame in frames:
                n_there = max(n_there, frame_idx + 1)
                if frame_idx == following:
                    yield frame_idx, frame
                    following = next(remaining, None)
                    if following is None:
                        return
        finally:
            frames.close()
        while following is not None:
            yield following, self._ended(following, n_there)
            following = next(remaining, None)

    def _decode_from(self, start: int, times: Sequence[int]) -> Generator[tuple[int, Any], None, None]:
        """All frames from an index on, if there are any."""
        if start < len(times):
            for frame_idx, frame in frames_from(self._open_to_decode, start, times):
                yield frame_idx, frame or self._damaged(frame_idx, next(iter(times[frame_idx : frame_idx + 1]), None))

    def _damaged(self, frame_idx: int, pts: int | None) -> FrameReadError:
        return FrameReadError(f"frame {frame_idx} of {self.path} cannot be decoded: its data are damaged.", pts)

    def _ended(self, frame_idx: int, n_read: int) -> FrameReadError:
        claimed = f" of {self._n_claimed}" if self._n_claimed else ""
        return FrameReadError(f"frame {frame_idx} of {self.path} is not there: it ends after {n_read}{claimed} frames.")

    def _open_to_decode(self) -> Any:
        """Open the container whose packets are decoded; other decoders open their own."""
        return self._open()

    def _first(self) -> Any:
        """Return the first frame that can be read, if there is one."""
        with self._open() as container:
            return next((frame for _, frame in in_order(container) if frame is not None), None)

    def _looks(self) -> Iterator[Image]:
        """Yield the first picture that can be read, then some that are spread over the video."""
        first = self._first()
        if first is None:
            return
        yield _to_rgb(first)
        with self._open() as container:
            times = times_of_all(container)
        n_frames = len(times) if times else min(self._n_claimed or UNSOUGHT, UNSOUGHT)
        for _, frame in VideoFileReader._decode_some(self._on_host(), spread(n_frames)):
            if not isinstance(frame, FrameReadError):
                yield _to_rgb(frame)

    def _on_host(self) -> VideoFileReader:
        """Return a reader of the same file that decodes with FFmpeg."""
        return self

    def _to_image(self, frame: Any) -> AnyImage:
        if self._repeats_gray:
            gray = gray_from_luma(frame, _to_rgb)
            if gray is not None:
                return np.broadcast_to(gray, (*gray.shape[:2], 3))
            self._repeats_gray = False
        return to_image(frame, self.grayscale)


def to_image(frame: Any, grayscale: bool | None) -> Image:
    """(H, W, C) of a decoded frame."""
    if not grayscale:
        return _to_rgb(frame)
    gray = gray_from_luma(frame, _to_rgb)
    return _to_rgb(frame)[..., :1] if gray is None else gray


def _to_rgb(frame: Any) -> Image:
    """(H, W, 3), by the conversion and the turning that OpenCV applies: what models are trained on."""
    bgr: Image = frame.reformat(format="bgr24", interpolation="BICUBIC", **ONE_THREAD).to_ndarray()
    quarter_turns, rest = divmod(frame.rotation, 90)
    return (bgr if rest else np.rot90(bgr, quarter_turns))[..., ::-1]
