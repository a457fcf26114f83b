"""Chunks: frames of one video that a file holds, in order and each frame once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import frozen

from sleap_infer.jobs.store.ranges import Range
from sleap_infer.jobs.store.result_file import Entry


@frozen
class Chunk:
    """Frames of one video in one file.

    Attributes:
        entry: where they are in the file.
        file: that holds it.
        skip: number of frames at the start that another chunk holds too.
    """

    entry: Entry
    file: Path
    skip: int = 0

    @property
    def part(self) -> int:
        """Number of the video."""
        return self.entry.part

    @property
    def positions(self) -> Range:
        """Positions of the frames among the requested frames of the video."""
        return self.entry.positions


def each_once(chunks: Iterable[Chunk]) -> list[Chunk]:
    """Return chunks in order; a frame in several of them counts in the first only."""
    found: list[Chunk] = []
    part, reached = -1, 0
    for chunk in sorted(chunks, key=lambda one: (one.part, one.positions.start, -len(one.positions), one.file)):
        stop = chunk.positions.stop or 0
        if chunk.part != part:
            part, reached = chunk.part, 0
        if stop > reached:
            found.append(Chunk(chunk.entry, chunk.file, max(reached - chunk.positions.start, 0)))
            reached = stop
    return found


def listed(missing: Mapping[int, list[Range]]) -> str:
    """Return the ranges without a result, by video, as text."""
    gaps = [
        f"video {part}, positions {gap.start} to {gap.stop or 'the end'}"
        for part, found in missing.items()
        for gap in found
    ]
    return "; ".join(gaps[:4]) + (f"; and {len(gaps) - 4} more" if len(gaps) > 4 else "")
