"""How long frames take, kept in bounded memory."""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np
from attrs import frozen

MOST_KEPT = 10_000
"""Latencies that percentiles are taken over: the last ones."""


@frozen
class LatencyReport:
    """How long frames took. Without frames, all times are NaN.

    Attributes:
        n_frames: that were counted.
        p50_ms: half of the frames took no longer, in milliseconds; like the next two, of the last 10,000 frames.
        p90_ms: nine of ten took no longer.
        p99_ms: 99 of 100 took no longer.
        worst_ms: of all frames.
        fps: frames per second, from the start of the first to the end of the last.
        n_warm_up: first calls, which are not counted.
        warm_up_ms: milliseconds that they took together.
    """

    n_frames: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    worst_ms: float
    fps: float
    n_warm_up: int = 0
    warm_up_ms: float = 0.0

    def line(self) -> str:
        """The latencies in one line, for people."""
        if not self.n_frames:
            return "no frames"
        return (
            f"p50 {self.p50_ms:.1f}, p90 {self.p90_ms:.1f}, p99 {self.p99_ms:.1f}, worst {self.worst_ms:.1f} ms, "
            f"{self.fps:.1f} frames/s"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON: rounded, `None` for what is not known."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else round(value, 3)
            for name, value in attrs.asdict(self).items()
        }


class Latencies:
    """Collects latencies.

    Args:
        most: how many are kept, of those that come last.

    >>> latencies = Latencies()
    >>> for number in range(3):
    ...     latencies.add(number, number + 0.25)
    >>> latencies.report().p50_ms
    250.0
    """

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._seconds = np.empty(most)
        self._n_frames = 0
        self._worst = self._warm_up = 0.0
        self._n_warm_up = 0
        self._begin = self._end = 0.0

    def add(self, begin: float, end: float) -> None:
        """Count a frame that took from `begin` to `end`, in seconds."""
        if not self._n_frames:
            self._begin = begin
        self._seconds[self._n_frames % len(self._seconds)] = end - begin
        self._n_frames += 1
        self._worst, self._end = max(self._worst, end - begin), end

    def add_warm_up(self, seconds: float, n_calls: int = 1) -> None:
        """Count calls apart from the others."""
        self._n_warm_up += n_calls
        self._warm_up += seconds

    def report(self) -> LatencyReport:
        """Percentiles so far."""
        kept = self._seconds[: self._n_frames] * 1000
        warm_up_ms, nan = self._warm_up * 1000, math.nan
        if not len(kept):
            return LatencyReport(0, nan, nan, nan, nan, nan, self._n_warm_up, warm_up_ms)
        p50, p90, p99 = (float(value) for value in np.percentile(kept, (50, 90, 99)))
        fps = self._n_frames / max(self._end - self._begin, 1e-9)
        return LatencyReport(self._n_frames, p50, p90, p99, self._worst * 1000, fps, self._n_warm_up, warm_up_ms)
