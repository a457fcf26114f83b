"""Ranges of positions of frames: which are covered, which are missing, and how they are cut. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import frozen


@frozen(order=True)
class Range:
    """Positions from `start` up to `stop`; without a stop, up to the end of the video."""

    start: int
    stop: int | None

    def __len__(self) -> int:
        """Return the number of positions; 0 without a stop."""
        return 0 if self.stop is None else self.stop - self.start


def union(ranges: Iterable[Range]) -> list[Range]:
    """Return ranges with stops in ascending order, joined where they meet or overlap.

    >>> union([Range(4, 6), Range(0, 2), Range(2, 3), Range(5, 9)])
    [Range(start=0, stop=3), Range(start=4, stop=9)]
    """
    joined: list[Range] = []
    for one in sorted(ranges):
        if joined and one.start <= (joined[-1].stop or 0):
            joined[-1] = Range(joined[-1].start, max(joined[-1].stop or 0, one.stop or 0))
        else:
            joined.append(one)
    return joined


def missing_between(covered: Iterable[Range], length: int | None) -> list[Range]:
    """Return the gaps in `length` positions; without a length, the last gap has no stop.

    >>> missing_between([Range(0, 3), Range(4, 9)], 9)
    [Range(start=3, stop=4)]
    >>> missing_between([Range(0, 3)], None)
    [Range(start=3, stop=None)]
    """
    gaps, reached = [], 0
    for one in covered:
        if one.start > reached:
            gaps.append(Range(reached, one.start))
        reached = max(reached, one.stop or 0)
    if length is None or reached < length:
        gaps.append(Range(reached, length))
    return gaps


def at_multiples(whole: Range, step: int, stop: int) -> Iterator[Range]:
    """Cut a range at the multiples of a step.

    Args:
        whole: range to cut; if it has no stop, its last part has none.
        step: number of positions between cuts.
        stop: probable end of a range without a stop.

    >>> list(at_multiples(Range(3, 10), 4, 10))
    [Range(start=3, stop=4), Range(start=4, stop=8), Range(start=8, stop=10)]
    >>> list(at_multiples(Range(3, None), 4, 10))
    [Range(start=3, stop=4), Range(start=4, stop=8), Range(start=8, stop=None)]
    """
    start, last = whole.start, stop if whole.stop is None else whole.stop
    while (end := (start // step + 1) * step) < last:
        yield Range(start, end)
        start = end
    yield Range(start, whole.stop)


def within(ranges: Iterable[Range], whole: Range) -> list[Range]:
    """Return the parts of ranges that lie in another range.

    >>> within([Range(0, 3), Range(5, None)], Range(2, 8))
    [Range(start=2, stop=3), Range(start=5, stop=8)]
    """
    found = []
    for one in ranges:
        stops = [stop for stop in (one.stop, whole.stop) if stop is not None]
        start, stop = max(one.start, whole.start), min(stops, default=None)
        if stop is None or start < stop:
            found.append(Range(start, stop))
    return found
