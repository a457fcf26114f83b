"""Indices of frames as ranges: a billion of them take no more memory than one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate, chain
from typing import Any, overload

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from sleap_infer.errors import FrameSelectionError

LARGEST = 1 << 48
"""Index beyond which no video has frames."""


def _as_pieces(pieces: Iterable[Sequence[int]]) -> tuple[tuple[int, int, int], ...]:
    return tuple((start, stop, step) for start, stop, step in pieces)


@frozen(slots=False, repr=False)
class Indices(Sequence[int]):
    """Ascending indices without repeats.

    Attributes:
        pieces: (start, stop, step) of ranges that follow each other.
        open_from: index from which on all frames are wanted, to the end of each video; see `until`.

    >>> frames = Indices.of([9, 2, 3, 4])
    >>> frames, len(frames), frames[0], list(frames[1:]), 4 in frames
    (Indices(2-4,9), 4, 2, [3, 4, 9], True)
    """

    pieces: tuple[tuple[int, int, int], ...] = field(converter=_as_pieces)
    open_from: int | None = None

    @classmethod
    def of(cls, frames: Iterable[int]) -> Indices:
        """Return any indices as ranges, sorted, without repeats.

        Raises:
            FrameSelectionError: they are not integers, or not indices of frames.
        """
        if isinstance(frames, Indices):
            return frames
        if isinstance(frames, range):
            frames = frames if frames.step > 0 else frames[::-1]
            return cls(_checked([(frames[0], frames[-1] + 1, frames.step)] if frames else []))
        given = list(frames)
        try:
            numbers = sorted({frame.__index__() for frame in given})
        except (AttributeError, TypeError) as error:
            raise FrameSelectionError("frames: expected integers, 'all' or None.") from error
        if any(isinstance(frame, bool) for frame in given):
            raise FrameSelectionError("frames holds True or False: give indices. Of a mask: np.flatnonzero(mask).")
        return cls.joined((number, number + 1) for number in numbers)

    @classmethod
    def joined(cls, ranges: Iterable[tuple[int, int]], open_from: int | None = None) -> Indices:
        """Return ranges from a start up to a stop, joined where they meet or overlap.

        Raises:
            FrameSelectionError: a number is not that of a frame.
        """
        merged: list[list[int]] = []
        for start, stop in sorted(ranges):
            stop = stop if open_from is None else min(stop, max(open_from, start))
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], stop)
            elif start < stop:
                merged.append([start, stop])
        if open_from is not None and merged and merged[-1][1] >= open_from:
            open_from = merged.pop()[0]
        return cls(_checked([(start, stop, 1) for start, stop in merged]), open_from)

    @classmethod
    def from_plain(cls, data: Any) -> Indices | str | None:
        """Return what `to_plain` has made, or what stands for a selection without indices."""
        if data is None or isinstance(data, str):
            return data
        if isinstance(data, dict):
            return cls(data["pieces"], data["open_from"])
        return cls.of(data)

    def to_plain(self) -> dict[str, Any]:
        """Return lists and numbers, for JSON."""
        return {"pieces": [list(piece) for piece in self.pieces], "open_from": self.open_from}

    def until(self, n_frames: int) -> Indices:
        """Return the indices in a video of `n_frames` frames: an open end becomes its last frame.

        Raises:
            FrameSelectionError: the video has no frame where an open range begins.
        """
        if self.open_from is None:
            return self
        if self.open_from >= n_frames:
            raise FrameSelectionError(
                f"Frames from {self.open_from} on are asked for, but there are frames 0 to {n_frames - 1}."
            )
        return Indices((*self.pieces, (self.open_from, n_frames, 1)))

    def runs(self, gap: int) -> Iterator[Indices]:
        """Cut where the next index is more than `gap` away.

        >>> list(Indices.of([1, 2, 9]).runs(5))
        [Indices(1-2), Indices(9)]
        """
        run: list[tuple[int, int, int]] = []
        for piece in self.pieces:
            for part in _apart(piece, gap):
                if run and part[0] - (run[-1][1] - 1) > gap:
                    yield Indices(run)
                    run = []
                run.append(part)
        if run:
            yield Indices(run)

    def __len__(self) -> int:
        """Return the number of indices; of an open selection those below its open end."""
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> Indices: ...

    def __getitem__(self, place: int | slice) -> int | Indices:
        """One index, or those at some positions, which are next to each other."""
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            if step != 1:
                raise ValueError(f"positions are cut in steps of 1, found {step}")
            return self._cut(start, stop)
        place = place + len(self) if place < 0 else place
        if not 0 <= place < len(self):
            raise IndexError(f"position {place} of {len(self)}")
        number = bisect_right(self._ends, place)
        return self._ranges[number][place - (self._ends[number - 1] if number else 0)]

    def __iter__(self) -> Iterator[int]:
        """All indices."""
        return chain.from_iterable(self._ranges)

    def __contains__(self, index: object) -> bool:
        """Return whether a frame is among them."""
        if self.open_from is not None and isinstance(index, int) and index >= self.open_from:
            return True
        return any(index in one for one in self._ranges)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.int64]:
        """Return all indices as int64."""
        return np.concatenate([np.zeros(0, np.int64), *(np.arange(*piece) for piece in self.pieces)]).astype(np.int64)

    def __repr__(self) -> str:
        """Return a summary such as `Indices(0-99,150)`."""
        shown = [_spell(*piece) for piece in self.pieces[:4]] + ["..."] * (len(self.pieces) > 4)
        shown += [] if self.open_from is None else [f"{self.open_from}-"]
        return f"Indices({','.join(shown)})"

    @cached_property
    def _ranges(self) -> tuple[range, ...]:
        return tuple(range(*piece) for piece in self.pieces)

    @cached_property
    def _ends(self) -> tuple[int, ...]:
        """Return the positions after the last index of each range."""
        return tuple(accumulate(len(one) for one in self._ranges))

    def _cut(self, start: int, stop: int) -> Indices:
        pieces: list[tuple[int, int, int]] = []
        begin = 0
        for one, end in zip(self._ranges, self._ends, strict=True):
            part = one[max(start - begin, 0) : max(stop - begin, 0)]
            if part:
                pieces.append((part.start, part[-1] + 1, part.step))
            begin = end
        return Indices(pieces)


def _checked(pieces: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    if pieces and pieces[0][0] < 0:
        raise FrameSelectionError(f"Frame {pieces[0][0]} is negative. Frames are counted from 0.")
    if pieces and pieces[-1][1] > LARGEST:
        raise FrameSelectionError(f"Frame {pieces[-1][1] - 1} is asked for: no video has so many frames.")
    return pieces


def _apart(piece: tuple[int, int, int], gap: int) -> Iterator[tuple[int, int, int]]:
    start, stop, step = piece
    if step <= gap:
        yield piece
    else:
        yield from ((index, index + 1, 1) for index in range(start, stop, step))


def _spell(start: int, stop: int, step: int) -> str:
    last = range(start, stop, step)[-1]
    return str(start) if last == start else f"{start}-{last}" + (f":{step}" if step > 1 else "")


def as_indices(frames: Iterable[int] | None) -> Indices | None:
    """Return indices as ranges; `None` for all frames."""
    return None if frames is None else Indices.of(frames)
