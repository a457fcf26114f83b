"""Writes the files of jobs that several processes shared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from sleap_infer.choices import OutputFormat
from sleap_infer.errors import JobError, JournalError, OutputExistsError
from sleap_infer.frames import Source
from sleap_infer.jobs.columns import failed
from sleap_infer.jobs.events import Listener, TaskReport
from sleap_infer.jobs.finishing import collect, write
from sleap_infer.jobs.identity import differences, identify_videos, plain
from sleap_infer.jobs.journal import Journal
from sleap_infer.jobs.locks import only_one
from sleap_infer.jobs.ranges import Range
from sleap_infer.jobs.tasks import Task


def find_journals(paths: Sequence[Path]) -> list[Journal]:
    """The journals at paths: each one itself, or a folder that holds some.

    Raises:
        JournalError: there is none.
    """
    found: list[Journal] = []
    for path in paths:
        places = [path] if Journal.is_at(path) else sorted(path.glob("*.journal")) if path.is_dir() else []
        if not places:
            raise JournalError(f"{path} is no journal, and holds none. Journals are folders named OUTPUT.journal.")
        found += [Journal.open(place) for place in places]
    return found


def task_of(journal: Journal) -> Task:
    """The task that a journal is of, with its output where the journal lies now."""
    facts = journal.facts["task"]
    frames = facts["frames"]
    output = journal.path.with_name(journal.path.name.removesuffix(".journal"))
    return Task(
        tuple(facts["sources"]), output, tuple(frames) if isinstance(frames, list) else frames, facts["at_most"]
    )


def merge_journals(
    journals: Sequence[Journal],
    formats: tuple[OutputFormat, ...],
    partial: bool,
    overwrite: bool,
    keep_journal: bool,
    listen: Listener,
) -> list[TaskReport]:
    """Write the files of journals.

    Args:
        journals: of jobs whose shares are done.
        formats: to write.
        partial: whether frames may be missing; they are marked as skipped.
        overwrite: whether files may be there.
        keep_journal: whether journals stay.
        listen: takes the reports.

    Raises:
        JobError: frames are missing; a share still works on it; the videos are not those of the job.
        OutputError: a file cannot be written.
    """
    reports = []
    for journal in journals:
        report = _merge(journal, formats, partial, overwrite, keep_journal)
        listen(report)
        reports.append(report)
    return reports


def _merge(
    journal: Journal, formats: tuple[OutputFormat, ...], partial: bool, overwrite: bool, keep_journal: bool
) -> TaskReport:
    task, begun = task_of(journal), perf_counter()
    targets = {form: task.target(form) for form in formats}
    there = [path for path in targets.values() if path.exists()]
    if there and not overwrite:
        raise OutputExistsError(f"{there[0]} is there already. Replace it with --overwrite.")
    with only_one(journal.path / "lock", str(task.output)), task.open() as source:
        unlike = list(differences(journal.facts["what"]["videos"], plain(identify_videos(source)), "videos"))
        if unlike:
            raise JobError(f"The videos of {journal.path} are not those that are there now: {unlike[0]}.")
        missing = journal.missing()
        if missing and not partial:
            raise JobError(
                f"{journal.path} is not complete: {_listing(missing)}. Run the shares that are missing, or write what "
                "is there with --partial."
            )
        _mark_missing(journal, source, missing)
        results = collect(journal, source)
        if results.n_failed:
            targets.setdefault("ledger", task.target("ledger"))
        files = write(results, targets, {})
    if not keep_journal:
        journal.delete()
    seconds = perf_counter() - begun
    return TaskReport(
        task, "written", results.counts, results.n_instances, tuple(files), seconds=seconds, notes=results.notes
    )


def _mark_missing(journal: Journal, source: Source, missing: dict[int, list[Range]]) -> None:
    if not missing:
        return
    with journal.shard("skipped") as shard:
        for part, gaps in missing.items():
            video = source.parts[part]
            length = video.n_frames or 0
            for gap in gaps:
                stop = max(gap.start, length) if gap.stop is None else gap.stop
                inds = range(gap.start, stop) if video.frame_inds is None else video.frame_inds[gap.start : stop]
                if len(inds):
                    note = "no process came to it"
                    shard.add(part, gap.start, failed(list(inds), "skipped", note, journal.n_nodes), 1)
                if gap.stop is None:
                    shard.end(part, stop)


def _listing(missing: dict[int, list[Range]]) -> str:
    gaps = [
        f"video {part}, places {gap.start} to {gap.stop or 'the end'}"
        for part, found in missing.items()
        for gap in found
    ]
    return "; ".join(gaps[:4]) + (f"; and {len(gaps) - 4} more" if len(gaps) > 4 else "")
