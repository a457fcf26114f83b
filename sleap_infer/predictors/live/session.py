"""One frame at a time with the least latency, and the newest frames of a live source."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import attrs
import numpy as np
from attrs import field, frozen

from sleap_infer.errors import BackendError, ImageError, OptionError
from sleap_infer.frames import FrameBatch, FrameRef, Source
from sleap_infer.frames.arrays import CHANNELS, Images, as_video
from sleap_infer.frames.live.feed import LiveFrame
from sleap_infer.frames.live.source import LiveSource
from sleap_infer.frames.pixels.conversion import LEVELS
from sleap_infer.poses.outputs import Outputs
from sleap_infer.poses.preprocess import frames_to_cut, place_crops
from sleap_infer.predictors.live.latency import Latencies, LatencyReport

if TYPE_CHECKING:
    from sleap_infer.predictors.steps import Steps

Clock: TypeAlias = Callable[[], float]
"""Seconds, from any start."""

WARM_UPS = 3
"""Runs after which backends have compiled, chosen their algorithms and taken their memory."""


class LiveSession:
    """Poses of one frame after the other, in the thread that asks, without queues; a context manager.

    Frames go through the predictor's own preprocessing, networks and grouping, so that the result is that of
    `Predictor.predict`. Memory on devices belongs to the runners, and is used again for each frame of the same size;
    frames that are contiguous in memory are not copied on the host. Several threads may call: one waits for the other.

    Args:
        predictor: stays open when the session is closed.
        n_warm_up: first calls that are not counted in the report, if `warm_up` is not called.
        clock: of latencies, in seconds.

    Raises:
        ModelCombinationError: the predictor needs to be told where the animals are.
    """

    def __init__(self, predictor: Steps, n_warm_up: int = 1, clock: Clock = perf_counter) -> None:
        predictor.check_source(Source("a live frame", ()))
        self.predictor = predictor
        self._steps = tuple(predictor.steps())
        self._clock, self._latencies = clock, Latencies()
        self._n_warm_up, self._frame_idx = n_warm_up, 0
        self._is_closed = self._is_in_levels = False
        self._lock = threading.Lock()

    def __call__(self, frame: Any) -> Outputs:
        """Predict a frame.

        Args:
            frame: (H, W) or (H, W, C), C being 1 or 3, uint8 or float; its size may change from call to call. Floats
                are read as `Predictor.predict` does: if any is larger than 1, all are divided by 255. After such a
                frame, one that holds only 0 and 1 is taken to be dark, and divided too.

        Returns:
            Its poses; `frame_idx` counts the calls, `time_s` is when the call began, in seconds of the clock.

        Raises:
            ImageError: this is not one image.
            BackendError: the session is closed.
        """
        with self._lock:
            begin = self._clock()
            outputs = self._predict(self._as_image(frame), begin)
            end = self._clock()
            if self._n_warm_up > 0:
                self._n_warm_up -= 1
                self._latencies.add_warm_up(end - begin)
            else:
                self._latencies.add(begin, end)
            self._frame_idx += 1
            return outputs

    def warm_up(self, frame: Any, n_runs: int = WARM_UPS) -> None:
        """Run everything on a frame, so that the next one of this size is not held up by what happens only once.

        A network that looks at crops is run on one crop, on two, four, and so on, whatever is in the frame. None of it
        is counted but in `warm_up_ms`.

        Args:
            frame: as in a call.
            n_runs: how many times.

        Raises:
            ImageError: this is not one image.
            BackendError: the session is closed.
        """
        with self._lock:
            images = self._as_image(frame)
            for _ in range(n_runs):
                begin = self._clock()
                self._predict(images)
                self._latencies.add_warm_up(self._clock() - begin)
            begin = self._clock()
            self._look_at_crops(images)
            self._latencies.add_warm_up(self._clock() - begin, n_calls=0)
            self._n_warm_up = 0

    def report(self) -> LatencyReport:
        """How long the calls took."""
        with self._lock:
            return self._latencies.report()

    def close(self) -> None:
        """End the session: further calls are errors. The predictor stays open."""
        with self._lock:
            self._is_closed = True

    def __enter__(self) -> Self:
        """Enter the lifetime of the session."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _predict(self, images: Images, time_s: float | None = None) -> Outputs:
        if self._is_closed:
            raise BackendError("This live session, or its predictor, is closed. Open another one.")
        work = self.predictor.prepare(FrameBatch(images, (FrameRef(0, self._frame_idx, time_s=time_s),)))
        for step in self._steps:
            work = step(work)
        (outputs,) = self.predictor.finish(work)
        if outputs.original_image is not None:  # the caller may fill the same memory with the next frame
            outputs.original_image = np.array(outputs.original_image)
        return outputs

    def _as_image(self, frame: Any) -> Images:
        """One image, floats of it in the range of all frames so far."""
        images = _as_image(frame)
        if images.dtype == np.uint8:
            return images
        if float(frame.max()) > 1:
            self._is_in_levels = True
        elif self._is_in_levels and np.array_equal(images, np.rint(images)):
            images = images / np.float32(LEVELS)
        return images

    def _look_at_crops(self, images: Images) -> None:
        """Run the network that looks at crops, if there is one, on each number of crops that backends are ready for."""
        if len(self.predictor.runners) == 1:
            return
        settings, runner = self.predictor.settings, self.predictor.runners[-1]
        stage = settings.stages[-1]
        fitted, _ = frames_to_cut(images, settings.frames, stage.images)
        assert stage.crop_size is not None
        for n_crops in crop_counts(settings.stream.crop_batch_size):
            _, first = place_crops(np.zeros((n_crops, 2), np.float32), stage.crop_size, stage.images)
            runner.start_crops(fitted, np.zeros(n_crops, np.int64), first, n_crops)()


