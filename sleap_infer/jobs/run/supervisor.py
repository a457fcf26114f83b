"""The work of a job as ranges of a task's parts, and one worker's way through such a range, whatever breaks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from attrs import define, frozen

from sleap_infer.errors import SourceError, SourceFormatError, WorkerError
from sleap_infer.frames import Source
from sleap_infer.frames.source import VideoPart
from sleap_infer.jobs.plan.tasks import Task
from sleap_infer.jobs.run.bisect import Narrowing
from sleap_infer.jobs.run.protocol import Ahead, Answer, At, Kept, Look, Looked, Open, Opened, Request, Run
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
    """What can be asked: `process.WorkerProcess`, or `process.InThisProcess`."""

    def ask(self, request: Request, tell: Callable[[Answer], None]) -> None:
        """Have something done."""

    def look(self, request: Look, tell: Callable[[Answer], None]) -> Looked:
        """Have a source described."""

    def stop(self) -> None:
        """End it."""


@frozen
class Unit:
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
        """Of its claim."""
        return f"{self.part:06d}-{self.places.start:09d}"


def cut(
    missing: Mapping[int, list[Range]], parts: tuple[VideoPart, ...], chunk: int, n_workers: int
) -> Iterator[tuple[int, Range]]:
    """Cut what is missing into ranges for several workers, at the edges of chunks.

    Args:
        missing: by part.
        parts: of the source.
        chunk: frames that are kept together.
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
    """One worker's way through units: it starts the process again where it ended, and finds the frames that end it.

    Attributes:
        worker: that does the work.
        opening: gives what loads the models.
        shard: name of the journal's file that it writes to.
        tell: takes what happens.
        is_open: whether the models are loaded.
    """

    worker: Worker
    opening: Callable[[], Open]
    shard: str
    tell: Callable[[Answer], None]
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
                self.worker.ask(self.opening(), self._hear)
                self.is_open = True
                return
            except Crash as crash:
                if not left:
                    raise WorkerError(f"The models cannot be loaded: {crash}.") from crash
                logger.warning("loading the models failed (%s): trying again", crash)

    def look(self, task: Task, with_shapes: bool = False, with_times: bool = False) -> Source:
        """Have the source of a task looked at.

        Args:
            task: which.
            with_shapes: whether frames are read to describe the shapes of videos.
            with_times: whether the times of frames are wanted.

        Raises:
            SourceError: it cannot be read, or ends the process that opens it.
            WorkerError: the process ends whatever it is asked.
        """
        try:
            return as_source(self.worker.look(Look(task, with_shapes, with_times), self._hear))
        except Crash as crash:
            self.is_open = False
            self._require_worker()
            raise SourceFormatError(f"{task.name} cannot be opened: {crash}. Convert or repair the file.") from crash

    def _require_worker(self) -> None:
        try:
            self.worker.look(Look(None), self._hear)
        except Crash as crash:
            raise WorkerError(f"The models cannot be loaded: {crash}.") from crash

    def look_closely(self, task: Task, seen: Source, with_times: bool) -> Source:
        """Return a source with shapes of videos and times of frames; unchanged if it can no longer be opened."""
        try:
            return self.look(task, with_shapes=True, with_times=with_times)
        except SourceError as error:
            logger.warning("%s: shapes of videos and times of frames are left out: %s", task.name, error)
            return seen

    def do(self, unit: Unit) -> None:
        """Predict a unit, into the journal.

        Raises:
            SleapInferError: it cannot be done.
        """
        places, crashes = unit.places, 0
        self._batch_size, self._span = None, 1
        while True:
            self._reached = places.start
            try:
                self._run(unit, places)
                return
            except Crash as crash:
                crashes = crashes + 1 if self._reached == places.start else 1
                places = Range(self._reached, places.stop)
                logger.warning("%s: %s near place %d; starting again there", unit.task.name, crash, self._reached)
                smaller = (self._batch_size or self._full_batch) // 2
                if crash.is_memory and smaller:
                    self._batch_size = smaller
                elif crashes >= CRASHES_IN_ONE_PLACE:
                    if unit.length is not None and places.start >= unit.length:
                        raise WorkerError(f"{unit.task.name}: {crash}, behind its last frame.") from crash
                    places = Range(self._narrow(unit, places), places.stop)
                    crashes = 0
                    if places.stop is not None and places.start >= places.stop:
                        return

    def _narrow(self, unit: Unit, places: Range) -> int:
        """Run frames from a place on one by one; gives the place behind them.

        It is a chunk, and twice as many each time that not one of them can be run.
        """
        chunk, ends = unit.shape.chunk, (places.stop, unit.length)
        end = (places.start // chunk + self._span) * chunk
        end = min([end, *(stop for stop in ends if stop is not None)])
        narrowing, marks, n_guilty = Narrowing.of(Range(places.start, end)), (), 0
        while (some := narrowing.next) is not None:
            self._at = None
            try:
                self._run(unit, some, singly=True, marks=marks)
                marks = ()
                narrowing.done()
            except Crash as crash:
                if self._at is None:
                    raise WorkerError(f"{unit.task.name}: {crash}, before any frame.") from crash
                guilty = narrowing.crashed(self._at)
                n_guilty += len(guilty)
                marks = ((guilty, f"frame {self._at}: {crash}"),)
                logger.warning("%s: place %d is guilty: %s", unit.task.name, self._at, crash)
        if marks:
            self._run(unit, Range(end, end), singly=True, marks=marks)
        nothing = n_guilty == end - places.start
        if nothing and not self._n_good:
            raise WorkerError(f"{unit.task.name}: every frame from place {places.start} to {end} ends the process.")
        self._span = 2 * self._span if nothing else 1
        return end

    def _run(self, unit: Unit, places: Range, singly: bool = False, marks: tuple[tuple[Range, str], ...] = ()) -> None:
        if not self.is_open:
            self.open()
        try:
            size, again = self._batch_size, self._has_crashed
            self.worker.ask(
                Run(unit.task, unit.part, places, self.shard, unit.shape, size, singly, marks, again), self._hear
            )
        except Crash:
            self.is_open, self._has_crashed = False, True
            self.tell(Ahead(0))
            raise

    def _hear(self, answer: Answer) -> None:
        if isinstance(answer, At):
            self._at = answer.place
            return
        if isinstance(answer, Opened):
            self._full_batch = answer.facts["batch_size"]
        if isinstance(answer, Kept):
            self._reached = max(self._reached, answer.places.stop or 0)
            self._n_good += answer.counts["ok"] + answer.counts["empty"]
        self.tell(answer)
