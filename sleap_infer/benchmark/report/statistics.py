"""Medians, quartiles, and significant changes. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
from attrs import frozen

MIN_CHANGE = 0.05
"""Relative difference of medians below which there is never a regression."""


@frozen
class Spread:
    """Summary of a quantity that was measured several times.

    Attributes:
        median: median of the values.
        low: first quartile.
        high: third quartile.
        values: the values in the order of measurement; empty if unknown.
    """

    median: float
    low: float
    high: float
    values: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the median and the quartiles (linear interpolation) of values.

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
        """Interquartile range."""
        return self.high - self.low

    @property
    def has_quartiles(self) -> bool:
        """Return whether there were several measurements, so that the quartiles have a meaning."""
        return len(self.values) != 1

    def overlaps(self, other: Spread) -> bool:
        """Return whether the intervals between the quartiles overlap."""
        return self.low <= other.high and other.low <= self.high


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile of values, by linear interpolation.

    >>> percentile([10.0, 20.0, 30.0], 50), percentile([10.0, 20.0, 30.0], 75)
    (20.0, 25.0)
    """
    return float(np.percentile(np.asarray(values, np.float64), percent))


def change(old: Spread, new: Spread) -> float:
    """Return the relative change of the median.

    >>> change(Spread(10, 9, 11), Spread(12, 11, 13))
    0.2
    """
    return (new.median - old.median) / old.median if old.median else 0.0


def is_worse(old: Spread, new: Spread, higher_is_better: bool) -> bool:
    """Return whether a quantity became significantly worse.

    It did if the new median is worse by more than 5 % of the old one and by more than the sum of both interquartile
    ranges; the intervals between the quartiles then do not overlap.

    Args:
        old: measured before.
        new: measured now, in the same unit.
        higher_is_better: `True` for frames per second, `False` for seconds or MB.

    >>> is_worse(Spread(10, 9.8, 10.2), Spread(12, 11.8, 12.2), higher_is_better=False)
    True
    >>> is_worse(Spread(10, 9, 11), Spread(12, 11, 13), higher_is_better=False)
    False
    """
    gap = old.median - new.median if higher_is_better else new.median - old.median
    return gap > MIN_CHANGE * old.median and gap > old.width + new.width


def frames_to_pay(build_seconds: float, fps: float, plain_fps: float) -> int | None:
    """Return the number of frames after which the time of a build is recovered.

    Args:
        build_seconds: duration of the build.
        fps: frames per second with it.
        plain_fps: frames per second without it.

    Returns:
        `build_seconds / (1 / plain_fps - 1 / fps)`, rounded up; `None` if it is never recovered.

    >>> frames_to_pay(10.0, 100.0, 50.0), frames_to_pay(10.0, 50.0, 50.0)
    (1000, None)
    """
    saved = 1 / plain_fps - 1 / fps
    return math.ceil(round(build_seconds / saved, 6)) if saved > 0 else None
