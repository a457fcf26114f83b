"""A task while it is worked on: what belongs to it, what is left of it, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

import attrs
from attrs import define, field

from sleap_infer.choices import OutputFormat, StageName
from sleap_infer.errors import SleapInferError
from sleap_infer.frames import Source
from sleap_infer.jobs.events import JobOptions, TaskReport
from sleap_infer.jobs.plan.content import Contents
from sleap_infer.jobs.plan.tasks import Task
from sleap_infer.jobs.run.drift import DriftCheck
from sleap_infer.jobs.run.protocol import Saved
from sleap_infer.jobs.run.supervisor import AssignedRange
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.jobs.store.ranges import Range, within
from sleap_infer.jobs.write.results import collect, write
from sleap_infer.runners.profile import STAGES, Profile

WAIT_S = 10.0
"""Seconds that a job waits at its end for the checksums of its videos, or as long as it has taken so far."""


@define
class TaskState:
    """A task that is being processed.

    Attributes:
        task: the task.
        journal: its journal, open.
        source: its frames, open.
        contents: of its videos.
        locks: released at the end.
        ranges: not taken by a worker yet.
        n_before: frames that were in the journal when it was opened.
        n_left: ranges that are not done.
        error: why it cannot go on; `None` if it can.
        ahead: frames that each worker has predicted and that are not in the journal yet.
    """

    task: Task
    journal: Journal
    source: Source
    contents: Contents
    locks: ExitStack
    ranges: list[AssignedRange]
    n_before: int
    n_left: int
    error: SleapInferError | None = None
    ahead: dict[str, int] = field(factory=dict)
    _begun: float = field(factory=perf_counter, init=False)
    _seconds: dict[StageName, float] = field(factory=lambda: dict.fromkeys(STAGES, 0.0), init=False)
    _drift_checks: dict[int, DriftCheck] = field(factory=dict, init=False)
    _warnings: list[str] = field(factory=list, init=False)

    @property
    def n_ahead(self) -> int:
        """Frames that are predicted and not in the journal yet."""
        return sum(self.ahead.values())

    def missing(self, assigned: AssignedRange) -> list[Range]:
        """Return the gaps of a range that are not in the journal."""
        return within(self.journal.missing().get(assigned.part, []), assigned.places)

    def stop(self, error: SleapInferError) -> None:
        """Drop the remaining ranges because of an error. The first error is reported."""
        self.error = self.error or error
        self.n_left -= len(self.ranges)
        self.ranges = []

    def count(self, seconds: Mapping[StageName, float]) -> None:
        """Add the busy seconds of stages."""
        for stage, spent in seconds.items():
            self._seconds[stage] += spent

    def watch(self, saved: Saved) -> Iterator[str]:
        """Yield a warning for each sudden change in new results."""
        for text in self._drift_checks.setdefault(saved.part, DriftCheck()).watch(saved.window):
            line = f"{self.task.name}: up to frame {saved.places.stop}, {text}. Check the video there"
            self._warnings.append(line)
            yield line

    def failed(self, error: SleapInferError) -> TaskReport:
        """Return the report of a task that an error ended."""
        return TaskReport(self.task, "failed", error=str(error), seconds=perf_counter() - self._begun)

    def conclude(
        self, options: JobOptions, n_streams: int, warn: Callable[[str], None], look: Callable[[bool], Source]
    ) -> TaskReport:
        """Write the files of a complete task and return its report.

        Args:
            options: of the job.
            n_streams: threads in which networks ran.
            warn: takes what is wrong with the results, for people.
            look: gives the source with the shapes of its videos and, if asked to, the times of frames.

        Raises:
            SleapInferError: files cannot be written, or the journal cannot be read.
        """
        if self.error is not None:
            return self.failed(self.error)
        self.contents.wait(max(WAIT_S, perf_counter() - self._begun))
        if options.shard is not None:
            return TaskReport(self.task, "shared", seconds=perf_counter() - self._begun)
        begun = perf_counter()
        results = collect(self.journal, self.source)
        targets = self._targets(options, results.n_failed)
        for line in results.warnings(targets):
            self._warnings.append(line)
            warn(line)
        targets = self._targets(options, results.n_failed)
        results = attrs.evolve(results, source=look("ledger" in targets))
        facts = self.journal.facts["facts"]
        profile = Profile(dict(self._seconds), begun - self._begun, n_streams, facts["precision"], facts["device"])
        files = write(results, targets, profile.as_dict())
        wall = perf_counter() - self._begun
        profile = profile.with_writing(self._seconds["writing"] + perf_counter() - begun, wall)
        if not options.keep_journal:
            self.journal.delete()
        return TaskReport(
            self.task,
            "written",
            results.counts,
            results.n_instances,
            tuple(files),
            seconds=wall,
            n_resumed=self.n_before,
            profile=profile,
            warnings=tuple(self._warnings),
            notes=results.notes,
            n_capped=results.n_capped,
        )

    def _targets(self, options: JobOptions, n_failed: int) -> dict[OutputFormat, Path]:
        targets = self.task.targets(options.formats)
        return {**targets, "ledger": self.task.target("ledger")} if n_failed else targets
