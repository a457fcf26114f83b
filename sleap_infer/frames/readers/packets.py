"""Frames of an open video stream, each at its index.

Frame identity comes from the packets. Each packet of a video stream is one frame and carries the time at which it is
shown; the decoder gives frames in that order. A time that the decoder passes over is a frame that could not be decoded:
it keeps its index, and no later frame is shifted.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import Any

import av.error


def in_order(container: Any) -> Iterator[tuple[int | None, Any]]:
    """Decode frames in the order in which they are shown.

    Args:
        container: open, with a video stream; from its start, or where it was sought.

    Returns:
        An iterator over the time of each frame and the frame, or `None` where the decoder skipped it.
    """
    return _by_time(container) if has_times(container) else _by_count(container)


def _by_time(container: Any) -> Iterator[tuple[int | None, Any]]:
    pending: list[tuple[int, int]] = []
    for run, packet in _in_runs(container):
        if is_place(packet) and packet.pts is not None:
            bisect.insort(pending, (run, packet.pts))
        for frame in _decode(packet):
            if frame.pts is None:
                yield None, frame
                continue
            place = next((n for n, (_, time) in enumerate(pending) if time == frame.pts), None)
            if place is None:  # too late: damage broke the order
                continue
            yield from ((time, None) for _, time in pending[:place])
            yield frame.pts, frame
            del pending[: place + 1]
    yield from ((time, None) for _, time in pending)


def _in_runs(container: Any) -> Iterator[tuple[int, Any]]:
    """Packets, each with the number of its run: where recordings were joined, times start anew at a keyframe."""
    run, key_time = 0, None
    for packet in packets(container):
        if packet.size and packet.is_keyframe and packet.pts is not None:
            if key_time is not None and packet.pts < key_time:
                run += 1
            key_time = packet.pts
        yield run, packet


def _by_count(container: Any) -> Iterator[tuple[None, Any]]:
    """Without times: frames are counted, and the count is set right at each keyframe and at the end."""
    n_packets = n_shown = 0
    key_packets: dict[int, int] = {}
    for packet in packets(container):
        if is_place(packet):
            if packet.is_keyframe and packet.pts is not None:
                key_packets[packet.pts] = n_packets
            n_packets += 1
        for frame in _decode(packet):
            for _ in range(n_shown, key_packets.get(frame.pts, 0)):
                n_shown += 1
                yield None, None
            n_shown += 1
            yield None, frame
    yield from ((None, None) for _ in range(n_shown, n_packets))


def packets(container: Any) -> Iterator[Any]:
    """Packets of the video stream, the flushing one last; damage in the container is the end of it."""
    try:
        yield from container.demux(container.streams.video[0])
    except av.error.FFmpegError:
        return


def is_place(packet: Any) -> bool:
    """Return whether a packet is a frame that is shown. VP8 says in the first byte that one is only for reference."""
    if not packet.size or packet.is_discard:
        return False
    return packet.stream.codec_context.name != "vp8" or bool(bytes(packet)[0] >> 4 & 1)


def has_times(container: Any) -> bool:
    """Return whether packets have display times. AVI has none, which matters where frames are reordered (B-frames)."""
    return container.format.name != "avi" or not container.streams.video[0].codec_context.has_b_frames


def has_stable_times(container: Any) -> bool:
    """Return whether the time stamps of frames are those of the file, wherever reading starts.

    MPEG program streams have time stamps for some packets only; those of the others depend on where reading starts.
    """
    return has_times(container) and container.format.name != "mpeg"


def times_of_all(container: Any) -> list[int] | None:
    """Return the time stamps of all frames in order, without decoding; `None` if they repeat or start again."""
    places = [(run, packet.pts) for run, packet in _in_runs(container) if is_place(packet)]
    times = [time for _, time in places]
    if not has_stable_times(container) or None in times or len(set(times)) < len(times):
        return None
    return None if any(run for run, _ in places) else sorted(times)


def n_claimed(container: Any) -> int:
    """Return the number of frames in the header of a file that no edit list hides; 0 if unknown."""
    stream = container.streams.video[0]
    entries = getattr(stream, "index_entries", ()) if "mp4" in container.format.name else ()
    return sum(not entry.is_discard for entry in entries) if stream.frames and len(entries) else int(stream.frames)


def _decode(packet: Any) -> list[Any]:
    try:
        return [frame for frame in packet.decode() if not frame.is_corrupt]
    except av.error.FFmpegError:
        return []
