"""Before a task is run: whether it is done, its lock, its journal, what is left open by the user."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from sleap_infer.errors import JobDiffersError
from sleap_infer.frames import Source
from sleap_infer.jobs.events import JobOptions
from sleap_infer.jobs.finishing import read_mark
from sleap_infer.jobs.identity import differences, digest, how_it_runs
from sleap_infer.jobs.journal import Journal
from sleap_infer.jobs.locks import only_one
from sleap_infer.jobs.messages import Opened
from sleap_infer.jobs.ranges import Range
from sleap_infer.jobs.tasks import Models, Task, chunk_size


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


def is_done(task: Task, what: dict[str, Any], options: JobOptions) -> bool:
    """Whether all files of a task are there, made by this very job.

    Raises:
        JobDiffersError: a file is there that something else made.
    """
    if options.overwrite:
        return False
    targets = task.targets(options.formats).values()
    there = [target for target in targets if target.exists()]
    strange = next((path for path in there if read_mark(path) != digest(what)), None)
    if strange is not None:
        raise JobDiffersError(
            f"{strange} is there already, and was made by something else: other models, settings "
            "or frames. Choose another name, or replace it (--overwrite)."
        )
    return len(there) == len(targets)


def lock(task: Task, shard: tuple[int, int] | None) -> ExitStack:
    """Hold what nobody else may: the journal; of a shared job, this share of it."""
    stack = ExitStack()
    stack.enter_context(only_one(task.journal / "lock", str(task.output), shared=shard is not None))
    if shard is not None:
        stack.enter_context(only_one(task.journal / f"shard-{shard[0]}.lock", f"shard {shard[0]} of {task.output}"))
    return stack


def open_journal(task: Task, what: dict[str, Any], source: Source, said: Opened, options: JobOptions) -> Journal:
    """The task's journal: the one that is there, if it is of the same job, else a new one."""
    how = how_it_runs(said.facts)
    if Journal.is_at(task.journal):
        journal = Journal.open(task.journal)
        unlike = [*differences(journal.facts["what"], what), *differences(journal.facts["how"], how)]
        if not unlike and options.resume:
            return journal
        if unlike and not options.overwrite:
            raise JobDiffersError(
                f"{task.journal} holds the beginning of another job: {'; '.join(unlike[:3])}. Run that job to its "
                "end, choose another output, or start anew with --overwrite, which deletes it."
            )
        journal.delete_results()
    return Journal.create(
        task.journal,
        {
            "what": what,
            "how": how,
            "parts": [{"frames": part.frame_inds} for part in source.parts],
            "chunk": chunk_size(said.facts["batch_size"], options.chunk),
            "n_nodes": said.n_nodes,
            "is_centroid": said.is_centroid,
            "skeleton": said.skeleton,
            "classes": said.classes,
            "settings": said.settings,
            "facts": said.facts,
            "task": {**attrs.asdict(task), "sources": [str(Path(name).absolute()) for name in task.sources]},
            "started": datetime.now(UTC).isoformat(),
        },
    )


def everything(source: Source) -> dict[int, list[Range]]:
    """All places of all parts of a source."""
    lengths = [None if part.frame_inds is None else len(part.frame_inds) for part in source.parts]
    return {number: [Range(0, length)] for number, length in enumerate(lengths)}
