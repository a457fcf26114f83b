"""Frames of a video file from an index on, the same ones as when all are decoded from the start."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import av.error

from sleap_infer.frames.readers.packets import in_order

MARGINS = (32, 320)
"""Frames before a sought one that are decoded too, so that all that it refers to is there; the second where the first
did not do. If neither does, decoding starts at the start."""


def frames_from(
    open_file: Callable[[], Any], start: int, times: Sequence[int]
) -> Generator[tuple[int, Any], None, None]:
    """Decode from a keyframe well before an index.

    Args:
        open_file: opens the container.
        start: index of the first frame that is wanted.
        times: of all frames, ascending.

    Yields:
        Index of each frame and the frame, or `None` where it cannot be decoded; ascending, from `start` or before.
    """
    index: dict[int | None, int] = {time: number for number, time in enumerate(times)}
    for margin in MARGINS:
        with open_file() as container:
            frames = _sought(container, times[max(0, start - margin)])
            time, frame = next((found for found in frames if found[1] is not None), (None, None))
            if frame is not None and frame.key_frame and index.get(time, len(times)) <= start:
                yield from _numbered(itertools.chain([(time, frame)], frames), index, start)
                return
    with open_file() as container:
        yield from ((number, frame) for number, (_, frame) in enumerate(in_order(container)))


def _sought(container: Any, time: int) -> Iterator[tuple[int | None, Any]]:
    try:
        container.seek(time, stream=container.streams.video[0], backward=True)
    except av.error.FFmpegError:
        return
    yield from in_order(container)


def _numbered(
    frames: Iterator[tuple[int | None, Any]], index: Mapping[int | None, int], start: int
) -> Iterator[tuple[int, Any]]:
    """Yield frames by index, one for each index from `start` to the last."""
    expected = start
    for time, frame in frames:
        number = index.get(time, -1)
        if number >= expected:
            yield from ((missing, None) for missing in range(expected, number))
            yield number, frame
            expected = number + 1
    yield from ((missing, None) for missing in range(expected, len(index)))
