"""A video of any length from a short one: its packets again and again, none encoded anew."""

from __future__ import annotations

from pathlib import Path

import av


def of_length(video: Path, n_frames: int, folder: Path) -> Path:
    """Return a video with at least a number of frames.

    Args:
        video: that is long enough, or is repeated.
        n_frames: how many.
        folder: where the longer file goes.

    Returns:
        The video itself, or the longer file; the video itself, too, where its packets do not say when they are decoded
        and shown.
    """
    with av.open(str(video)) as source:
        stream = source.streams.video[0]
        packets = [packet for packet in source.demux(stream) if packet.size]
        times = [(packet.pts, packet.dts) for packet in packets if packet.pts is not None and packet.dts is not None]
        if len(packets) >= n_frames or len(times) < len(packets):
            return video
        shown = sorted(time for time, _ in times)
        length = shown[-1] - shown[0] + (packets[-1].duration or 1)
        target = folder / f"{video.stem}_{n_frames}{video.suffix}"
        with av.open(str(target), "w") as sink:
            copy = sink.add_stream_from_template(stream)
            for turn in range(-(-n_frames // len(packets))):
                for packet, (pts, dts) in zip(packets, times, strict=True):
                    packet.stream, packet.time_base = copy, stream.time_base
                    packet.pts, packet.dts = pts + turn * length, dts + turn * length
                    sink.mux(packet)
    return target