@frozen
class LiveResult:
    """The poses of one frame of a live source.

    Attributes:
        frame: as it came.
        outputs: its poses; `frame_idx` is the index of the frame in the source, `time_s` when it came.
        latency_ms: milliseconds from when the frame came to when its poses were there.
        is_late: whether that is more than the deadline allows.
    """

    frame: LiveFrame
    outputs: Outputs
    latency_ms: float
    is_late: bool = False


@frozen
class LiveReport:
    """What became of the frames of a live source: `n_seen == n_predicted + n_dropped + n_too_late`, and one may wait.

    Attributes:
        source: its name.
        n_seen: frames that came since the first one was asked for.
        n_predicted: those whose poses were found.
        n_dropped: those that a newer frame replaced while another one was worked on.
        n_too_late: those that were older than the deadline when their turn came, and were left out.
        n_late_results: of the predicted ones, those whose poses came later than the deadline.
        n_failed: frames that came damaged; they are not among those seen.
        latency: from when a frame came to when its poses were there.
        predictor: the part of that which the predictor took.
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
        """Frames that missed the deadline, whether they were left out or predicted too late."""
        return self.n_too_late + self.n_late_results

    def line(self) -> str:
        """One line for people."""
        failed = f", {self.n_failed} damaged" if self.n_failed else ""
        return (
            f"{self.source}: {self.n_seen} frames seen, {self.n_predicted} predicted, {self.n_dropped} dropped, "
            f"{self.n_late} late ({self.n_too_late} of them left out){failed}; latency: {self.latency.line()}"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
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
    """Poses of the newest frames of a live source, under a deadline.

    While a frame is worked on, newer ones come; the newest of them is next, the others are dropped. With a deadline, a
    frame that is older than that when its turn comes is left out, since its poses could only be late; poses that come
    later than the deadline are given all the same, marked as late.

    Args:
        session: that predicts.
        source: of the frames; it stays open.
        deadline_ms: milliseconds after a frame came in which its poses are of use; `None` for no deadline.

    Raises:
        OptionError: the deadline is not above zero.
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
        """Wait for a frame, and predict it.

        Args:
            timeout: seconds to wait; `None` for as long as it takes.

        Returns:
            Its poses, or `None`: no frame came in time, it came too late, or the source has ended
            (`source.has_ended`).

        Raises:
            FrameReadError: the source broke off.
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
        """Poses of the newest frame each time they are asked for, until the source ends."""
        while not self.source.has_ended:
            result = self.step()
            if result is not None:
                yield result

    def report(self) -> LiveReport:
        """What became of the frames so far."""
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


def crop_counts(at_once: int) -> list[int]:
    """Powers of two up to a full batch, and that: what `runners.batching` fills up to.

    >>> crop_counts(6)
    [1, 2, 4, 6]
    """
    return [*(1 << power for power in range((at_once - 1).bit_length())), at_once]


def _as_image(frame: Any) -> Images:
    """One image as (1, C, H, W), in the same place and order in memory as frames that are read."""
    images = as_video(frame)
    shape = tuple(frame.shape)
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[-1] not in CHANNELS):
        raise ImageError(
            f"An array of shape {shape} is not one frame. Expected (H, W), or (H, W, C) with 1 or 3 channels."
        )
    rows = np.ascontiguousarray(images[0].transpose(1, 2, 0))
    return rows.reshape(1, *rows.shape).transpose(0, 3, 1, 2)
