"""Runs a range of frames of one video into a journal, in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from time import perf_counter

from attrs import define, field, frozen

from sleap_infer.errors import DeviceMemoryError, OutputError, SleapInferError, SourceError, WorkerError
from sleap_infer.frames import Source
from sleap_infer.frames.source import VideoPart
from sleap_infer.jobs.store.columns import Columns, failed, to_columns
from sleap_infer.jobs.store.ranges import Range
from sleap_infer.jobs.store.result_file import ResultFile
from sleap_infer.poses.outputs import Outputs
from sleap_infer.predictors import Predictor
from sleap_infer.reports import Fallback
from sleap_infer.system.printable import one_line
from sleap_infer.system.unexpected_errors import explain, write_details

GIVE_UP_AFTER = 32
"""Frames in a row that the network fails on, with none before them that it did not: then it is not the frames."""

SECONDS_BETWEEN_REPORTS = 0.2
"""Least time between two reports of frames that are not in the journal yet."""

logger = logging.getLogger(__name__)


@frozen
class Shape:
    """Form of the rows of a job.

    Attributes:
        n_nodes: points of an instance.
        is_centroid: whether these are centroids.
        chunk: frames per journal entry.
    """

    n_nodes: int
    is_centroid: bool
    chunk: int


@define
class RangeRunner:
    """Runs ranges of a source's parts.

    Attributes:
        predictor: that finds the poses.
        source: opened.
        results: file of the journal to write to.
        shape: of the rows.
        saved: called for each chunk saved in the journal with its part, its first position and its frames.
        ahead: called after a batch with the number of predicted frames that are not in the journal yet.
        n_done: total number of frames without an error of the network.
    """

    predictor: Predictor
    source: Source
    results: ResultFile
    shape: Shape
    saved: Callable[[int, int, Columns], None] = lambda part, start, columns: None
    ahead: Callable[[int], None] = lambda n_frames: None
    n_done: int = 0
    _n_failed: int = 0
    _place: int = 0
    _waiting: list[Outputs] = field(factory=list)
    _since: float = field(factory=perf_counter)
    _reported: float = 0.0

    def run(self, number: int, places: Range) -> None:
        """Predict frames at these positions of a part and save them chunk by chunk.

        If the network fails, the frames of the batch are run one by one, and failing ones are marked. If memory runs
        out, batches are halved.

        Raises:
            SleapInferError: the source cannot be read, or the journal not be written, or nothing can be predicted.
        """
        self._place = places.start
        while places.stop is None or self._place < places.stop:
            try:
                self._stream(number, Range(self._place, places.stop))
                break
            except _StreamError as failure:
                self._go_on(number, places.stop, failure.cause)
        if places.stop is None:
            self.results.end(number, self._place)

    def run_singly(
        self, number: int, places: Range, cause: Exception | None = None, at: Callable[[int], None] | None = None
    ) -> None:
        """Predict frames one by one; failing ones are marked.

        Args:
            number: of the part.
            places: of the frames; it ends before where the video does.
            cause: why.
            at: called with each position before its frame is read.

        Raises:
            SleapInferError: nothing can be predicted at all.
        """
        self._place = places.start
        part = self.source.parts[number]
        while (places.stop is None or self._place < places.stop) and part.reaches(self._place):
            if at is not None:
                at(self._place)
            self._put(number, self._place, self._one(part.some(self._place, self._place + 1), cause), 1)
            self._place += 1

    def _one(self, part: VideoPart, cause: Exception | None) -> Columns:
        """One frame."""
        try:
            with self._batches_of(1), closing(self.predictor.stream(self._only(part))) as stream:
                found = self._columns(list(stream))
            self.n_done += 1
            return found
        except (SourceError, OutputError):
            raise
        except Exception as error:
            self._n_failed += 1
            if not self.n_done and self._n_failed >= GIVE_UP_AFTER:
                raise as_our_error(cause or error) from error
            index = part.first if part.frame_inds is None else part.frame_inds[0]
            return failed([index], "predict_failed", f"frame {index}: {reason(error)}", self.shape.n_nodes)

    def mark(self, number: int, places: Range, note: str) -> None:
        """Note that frames cannot be predicted."""
        part = self.source.parts[number].some(places.start, places.stop)
        inds = range(places.start, places.stop or places.start) if part.frame_inds is None else part.frame_inds
        notes = failed(list(inds), "predict_failed", note, self.shape.n_nodes)
        self._put(number, places.start, notes, 1)

    def _go_on(self, number: int, stop: int | None, cause: Exception) -> None:
        """Continue after the frame that ended the stream."""
        if isinstance(cause, (SourceError, OutputError)):
            raise cause
        self._save_whole_batches(number)
        if not isinstance(cause, (DeviceMemoryError, MemoryError)):
            details = "" if isinstance(cause, SleapInferError) else f" (details in {write_details(cause)})"
            logger.warning(
                "requested frames from %d on of %s failed: %s%s", self._place, self.source.name, reason(cause), details
            )
            self.run_singly(number, Range(self._place, self._batch_end(self._place, stop)), cause)
        elif self.predictor.batch_size == 1:
            self.run_singly(number, Range(self._place, self._place + 1), cause)
        else:
            self._halve(cause)

    def _stream(self, number: int, places: Range) -> None:
        part = self.source.parts[number].some(places.start, places.stop)
        self._waiting = []
        with closing(self.predictor.stream(self._only(part))) as stream:
            for outputs in _watched(stream):
                self._waiting.append(outputs)
                self._place += 1
                if self._place % self.shape.chunk == 0:
                    self._save(number)
                elif self._place % self.predictor.batch_size == 0:
                    self._report()
        self._save(number)

    def _report(self) -> None:
        now = perf_counter()
        if now - self._reported >= SECONDS_BETWEEN_REPORTS:
            self._reported = now
            self.ahead(len(self._waiting))

    def _save(self, number: int) -> None:
        """Save waiting frames in the journal."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self.n_done += len(waiting)
            self._put(number, self._place - len(waiting), self._columns(waiting), self.predictor.batch_size)

    def _save_whole_batches(self, number: int) -> None:
        """Save waiting frames up to the end of a batch and continue from there."""
        n_extra = min(self._place % self.predictor.batch_size, len(self._waiting))
        self._place -= n_extra
        self._waiting = self._waiting[: len(self._waiting) - n_extra]
        self._save(number)

    def _put(self, number: int, start: int, columns: Columns, batch_size: int) -> None:
        now = perf_counter()
        with self.predictor.stopwatch.timing("writing"):
            self.results.add(number, start, columns, batch_size, now - self._since)
        self._since = now
        self.saved(number, start, columns)

    def _columns(self, found: list[Outputs]) -> Columns:
        return to_columns(found, self.shape.n_nodes, self.shape.is_centroid)

    def _only(self, part: VideoPart) -> Source:
        return Source(self.source.name, (part,), self.source.node_names)

    def _batch_end(self, place: int, stop: int | None) -> int:
        size = self.predictor.batch_size
        end = (place // size + 1) * size
        return end if stop is None else min(end, stop)

    def _halve(self, error: BaseException) -> None:
        size = self.predictor.batch_size // 2
        fallback = Fallback("batch_size", str(self.predictor.batch_size), str(size), f"Memory ran out: {error}")
        self.predictor.reports.fall_back(fallback, f"memory ran out ({error}): continuing with batches of {size}")
        self.predictor.batch_size = size

    @contextmanager
    def _batches_of(self, size: int) -> Iterator[None]:
        before, self.predictor.batch_size = self.predictor.batch_size, size
        try:
            yield
        finally:
            self.predictor.batch_size = before


class _StreamError(Exception):
    """The stream of poses ended with an error."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _watched(stream: Iterator[Outputs]) -> Iterator[Outputs]:
    """Yield the same, with errors of the stream told apart from those of its consumer."""
    while True:
        try:
            outputs = next(stream)
        except StopIteration:
            return
        except Exception as error:
            raise _StreamError(error) from error
        yield outputs


def as_our_error(error: BaseException) -> SleapInferError:
    """Return an error of another library as one of this package."""
    if isinstance(error, SleapInferError):
        return error
    return WorkerError(f"No frame can be predicted: {explain(error)}")


def reason(error: BaseException) -> str:
    """Return an error in one line."""
    return str(error) if isinstance(error, SleapInferError) else one_line(error)
