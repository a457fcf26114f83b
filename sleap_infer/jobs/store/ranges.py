"""Places of frames: which are covered, which are missing, and how they are cut into pieces. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import frozen


@frozen(order=True)
class Range:
    """Places from `start` up to `stop`; without a stop, up to the end of the video."""

    start: int
    stop: int | None

    def __len__(self) -> int:
        """Number of places, where there is a stop."""
        return 0 if self.stop is None else self.stop - self.start


def union(ranges: Iterable[Range]) -> list[Range]:
    """Ranges with stops, joined where they meet or overlap, ascending.

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
    """What is left of `length` places; without a length, what follows the last is open.

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
        whole: to cut; the last piece of one without a stop has none.
        step: places of a piece.
        stop: where a range without a stop probably ends.

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
    """What of some ranges lies in another.

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
