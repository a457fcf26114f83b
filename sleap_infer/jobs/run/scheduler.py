"""Batch jobs: many videos, in processes that may end at any moment, into files that are whole.

`run_job` prepares each task (its source, its journal, what is missing), has workers predict what is missing, and writes
the files from the journal.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial

import attrs
from attrs import frozen

from sleap_infer.errors import JobError, JournalError, OutputError, SleapInferError, TooManyFailuresError, WorkerError
from sleap_infer.jobs.events import Begun, Event, JobOptions, Listener, Note, Predicted, Progress, TaskReport
from sleap_infer.jobs.plan.check_outputs import check_targets, find_problems
from sleap_infer.jobs.plan.content import Contents
from sleap_infer.jobs.plan.identity import identify, identify_models
from sleap_infer.jobs.plan.tasks import Models, Task
from sleap_infer.jobs.run.protocol import Ahead, Answer, Done, LogLine, Open, Opened, Saved
from sleap_infer.jobs.run.range_runner import Shape
from sleap_infer.jobs.run.setup import JournalSetup, as_begun, everything, is_done, lock
from sleap_infer.jobs.run.supervisor import AssignedRange, Attempt, Worker, cut
from sleap_infer.jobs.run.task_state import TaskState
from sleap_infer.jobs.store.columns import FAILED
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.jobs.store.locks import Leases, remove_remains
from sleap_infer.jobs.write.tables import require_pyarrow
from sleap_infer.predictors.factory import Plan, read_plan
from sleap_infer.system.unexpected_errors import explain

logger = logging.getLogger(__name__)


@frozen
class Place:
    """Device and CPU cores of a worker (`None`: all cores)."""

    device: str = "auto"
    cores: tuple[int, ...] | None = None


class _CannotStart(Exception):
    """The models cannot be loaded, for any task."""

    def __init__(self, error: SleapInferError) -> None:
        super().__init__(str(error))
        self.error = error


class Job:
    """A job in this process; its workers may be elsewhere.

    Args:
        models: the models.
        tasks: the outputs to make.
        options: of the job.
        listen: called with each event, by one thread at a time.

    Raises:
        SleapInferError: the models or the options are not valid.
    """

    def __init__(
        self, models: Models, tasks: Sequence[Task], options: JobOptions, listen: Listener = lambda event: None
    ) -> None:
        self.tasks, self.options = tuple(tasks), options
        if any("parquet" in task.targets(options.formats) for task in tasks):
            require_pyarrow()
        self._problems = find_problems(tasks, options.formats)
        check_targets([task for _, task in self._sound()], options.formats, models.paths)
        self.plan: Plan = read_plan(list(models.paths), models.options)
        self._identity = identify_models(self.plan)
        self.models = models if options.overwrite else as_begun(models, [task for _, task in self._sound()])
        self._listener = listen
        self._from_listener: Exception | None = None
        self._lock = threading.RLock()
        self._settled: Opened | None = None
        self._reports: dict[int, TaskReport] = {}
        self._open: dict[int, TaskState] = {}
        self._n_workers = self._n_streams = 1
        self._next = self._first_opened = 0
        self._n_failed = 0
        self._stop: BaseException | None = None

    def run(self, workers: Sequence[Worker], places: Sequence[Place] | None = None) -> list[TaskReport]:
        """Run all tasks.

        Args:
            workers: the processes.
            places: device and CPU cores of each; by default the device of the models, and all cores.

        Returns:
            A report for each task.

        Raises:
            SleapInferError: the job cannot continue. Predicted frames are in the journals.
        """
        self._n_workers = len(workers)
        for index, problem in self._problems.items():
            self._report(index, TaskReport(self.tasks[index], "failed", error=str(problem)))
        where = places or [Place(self.models.device)] * len(workers)
        threads = [
            threading.Thread(target=self._work, args=(number, worker, where[number]), daemon=True)
            for number, worker in enumerate(workers)
        ]
        try:
            if len(threads) == 1:
                self._work(0, workers[0], where[0])
            else:
                for thread in threads:
                    thread.start()
                for thread in threads:
                    while thread.is_alive() and self._stop is None:
                        thread.join(0.2)
        finally:
            for worker in workers:
                worker.stop()
            for state in self._open.values():
                state.locks.close()
        if self._stop is not None:
            raise self._stop
        return [self._reports[number] for number in sorted(self._reports)]

    def _work(self, number: int, worker: Worker, place: Place) -> None:
        try:
            name = str(number) if self.options.shard is None else f"shard-{self.options.shard[0]}"
            attempt = Attempt(worker, lambda: self._opening(place), name, self._on_answer)
            for index, assigned in self._ranges(attempt):
                self._do(attempt, index, assigned)
        except BaseException as error:
            with self._lock:
                self._stop = self._stop or error

    def _opening(self, place: Place) -> Open:
        """Return the request that loads the models; open choices are made once, by the first worker."""
        models = attrs.evolve(self.models, device=place.device)
        unsettled = models.backend == "auto" or models.precision in ("auto", "int8")
        clip = self.tasks[self._first_opened] if unsettled else None
        return Open(models, clip, len(self.tasks) - len(self._problems), place.cores)

    def _sound(self) -> list[tuple[int, Task]]:
        """Return the tasks without a known problem, with their numbers."""
        return [(index, task) for index, task in enumerate(self.tasks) if index not in self._problems]

    def _do(self, attempt: Attempt, index: int, assigned: AssignedRange) -> None:
        state = self._open[index]
        claims = self._claims(state)
        attempt.on_answer = lambda answer: self._on_answer(answer, index, attempt.shard)
        try:
            if claims is None:
                attempt.do(assigned)
            else:
                with claims.working(assigned.name):
                    for gap in state.missing(assigned):
                        attempt.do(attrs.evolve(assigned, places=gap))
        except (OutputError, TooManyFailuresError):
            raise
        except Exception as error:
            if error is self._from_listener:
                raise
            self._on_answer(Ahead(0), index, attempt.shard)
            with self._lock:
                state.stop(as_job_error(error))
        with self._lock:
            state.n_left -= 1
            is_last = state.n_left == 0
        if is_last:
            self._finish(index, attempt)

    def _ranges(self, attempt: Attempt) -> Iterator[tuple[int, AssignedRange]]:
        """Yield chunks for one worker; tasks are set up when it is their turn."""
        while True:
            with self._lock:
                if self._stop is not None:
                    return
                found = self._take(attempt)
                if found is None:
                    if self._next >= len(self.tasks):
                        return
                    self._prepare_next(attempt)
                    continue
            yield found

    def _take(self, attempt: Attempt) -> tuple[int, AssignedRange] | None:
        for index, state in list(self._open.items()):
            claims = self._claims(state)
            while state.ranges:
                assigned = state.ranges.pop(0)
                try:
                    if claims is None or (state.missing(assigned) and claims.take(assigned.name)):
                        return index, assigned
                except JournalError as error:
                    state.stop(error)
                state.n_left -= 1
                if state.n_left == 0:
                    self._finish(index, attempt)
        return None

    def _claims(self, state: TaskState) -> Leases | None:
        shard = self.options.shard
        return None if shard is None else Leases(state.journal.path / "claims", f"shard-{shard[0]}")

    def _prepare_next(self, attempt: Attempt) -> None:
        """Open the next task and queue its ranges, or report why there is nothing to do."""
        index, self._next = self._next, self._next + 1
        if index in self._problems:
            return
        task = self.tasks[index]
        try:
            self._prepare(index, task, attempt)
        except _CannotStart as stop:
            raise stop.error from None
        except Exception as error:
            if len(self.tasks) == 1 or (isinstance(error, WorkerError) and error.__cause__ is not None):
                raise
            self._report(index, TaskReport(task, "failed", error=str(as_job_error(error))))

    def _prepare(self, index: int, task: Task, attempt: Attempt) -> None:
        with ExitStack() as stack:
            source = attempt.look(task)
            what, contents = identify(self._identity, source), Contents.of(source)
            if task.restore_source_videos:
                what["restore_source_videos"] = True
            if not Journal.is_at(task.journal) and is_done(task, what, contents, self.options):
                remove_remains(task.journal)
                self._report(index, TaskReport(task, "skipped"))
                return
            stack.callback(remove_remains, task.journal)
            stack.enter_context(lock(task, self.options.shard))
            if not attempt.is_open:
                self._first_opened = index
                _start(attempt)
            assert self._settled is not None
            journal = JournalSetup(task, what, source, contents, self._settled, self.options, self._warn).open()
            shape = Shape(journal.n_nodes, journal.facts["is_centroid"], journal.facts["chunk"])
            missing = journal.missing() if self.options.shard is None else everything(source)
            cuts = cut(missing, source.parts, shape.chunk, self._n_shares)
            ranges = self._in_turn(
                [AssignedRange(task, part, places, shape, source.parts[part].n_frames) for part, places in cuts]
            )
            n_before = journal.n_frames()
            state = TaskState(task, journal, source, contents, stack.pop_all(), ranges, n_before, n_left=len(ranges))
            self._open[index] = state
            self._listen(Begun(task, source.n_frames, n_before))
            if not ranges:
                self._finish(index, attempt)

    def _warn(self, text: str) -> None:
        self._listen(Note(text, is_warning=True))

    def _in_turn(self, ranges: list[AssignedRange]) -> list[AssignedRange]:
        """Rotate the ranges, so that each shard begins elsewhere and does not wait for the claims of another."""
        number, n_shares = self.options.shard or (0, 1)
        first = number * len(ranges) // n_shares
        return ranges[first:] + ranges[:first]

    @property
    def _n_shares(self) -> int:
        """Return the number of processes that share the work."""
        return self._n_workers if self.options.shard is None else self.options.shard[1]

    def _on_answer(self, answer: Answer, index: int | None = None, worker: str = "") -> None:
        with self._lock:
            if isinstance(answer, Opened):
                self._on_opened(answer)
            elif isinstance(answer, LogLine):
                self._listen(Note(answer.text, is_warning=answer.level >= logging.WARNING))
            elif index is not None and isinstance(answer, Saved):
                self._open[index].ahead[worker] = 0
                self._on_saved(answer, index)
            elif index is not None and isinstance(answer, Ahead):
                state = self._open[index]
                state.ahead[worker] = answer.n_frames
                self._listen(Predicted(state.task, state.n_ahead, answer.rss_bytes))
            elif index is not None and isinstance(answer, Done):
                self._open[index].count(answer.seconds)

    def _on_opened(self, answer: Opened) -> None:
        if self._settled is None:
            for line in answer.lines:
                self._listen(Note(line))
            self.models = attrs.evolve(
                self.models,
                backend=answer.facts["backend"],
                batch_size=answer.facts["batch_size"],
                precision=answer.facts["precision"] if self.models.precision == "auto" else self.models.precision,
            )
        self._settled = answer
        self._n_streams = answer.n_streams * self._n_workers

    def _on_saved(self, saved: Saved, index: int) -> None:
        state = self._open[index]
        n_failed = sum(saved.counts[status] for status in FAILED)
        self._n_failed += n_failed
        self._listen(
            Progress(state.task, len(saved.places), saved.n_instances, n_failed, saved.rss_bytes, state.n_ahead)
        )
        for line in state.watch(saved):
            self._listen(Note(line, is_warning=True))
        most = self.options.max_failed
        if most is not None and self._n_failed > most:
            raise TooManyFailuresError(
                f"{self._n_failed} frames failed, more than the {most} that are allowed (--max-failed). What was "
                "predicted is in the journals; the same command resumes there."
            )

    def _finish(self, index: int, attempt: Attempt) -> None:
        """Write the files of a task whose frames are all in its journal."""
        state = self._open[index]
        try:
            look = partial(attempt.look_closely, state.task, state.source)
            report = state.conclude(self.options, self._n_streams, self._warn, look)
        except OutputError:
            raise
        except Exception as error:
            report = state.failed(as_job_error(error))
        finally:
            with self._lock:
                self._open.pop(index, None)
            state.locks.close()
        self._report(index, report)

    def _listen(self, event: Event) -> None:
        try:
            self._listener(event)
        except Exception as error:
            self._from_listener = error
            raise

    def _report(self, index: int, report: TaskReport) -> None:
        with self._lock:
            self._reports[index] = report
            self._listen(report)


def as_job_error(error: Exception) -> SleapInferError:
    """Return an error that ends a task, and not the job; the details of an unexpected error are in a file."""
    return error if isinstance(error, SleapInferError) else JobError(explain(error))


def _start(attempt: Attempt) -> None:
    try:
        attempt.open()
    except SleapInferError as error:
        raise _CannotStart(error) from error
