"""Latencies of frames, in bounded memory."""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np
from attrs import frozen

MAX_LATENCIES = 10_000
"""Percentiles are those of the last latencies, at most so many."""


@frozen
class LatencyReport:
    """Latencies of frames. Without frames, all times are NaN.

    Attributes:
        n_frames: number of frames.
        p50_ms: median in milliseconds; percentiles are those of the last 10,000 frames.
        p90_ms: 90th percentile.
        p99_ms: 99th percentile.
        worst_ms: maximum of all frames.
        fps: frames per second, from the start of the first to the end of the last.
        n_warm_up: number of first calls, which are left out.
        warm_up_ms: milliseconds of these calls together.
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
        """Return a one-line summary for people."""
        if not self.n_frames:
            return "no frames"
        return (
            f"p50 {self.p50_ms:.1f}, p90 {self.p90_ms:.1f}, p99 {self.p99_ms:.1f}, worst {self.worst_ms:.1f} ms, "
            f"{self.fps:.1f} frames/s"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, rounded, `None` for unknown values."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else round(value, 3)
            for name, value in attrs.asdict(self).items()
        }


class Latencies:
    """Collects latencies.

    Args:
        most: number of last latencies that are stored.

    >>> latencies = Latencies()
    >>> for number in range(3):
    ...     latencies.add(number, number + 0.25)
    >>> latencies.report().p50_ms
    250.0
    """

    def __init__(self, most: int = MAX_LATENCIES) -> None:
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
        """Count calls separately."""
        self._n_warm_up += n_calls
        self._warm_up += seconds

    def report(self) -> LatencyReport:
        """Return the percentiles so far."""
        stored = self._seconds[: self._n_frames] * 1000
        warm_up_ms, nan = self._warm_up * 1000, math.nan
        if not len(stored):
            return LatencyReport(0, nan, nan, nan, nan, nan, self._n_warm_up, warm_up_ms)
        p50, p90, p99 = (float(value) for value in np.percentile(stored, (50, 90, 99)))
        fps = self._n_frames / max(self._end - self._begin, 1e-9)
        return LatencyReport(self._n_frames, p50, p90, p99, self._worst * 1000, fps, self._n_warm_up, warm_up_ms)
