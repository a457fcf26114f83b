"""Ranges of a task's videos, and one worker that predicts them: restarts after crashes, isolates failing frames."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from attrs import define, frozen

from sleap_infer.errors import SourceError, SourceFormatError, WorkerError
from sleap_infer.frames import Source
from sleap_infer.frames.source import VideoPart
from sleap_infer.jobs.plan.tasks import Task
from sleap_infer.jobs.run.bisect import Bisection
from sleap_infer.jobs.run.protocol import Ahead, Answer, At, Look, Looked, Open, Opened, Request, Run, Saved
from sleap_infer.jobs.run.range_runner import Shape
from sleap_infer.jobs.run.source_facts import as_source
from sleap_infer.jobs.run.worker_handle import Crash
from sleap_infer.jobs.store.ranges import Range, at_multiples

CRASHES_IN_ONE_PLACE = 2
"""Then the frames there are run one by one."""

STARTS = 3
"""Attempts at loading the models."""

PARTS_PER_WORKER = 4
"""Ranges into which a video is cut for each worker, so that none waits long for the last."""

logger = logging.getLogger(__name__)


class Worker(Protocol):
    """Takes requests: `worker_handle.WorkerProcess`, or `worker_handle.InThisProcess`."""

    def ask(self, request: Request, on_answer: Callable[[Answer], None]) -> None:
        """Have something done."""

    def look(self, request: Look, on_answer: Callable[[Answer], None]) -> Looked:
        """Have a source described."""

    def stop(self) -> None:
        """End it."""


@frozen
class AssignedRange:
    """A range of one part of a task.

    Attributes:
        task: whose frames.
        part: number of the video.
        places: of the frames.
        shape: of the rows.
        length: frames that are wanted of the part, as far as it says.
    """

    task: Task
    part: int
    places: Range
    shape: Shape
    length: int | None = None

    @property
    def name(self) -> str:
        """Return the name of its claim."""
        return f"{self.part:06d}-{self.places.start:09d}"


def cut(
    missing: Mapping[int, list[Range]], parts: tuple[VideoPart, ...], chunk: int, n_workers: int
) -> Iterator[tuple[int, Range]]:
    """Cut what is missing into ranges for several workers, at the edges of chunks.

    Args:
        missing: by part.
        parts: of the source.
        chunk: frames per journal entry.
        n_workers: that share the work.
    """
    for part, gaps in missing.items():
        length = parts[part].n_frames or 0
        chunks = max(-(-length // (n_workers * PARTS_PER_WORKER * chunk)), 1)
        for gap in gaps:
            pieces = at_multiples(gap, chunks * chunk, length) if n_workers > 1 else [gap]
            yield from ((part, places) for places in pieces)


@define
class Attempt:
    """One worker. Its process is restarted after a crash, and the frames that crash it are isolated.

    Attributes:
        worker: the process.
        opening: returns the request that loads the models.
        shard: name of the journal's file that it writes to.
        on_answer: called with each answer of the worker.
        is_open: whether the models are loaded.
    """

    worker: Worker
    opening: Callable[[], Open]
    shard: str
    on_answer: Callable[[Answer], None]
    is_open: bool = False
    _full_batch: int = 1
    _batch_size: int | None = None
    _reached: int = 0
    _n_good: int = 0
    _span: int = 1
    _at: int | None = None
    _has_crashed: bool = False

    def open(self) -> None:
        """Load the models.

        Raises:
            SleapInferError: they cannot be loaded.
            WorkerError: the process ends each time.
        """
        for left in reversed(range(STARTS)):
            try:
                self.worker.ask(self.opening(), self._on_answer)
                self.is_open = True
                return
            except Crash as crash:
                if not left:
                    raise WorkerError(f"The models cannot be loaded: {crash}.") from crash
                logger.warning("loading the models failed (%s): trying again", crash)

    def look(self, task: Task, with_shapes: bool = False, with_times: bool = False) -> Source:
        """Open the source of a task in the worker and describe it.

        Args:
            task: the task.
            with_shapes: whether frames are read to describe the shapes of videos.
            with_times: whether the times of frames are wanted.

        Raises:
            SourceError: it cannot be read, or ends the process that opens it.
            WorkerError: the process ends at any request.
        """
        try:
            return as_source(self.worker.look(Look(task, with_shapes, with_times), self._on_answer))
        except Crash as crash:
            self.is_open = False
            self._require_worker()
            raise SourceFormatError(f"{task.name} cannot be opened: {crash}. Convert or repair the file.") from crash

    def _require_worker(self) -> None:
        try:
            self.worker.look(Look(None), self._on_answer)
        except Crash as crash:
            raise WorkerError(f"The models cannot be loaded: {crash}.") from crash

    def look_closely(self, task: Task, seen: Source, with_times: bool) -> Source:
        """Return a source with shapes of videos and times of frames; unchanged if it can no longer be opened."""
        try:
            return self.look(task, with_shapes=True, with_times=with_times)
        except SourceError as error:
            logger.warning("%s: shapes of videos and times of frames are left out: %s", task.name, error)
            return seen

    def do(self, assigned: AssignedRange) -> None:
        """Predict a range and save it in the journal.

        Raises:
            SleapInferError: it cannot be done.
        """
        places, crashes = assigned.places, 0
        self._batch_size, self._span = None, 1
        while True:
            self._reached = places.start
            try:
                self._run(assigned, places)
                return
            except Crash as crash:
                crashes = crashes + 1 if self._reached == places.start else 1
                places = Range(self._reached, places.stop)
                logger.warning(
                    "%s: %s near frame %d of the requested ones; restarting there",
                    assigned.task.name,
                    crash,
                    self._reached,
                )
                smaller = (self._batch_size or self._full_batch) // 2
                if crash.is_memory and smaller:
                    self._batch_size = smaller
                elif crashes >= CRASHES_IN_ONE_PLACE:
                    if assigned.length is not None and places.start >= assigned.length:
                        raise WorkerError(f"{assigned.task.name}: {crash}, after its last frame.") from crash
                    places = Range(self._bisect(assigned, places), places.stop)
                    crashes = 0
                    if places.stop is not None and places.start >= places.stop:
                        return

    def _bisect(self, assigned: AssignedRange, places: Range) -> int:
        """Run frames from a position on one by one; return the position after them.

        The number of frames is one chunk, and doubles each time that none of them can be run.
        """
        chunk, ends = assigned.shape.chunk, (places.stop, assigned.length)
        end = (places.start // chunk + self._span) * chunk
        end = min([end, *(stop for stop in ends if stop is not None)])
        bisection, marks, n_failing = Bisection.of(Range(places.start, end)), (), 0
        while (some := bisection.next) is not None:
            self._at = None
            try:
                self._run(assigned, some, singly=True, marks=marks)
                marks = ()
                bisection.done()
            except Crash as crash:
                if self._at is None:
                    raise WorkerError(f"{assigned.task.name}: {crash}, before any frame.") from crash
                failing = bisection.crashed(self._at)
                n_failing += len(failing)
                marks = ((failing, f"frame {self._at}: {crash}"),)
                logger.warning("%s: frame %d of the requested ones fails: %s", assigned.task.name, self._at, crash)
        if marks:
            self._run(assigned, Range(end, end), singly=True, marks=marks)
        nothing = n_failing == end - places.start
        if nothing and not self._n_good:
            raise WorkerError(f"{assigned.task.name}: requested frames {places.start} to {end} all end the process.")
        self._span = 2 * self._span if nothing else 1
        return end

    def _run(
        self, assigned: AssignedRange, places: Range, singly: bool = False, marks: tuple[tuple[Range, str], ...] = ()
    ) -> None:
        if not self.is_open:
            self.open()
        try:
            size, again = self._batch_size, self._has_crashed
            self.worker.ask(
                Run(assigned.task, assigned.part, places, self.shard, assigned.shape, size, singly, marks, again),
                self._on_answer,
            )
        except Crash:
            self.is_open, self._has_crashed = False, True
            self.on_answer(Ahead(0))
            raise

    def _on_answer(self, answer: Answer) -> None:
        if isinstance(answer, At):
            self._at = answer.place
            return
        if isinstance(answer, Opened):
            self._full_batch = answer.facts["batch_size"]
        if isinstance(answer, Saved):
            self._reached = max(self._reached, answer.places.stop or 0)
            self._n_good += answer.counts["ok"] + answer.counts["empty"]
        self.on_answer(answer)
