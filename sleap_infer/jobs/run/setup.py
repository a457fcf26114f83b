"""Before a task is run: whether it is done, its lock, its journal, what is left open by the user."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import attrs

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
"""How long a shard waits for another one that makes their journal."""


def as_begun(models: Models, tasks: Sequence[Task]) -> Models:
    """Models as the first journal that is there has begun with them, as far as that was left open."""
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
    """Whether all files of a task are there, made by this very job.

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
    """Hold what nobody else may: the journal; of a shared job, this share of it."""
    stack = ExitStack()
    stack.enter_context(hold_lock(task.journal / "lock", str(task.output), shared=shard is not None))
    if shard is not None:
        stack.enter_context(hold_lock(task.journal / f"shard-{shard[0]}.lock", f"shard {shard[0]} of {task.output}"))
    return stack


def open_journal(
    task: Task,
    what: dict[str, Any],
    source: Source,
    contents: Contents,
    said: Opened,
    options: JobOptions,
    warn: Callable[[str], None],
) -> Journal:
    """Open the existing journal of a task if it is of the same job, else create one. Call this under its lock.

    Args:
        task: whose journal.
        what: identity of the job.
        source: opened.
        contents: of its videos.
        said: what the models are.
        options: of the job.
        warn: takes a line for people.

    Raises:
        JobDiffersError: what is there is of another job.
        JournalError: what is there is damaged.
        OutputError: it cannot be written.
    """
    if options.shard is None:
        return _opened(task, what, source, contents, said, options, warn)
    with _in_turn(task):  # shards begin together; one of them makes the journal
        return _opened(task, what, source, contents, said, options, warn)


def _opened(
    task: Task,
    what: dict[str, Any],
    source: Source,
    contents: Contents,
    said: Opened,
    options: JobOptions,
    warn: Callable[[str], None],
) -> Journal:
    how = how_it_runs(said.facts)
    if Journal.is_at(task.journal):
        try:
            journal = _resumed(task, what, contents, how, options, warn)
        except JournalError:
            if not options.overwrite:
                raise
            journal = None
        if journal is not None:
            return journal
    delete_own(task.journal, with_locks=False)
    contents.note(task.journal)
    return Journal.create(
        task.journal,
        {
            "what": what,
            "how": how,
            "parts": [
                {"frames": None if part.frame_inds is None else part.frame_inds.to_plain()} for part in source.parts
            ],
            "chunk": chunk_size(said.facts["batch_size"], options.chunk),
            "n_nodes": said.n_nodes,
            "is_centroid": said.is_centroid,
            "skeleton": said.skeleton,
            "classes": said.classes,
            "settings": said.settings,
            "facts": said.facts,
            "task": {
                **attrs.asdict(task),
                **{
                    name: [str(Path(path).absolute()) for path in getattr(task, name)]
                    for name in ("sources", "named_in")
                },
            },
            "started": datetime.now(UTC).isoformat(),
        },
    )


def _resumed(
    task: Task,
    what: dict[str, Any],
    contents: Contents,
    how: dict[str, Any],
    options: JobOptions,
    warn: Callable[[str], None],
) -> Journal | None:
    """Return the existing journal; `None` if it is to be replaced."""
    journal = Journal.open(task.journal)
    unlike, was = [*_unlike(journal, what), *differences(journal.facts["how"], how)], noted(task.journal)
    if not unlike and journal.has_checksums and (changed := contents.unlike(was)) is not None:
        unlike = [changed]
    if not unlike and options.resume and journal.has_checksums:
        journal.drop(SKIPPED)
        journal.check()
        contents.note(task.journal, was)
        return journal
    if unlike and not options.overwrite:
        raise JobDiffersError(
            f"{task.journal} holds the beginning of another job: {'; '.join(unlike[:3])}. Run that job to its "
            "end, choose another output, or start anew with --overwrite, which deletes it."
        )
    if not journal.has_checksums:
        warn(f"{task.journal} was written by an earlier version, without checksums: its frames are predicted again")
    return None


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
    """All places of all parts of a source."""
    lengths = [None if part.frame_inds is None else len(part.frame_inds) for part in source.parts]
    return {number: [Range(0, length)] for number, length in enumerate(lengths)}
