"""Predict one frame at a time with low latency."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np

from sleap_infer.errors import BackendError, ImageError
from sleap_infer.frames import FrameBatch, FrameRef, Source
from sleap_infer.frames.arrays import CHANNELS, Images, as_video
from sleap_infer.frames.pixels.conversion import LEVELS
from sleap_infer.poses.outputs import Outputs
from sleap_infer.poses.preprocess import frames_to_cut, place_crops
from sleap_infer.predictors.live.latency import Latencies, LatencyReport

if TYPE_CHECKING:
    from sleap_infer.predictors.batches import BatchPredictor

Clock: TypeAlias = Callable[[], float]
"""Return seconds from any start."""

WARM_UPS = 3
"""Number of runs after which backends have compiled, selected algorithms and allocated memory."""


class LiveSession:
    """Predicts one frame per call, in the calling thread, without queues. A context manager.

    Frames go through the preprocessing, networks and grouping of the predictor, so results equal those of
    `Predictor.predict`. Runners reuse their device memory for frames of the same size. Contiguous frames are not copied
    on the host. Several threads may call; calls run one after the other.

    Args:
        predictor: it stays open when the session is closed.
        n_warm_up: number of first calls that the report leaves out, if `warm_up` is not called.
        clock: returns seconds, for latencies.

    Raises:
        ModelCombinationError: the predictor needs the positions of the animals.
    """

    def __init__(self, predictor: BatchPredictor, n_warm_up: int = 1, clock: Clock = perf_counter) -> None:
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
                are read as in `Predictor.predict`: if any is larger than 1, all are divided by 255. After such a
                frame, one with only 0 and 1 is taken to be dark, and is divided too.

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
        """Run all stages on a frame, so that later frames of this size are not delayed by compilation or allocation.

        A network for crops runs on 1, 2, 4, ... crops, whatever the frame shows. The report counts these runs in
        `warm_up_ms` only.

        Args:
            frame: as in a call.
            n_runs: number of runs.

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
            self._warm_up_crops(images)
            self._latencies.add_warm_up(self._clock() - begin, n_calls=0)
            self._n_warm_up = 0

    def report(self) -> LatencyReport:
        """Return the latencies of the calls."""
        with self._lock:
            return self._latencies.report()

    def close(self) -> None:
        """End the session. Further calls are errors; the predictor stays open."""
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
        """Return one image (1, C, H, W), with floats in the range of all frames so far."""
        images = _as_image(frame)
        if images.dtype == np.uint8:
            return images
        if float(frame.max()) > 1:
            self._is_in_levels = True
        elif self._is_in_levels and np.array_equal(images, np.rint(images)):
            images = images / np.float32(LEVELS)
        return images

    def _warm_up_crops(self, images: Images) -> None:
        """Run the network for crops, if there is one, on each number of crops that backends prepare for."""
        if len(self.predictor.runners) == 1:
            return
        settings, runner = self.predictor.settings, self.predictor.runners[-1]
        stage = settings.stages[-1]
        fitted, _ = frames_to_cut(images, settings.frames, stage.images)
        assert stage.crop_size is not None
        for n_crops in crop_counts(settings.stream.crop_batch_size):
            _, first = place_crops(np.zeros((n_crops, 2), np.float32), stage.crop_size, stage.images)
            runner.start_crops(fitted, np.zeros(n_crops, np.int64), first, n_crops)()


def crop_counts(at_once: int) -> list[int]:
    """Return the numbers of crops to which `runners.batching` pads: powers of two, and a full batch.

    >>> crop_counts(6)
    [1, 2, 4, 6]
    """
    return [*(1 << power for power in range((at_once - 1).bit_length())), at_once]


def _as_image(frame: Any) -> Images:
    """Return one image as (1, C, H, W), with the memory layout of frames that are read."""
    images = as_video(frame)
    shape = tuple(frame.shape)
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[-1] not in CHANNELS):
        raise ImageError(
            f"An array of shape {shape} is not one frame. Expected (H, W), or (H, W, C) with 1 or 3 channels."
        )
    rows = np.ascontiguousarray(images[0].transpose(1, 2, 0))
    return rows.reshape(1, *rows.shape).transpose(0, 3, 1, 2)
