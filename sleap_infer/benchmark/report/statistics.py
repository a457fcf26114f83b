"""Medians, quartiles, and what is beyond noise. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
from attrs import frozen

LEAST_CHANGE = 0.05
"""Share of the old median below which a difference is never a regression."""


@frozen
class Spread:
    """A figure that was measured several times.

    Attributes:
        median: of all values.
        low: first quartile.
        high: third quartile.
        values: as they were measured, in that order.
    """

    median: float
    low: float
    high: float
    values: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Median and quartiles, which lie between values where they have to.

        Raises:
            ValueError: there are no values.

        >>> Spread.of([3.0, 1.0, 2.0, 5.0, 4.0])
        Spread(median=3.0, low=2.0, high=4.0, values=(3.0, 1.0, 2.0, 5.0, 4.0))
        """
        if not len(values):
            raise ValueError("a spread needs at least one value")
        low, median, high = np.percentile(np.asarray(values, np.float64), [25, 50, 75])
        return cls(float(median), float(low), float(high), tuple(float(value) for value in values))

    @property
    def width(self) -> float:
        """From the first to the third quartile."""
        return self.high - self.low

    def overlaps(self, other: Spread) -> bool:
        """Whether the intervals between the quartiles have a point in common."""
        return self.low <= other.high and other.low <= self.high


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a share of all values, from 0 to 100, does not exceed, between values where it has to be.

    >>> percentile([10.0, 20.0, 30.0], 50), percentile([10.0, 20.0, 30.0], 75)
    (20.0, 25.0)
    """
    return float(np.percentile(np.asarray(values, np.float64), share))


def change(old: Spread, new: Spread) -> float:
    """How much larger the new median is, as a share of the old one.

    >>> change(Spread(10, 9, 11), Spread(12, 11, 13))
    0.2
    """
    return (new.median - old.median) / old.median if old.median else 0.0


def is_worse(old: Spread, new: Spread, higher_is_better: bool) -> bool:
    """Whether a figure became worse beyond noise.

    It did if the new median is worse by more than 5 % of the old one, and by more than both spreads together; the
    intervals between the quartiles then have no point in common.

    Args:
        old: measured before.
        new: measured now, in the same unit.
        higher_is_better: as with frames per second, unlike seconds.

    >>> is_worse(Spread(10, 9.8, 10.2), Spread(12, 11.8, 12.2), higher_is_better=False)
    True
    >>> is_worse(Spread(10, 9, 11), Spread(12, 11, 13), higher_is_better=False)
    False
    """
    gap = old.median - new.median if higher_is_better else new.median - old.median
    return gap > LEAST_CHANGE * old.median and gap > old.width + new.width


def frames_to_pay(build_seconds: float, fps: float, plain_fps: float) -> int | None:
    """Frames after which the time that a build took is won back.

    Args:
        build_seconds: that it took.
        fps: frames per second with it.
        plain_fps: frames per second without it.

    Returns:
        `build_seconds / (1 / plain_fps - 1 / fps)`, rounded up; `None` if it is never won back.

    >>> frames_to_pay(10.0, 100.0, 50.0), frames_to_pay(10.0, 50.0, 50.0)
    (1000, None)
    """
    won = 1 / plain_fps - 1 / fps
    return math.ceil(round(build_seconds / won, 6)) if won > 0 else None
