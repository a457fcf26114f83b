"""Before a task runs: is it done, its lock, its journal, and options that the user left open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import attrs
from attrs import frozen

from sleap_infer.errors import JobBusyError, JobDiffersError, JournalError
from sleap_infer.frames import Source
from sleap_infer.jobs.events import JobOptions
from sleap_infer.jobs.plan.content import Contents, noted
from sleap_infer.jobs.plan.identity import differences, how_it_runs, identity_key
from sleap_infer.jobs.plan.tasks import Models, Task, chunk_size
from sleap_infer.jobs.run.protocol import Opened
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.jobs.store.journal_files import SKIPPED, delete_own
from sleap_infer.jobs.store.locks import hold_lock
from sleap_infer.jobs.store.ranges import Range
from sleap_infer.jobs.write.results import read_mark, read_noted

PATIENCE_S = 60.0
"""Seconds that a shard waits for another one to create their journal."""


def as_begun(models: Models, tasks: Sequence[Task]) -> Models:
    """Return models with backend, precision and batch size of the first existing journal, where these are open."""
    for task in tasks:
        if Journal.is_at(task.journal):
            how = Journal.open(task.journal).facts["how"]
            if models.backend == "auto":
                models = attrs.evolve(models, backend=how["backend"])
            if models.precision == "auto":
                models = attrs.evolve(models, precision=how["precision"])
            if models.batch_size is None:
                models = attrs.evolve(models, batch_size=how["batch_size"])
            break
    return models


def is_done(task: Task, what: dict[str, Any], contents: Contents, options: JobOptions) -> bool:
    """Return whether all files of a task are there, made by this very job.

    Args:
        task: which.
        what: identity of the job.
        contents: of its videos.
        options: of the job.

    Raises:
        JobDiffersError: a file is there that something else made.
    """
    if options.overwrite:
        return False
    targets = task.targets(options.formats).values()
    there = [target for target in targets if target.exists()]
    strange = next((path for path in there if read_mark(path) != identity_key(what)), None)
    if strange is not None:
        raise JobDiffersError(
            f"{strange} is there already, and was made by something else: other models, settings "
            "or frames. Choose another name, or replace it (--overwrite)."
        )
    for path in there:
        unlike = contents.unlike(read_noted(path))
        if unlike is not None:
            raise JobDiffersError(
                f"{path} is there already, but {unlike}. Choose another name, or replace it (--overwrite)."
            )
    return len(there) == len(targets)


def lock(task: Task, shard: tuple[int, int] | None) -> ExitStack:
    """Lock the journal; of a job that runs in shards, this shard of it."""
    stack = ExitStack()
    stack.enter_context(hold_lock(task.journal / "lock", str(task.output), shared=shard is not None))
    if shard is not None:
        stack.enter_context(hold_lock(task.journal / f"shard-{shard[0]}.lock", f"shard {shard[0]} of {task.output}"))
    return stack


@frozen
class JournalSetup:
    """Opens the journal of a task.

    Attributes:
        task: the task.
        what: identity of the job.
        source: the opened source.
        contents: of its videos.
        models: facts of the opened models.
        options: of the job.
        warn: takes a line for people.
    """

    task: Task
    what: dict[str, Any]
    source: Source
    contents: Contents
    models: Opened
    options: JobOptions
    warn: Callable[[str], None]

    def open(self) -> Journal:
        """Open the existing journal of the task if it is of the same job, else create one. Call this under its lock.

        Raises:
            JobDiffersError: the existing journal is of another job.
            JournalError: it is damaged.
            OutputError: it cannot be written.
        """
        turn = nullcontext() if self.options.shard is None else _in_turn(self.task)
        with turn:  # shards begin together; one of them creates the journal
            return self._existing() or self._create()

    def _existing(self) -> Journal | None:
        """Return the existing journal; `None` if there is none, or if it is to be replaced."""
        if not Journal.is_at(self.task.journal):
            return None
        try:
            return self._resume()
        except JournalError:
            if not self.options.overwrite:
                raise
            return None

    def _resume(self) -> Journal | None:
        journal, was = Journal.open(self.task.journal), noted(self.task.journal)
        unlike = [*_unlike(journal, self.what), *differences(journal.facts["how"], how_it_runs(self.models.facts))]
        if not unlike and journal.has_checksums and (changed := self.contents.unlike(was)) is not None:
            unlike = [changed]
        if not unlike and self.options.resume and journal.has_checksums:
            journal.drop(SKIPPED)
            journal.check()
            self.contents.note(self.task.journal, was)
            return journal
        if unlike and not self.options.overwrite:
            raise JobDiffersError(
                f"{self.task.journal} holds the beginning of another job: {'; '.join(unlike[:3])}. Run that job to its "
                "end, choose another output, or start anew with --overwrite, which deletes it."
            )
        if not journal.has_checksums:
            self.warn(
                f"{self.task.journal} was written by an earlier version, without checksums: its frames are predicted "
                "again"
            )
        return None

    def _create(self) -> Journal:
        task, models = self.task, self.models
        delete_own(task.journal, with_locks=False)
        self.contents.note(task.journal)
        parts = [None if part.frame_inds is None else part.frame_inds.to_plain() for part in self.source.parts]
        paths = {name: [str(Path(path).absolute()) for path in getattr(task, name)] for name in ("sources", "named_in")}
        return Journal.create(
            task.journal,
            {
                "what": self.what,
                "how": how_it_runs(models.facts),
                "parts": [{"frames": frames} for frames in parts],
                "chunk": chunk_size(models.facts["batch_size"], self.options.chunk),
                "n_nodes": models.n_nodes,
                "is_centroid": models.is_centroid,
                "skeleton": models.skeleton,
                "classes": models.classes,
                "settings": models.settings,
                "facts": models.facts,
                "task": {**attrs.asdict(task), **paths},
                "started": datetime.now(UTC).isoformat(),
            },
        )


def _unlike(journal: Journal, what: Mapping[str, Any]) -> Iterator[str]:
    """In what a journal's job differs. The first version knew videos by other samples of them: their names count."""
    there = journal.facts["what"]
    if journal.has_checksums:
        return differences(there, what)
    one, other = ({**facts, "videos": [video["name"] for video in facts["videos"]]} for facts in (there, what))
    return differences(one, other)


@contextmanager
def _in_turn(task: Task) -> Iterator[None]:
    """Wait for a lock that others hold for a moment only."""
    limit = monotonic() + PATIENCE_S
    while True:
        with ExitStack() as stack:
            try:
                stack.enter_context(hold_lock(task.journal / "making.lock", f"the journal of {task.output}"))
            except JobBusyError:
                if monotonic() > limit:
                    raise
                sleep(0.1)
                continue
            yield
            return


def everything(source: Source) -> dict[int, list[Range]]:
    """Return all positions of all videos of a source."""
    lengths = [None if part.frame_inds is None else len(part.frame_inds) for part in source.parts]
    return {number: [Range(0, length)] for number, length in enumerate(lengths)}
