"""Poses of the newest frames of a live source, under a deadline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
from attrs import field, frozen

from sleap_infer.errors import OptionError
from sleap_infer.frames.live.feed import LiveFrame
from sleap_infer.frames.live.source import LiveSource
from sleap_infer.poses.outputs import Outputs
from sleap_infer.predictors.live.latency import Latencies, LatencyReport
from sleap_infer.predictors.live.session import LiveSession


@frozen
class LiveResult:
    """The poses of one frame of a live source.

    Attributes:
        frame: the frame.
        outputs: its poses; `frame_idx` is the index of the frame in the source, `time_s` the time of its arrival.
        latency_ms: milliseconds from its arrival to its poses.
        is_late: whether the latency exceeds the deadline.
    """

    frame: LiveFrame
    outputs: Outputs
    latency_ms: float
    is_late: bool = False


@frozen
class LiveReport:
    """Counts and latencies of a live run. `n_seen == n_predicted + n_dropped + n_too_late`, except one frame may wait.

    Attributes:
        source: name of the source.
        n_seen: frames that arrived since the first request.
        n_predicted: frames that were predicted.
        n_dropped: frames that a newer frame replaced while another one was being predicted.
        n_too_late: frames that were older than the deadline when their turn came, and were not predicted.
        n_late_results: predicted frames whose poses were finished after the deadline.
        n_failed: damaged frames; they are not among those seen.
        latency: from the arrival of a frame to its poses.
        predictor: latency of the predictor alone.
    """

    source: str
    n_seen: int
    n_predicted: int
    n_dropped: int
    n_too_late: int
    n_late_results: int
    n_failed: int
    latency: LatencyReport
    predictor: LatencyReport = field(repr=False)

    @property
    def n_late(self) -> int:
        """Number of frames that missed the deadline, whether they were predicted or not."""
        return self.n_too_late + self.n_late_results

    def line(self) -> str:
        """Return a one-line summary for people."""
        skipped = f" ({self.n_too_late} not predicted)" if self.n_late else ""
        failed = f", {self.n_failed} damaged" if self.n_failed else ""
        return (
            f"{self.source}: {self.n_seen} frames seen, {self.n_predicted} predicted, {self.n_dropped} dropped, "
            f"{self.n_late} late{skipped}{failed}; latency: {self.latency.line()}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        counts = {
            item.name: getattr(self, item.name) for item in attrs.fields(LiveReport) if item.name.startswith("n_")
        }
        return {
            "source": self.source,
            **counts,
            "n_late": self.n_late,
            "latency": self.latency.as_dict(),
            "predictor": self.predictor.as_dict(),
        }


class LiveRun:
    """Predicts the newest frames of a live source, under a deadline.

    While a frame is being predicted, newer ones arrive; the newest of them is next, the others are dropped. A frame
    older than the deadline when its turn comes is not predicted. Poses that are finished after the deadline are
    returned and marked as late.

    Args:
        session: predicts the frames.
        source: source of the frames; it stays open.
        deadline_ms: maximum milliseconds from the arrival of a frame to its poses; `None` for no deadline.

    Raises:
        OptionError: the deadline is not positive.
    """

    def __init__(self, session: LiveSession, source: LiveSource, deadline_ms: float | None = None) -> None:
        if deadline_ms is not None and not deadline_ms > 0:
            raise OptionError(f"deadline_ms is in milliseconds, above zero; found {deadline_ms!r}.")
        self.session, self.source, self.deadline_ms = session, source, deadline_ms
        if session.predictor.reads_colour:
            source.in_colour()
        self._latencies = Latencies()
        self._n_predicted = self._n_too_late = self._n_late_results = 0

    def step(self, timeout: float | None = None) -> LiveResult | None:
        """Wait for a frame and predict it.

        Args:
            timeout: seconds to wait; `None` for no limit.

        Returns:
            Its poses; `None` if no frame arrived in time, it was too late, or the source has ended
            (`source.has_ended`).

        Raises:
            FrameReadError: the source failed.
        """
        frame = self.source.take(timeout)
        if frame is None:
            return None
        clock = self.source.clock
        if self._is_late(clock() - frame.time):
            self._n_too_late += 1
            return None
        outputs = attrs.evolve(self.session(frame.image), frame_idx=frame.index, time_s=frame.time)
        now = clock()
        is_late = self._is_late(now - frame.time)
        self._n_predicted += 1
        self._n_late_results += is_late
        self._latencies.add(frame.time, now)
        return LiveResult(frame, outputs, (now - frame.time) * 1000, is_late)

    def __iter__(self) -> Iterator[LiveResult]:
        """Yield the poses of the newest frame, until the source ends."""
        while not self.source.has_ended:
            result = self.step()
            if result is not None:
                yield result

    def report(self) -> LiveReport:
        """Return counts and latencies so far."""
        counts = self.source.counts()
        return LiveReport(
            self.source.name,
            counts.grabbed,
            self._n_predicted,
            counts.dropped,
            self._n_too_late,
            self._n_late_results,
            counts.failed,
            self._latencies.report(),
            self.session.report(),
        )

    def _is_late(self, seconds: float) -> bool:
        return self.deadline_ms is not None and seconds * 1000 > self.deadline_ms
