"""Write the files of jobs that ran in several shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from sleap_infer.choices import OutputFormat
from sleap_infer.config.options import SourceOptions
from sleap_infer.errors import JobError, JournalError, OutputExistsError
from sleap_infer.frames import Source
from sleap_infer.jobs.events import Listener, Note, TaskReport
from sleap_infer.jobs.live_journal import recover
from sleap_infer.jobs.plan.check_outputs import check_targets
from sleap_infer.jobs.plan.content import Contents, noted
from sleap_infer.jobs.plan.identity import crops_are_known, differences, identify_videos, identity_key, plain
from sleap_infer.jobs.plan.tasks import ENDINGS, Task, base_name, ending_of
from sleap_infer.jobs.store.chunks import listed
from sleap_infer.jobs.store.columns import failed
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.jobs.store.journal_files import SKIPPED
from sleap_infer.jobs.store.locks import hold_lock, remove_remains
from sleap_infer.jobs.store.ranges import Range
from sleap_infer.jobs.write.results import collect, read_mark, write
from sleap_infer.system.files import FileKey, check_writable, file_key


def find_journals(paths: Sequence[Path]) -> list[Journal]:
    """Find the journals at paths, each once: a path is a journal, or a folder of journals.

    Raises:
        JournalError: there is none.
    """
    found: dict[FileKey, Journal] = {}
    for path in paths:
        inside = [place for place in sorted(path.glob("*.journal")) if Journal.is_at(place)] if path.is_dir() else []
        places = [path] if Journal.is_at(path) else inside
        if not places:
            raise JournalError(f"{path} is not a journal and contains none. Journals are folders named OUTPUT.journal.")
        for place in places:
            found.setdefault(file_key(place), Journal.open(place))
    return list(found.values())


def finished(paths: Sequence[Path], formats: Sequence[OutputFormat]) -> dict[Path, list[TaskReport]]:
    """Report what was merged before, and remove what a killed run left of its journals.

    Args:
        paths: as in `find_journals`.
        formats: in which an output must exist; empty for any one format.

    Returns:
        Reports (`"skipped"`) for each path with nothing left to merge: the output of a deleted journal, or all outputs
        in a folder without journals.
    """
    found = {path: [TaskReport(task, "skipped") for task in _finished(path, formats)] for path in paths}
    for path, reports in found.items():
        for journal in (path, *path.glob("*.journal")) if reports else ():
            if journal.name.endswith(".journal"):
                remove_remains(journal)
    return {path: reports for path, reports in found.items() if reports}


def _finished(path: Path, formats: Sequence[OutputFormat]) -> list[Task]:
    if Journal.is_at(path) or (path.is_dir() and any(map(Journal.is_at, path.glob("*.journal")))):
        return []
    is_journal = path.name.endswith(".journal")
    folder = path.parent if is_journal else path
    written: dict[str, dict[OutputFormat, Path]] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        form, base = ENDINGS.get(ending_of(file.name).lower()), base_name(file)
        if form and (not is_journal or f"{base}.journal" == path.name) and read_mark(file) is not None:
            written.setdefault(base, {})[form] = file
    return [
        Task((str(folder / base),), next(iter(files.values())))
        for base, files in written.items()
        if set(formats) <= set(files)
    ]


def task_of(journal: Journal, formats: tuple[OutputFormat, ...] = ()) -> Task:
    """Return the task of a journal; its output has the requested name, in the folder that holds the journal now.

    Args:
        journal: of the task.
        formats: to write; empty for that of the requested name.
    """
    facts = journal.facts["task"]
    base = journal.path.name.removesuffix(".journal")
    name = Path(facts.get("output", "")).name
    was_renamed = base_name(Path(name)) != base
    return Task(
        tuple(facts["sources"]),
        journal.path.with_name(base if was_renamed else name),
        facts["frames"],
        facts["at_most"],
        formats or tuple(facts.get("formats", ())) or ("slp",),
        tuple(facts.get("named_in", ())),
        facts.get("restore_source_videos", False),
        SourceOptions(**facts.get("reading", {})),
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
        journals: of jobs whose shards are done.
        formats: to write; empty for that of each job's output name.
        partial: whether frames may be missing; they are marked as skipped.
        overwrite: whether files may be there.
        keep_journal: whether journals stay.
        listen: called with each report.

    Raises:
        JobError: frames are missing, a shard is still running, or the videos are not those of the job.
        OutputError: a file cannot be written, or would replace a source, a manifest or a model of the jobs.
    """
    models = [str(name) for journal in journals for name in journal.facts["facts"].get("model_paths", ())]
    check_targets([task_of(journal, formats) for journal in journals], formats, models)
    reports = []
    for journal in journals:
        report = _merge(journal, formats, partial, overwrite, keep_journal)
        for line in report.warnings:
            listen(Note(line, is_warning=True))
        listen(report)
        reports.append(report)
    return reports


def _merge(
    journal: Journal, formats: tuple[OutputFormat, ...], partial: bool, overwrite: bool, keep_journal: bool
) -> TaskReport:
    task, begun = task_of(journal, formats), perf_counter()
    targets = task.targets(formats)
    own = identity_key(journal.facts["what"])  # what this job has written, a run that was killed has not finished
    there = [path for path in targets.values() if path.exists() and read_mark(path) != own]
    if there and not overwrite:
        raise OutputExistsError(f"{there[0]} exists and was not made by this job. Replace it with --overwrite.")
    for path in targets.values():
        check_writable(path)
    if journal.is_live:
        return _merge_live(journal, task, targets, keep_journal)
    with hold_lock(journal.path / "lock", str(task.output)), task.open() as source:
        contents, was = Contents.of(source), noted(journal.path)
        what = identify_videos(source, crops_are_known(journal.facts["what"]))
        unlike = next(differences(journal.facts["what"]["videos"], plain(what), "videos"), contents.unlike(was))
        if unlike:
            raise JobError(f"The videos of {journal.path} are not those that are there now: {unlike}.")
        contents.note(journal.path, was)
        contents.wait()
        journal.drop(SKIPPED)
        missing = journal.missing()
        if missing and not partial:
            raise JobError(
                f"{journal.path} is not complete: {listed(missing)}. Run the missing shards, or write what "
                "is there with --partial."
            )
        _mark_missing(journal, source, missing)
        results = collect(journal, source)
        if results.n_failed:
            targets.setdefault("ledger", task.target("ledger"))
        files = write(results, targets, {})
        if keep_journal:
            journal.drop(SKIPPED)
        else:
            journal.delete()
    seconds = perf_counter() - begun
    return TaskReport(
        task,
        "written",
        results.counts,
        results.n_instances,
        tuple(files),
        seconds=seconds,
        warnings=tuple(results.warnings(targets)),
        notes=results.notes,
    )


def _merge_live(journal: Journal, task: Task, targets: dict[OutputFormat, Path], keep_journal: bool) -> TaskReport:
    """Write the files of an interrupted live session: all predicted frames."""
    begun = perf_counter()
    with hold_lock(journal.path / "lock", str(task.output)):
        results, files = recover(journal, targets)
        if not keep_journal:
            journal.delete()
    seconds = perf_counter() - begun
    warnings = tuple(results.warnings(targets))
    return TaskReport(
        task, "written", results.counts, results.n_instances, tuple(files), seconds=seconds, warnings=warnings
    )


def _mark_missing(journal: Journal, source: Source, missing: dict[int, list[Range]]) -> None:
    if not missing:
        return
    with journal.result_file(SKIPPED) as file:
        for part, gaps in missing.items():
            video = source.parts[part]
            length = video.n_frames or 0
            for gap in gaps:
                stop = max(gap.start, length) if gap.stop is None else gap.stop
                inds = range(gap.start, stop) if video.frame_inds is None else video.frame_inds[gap.start : stop]
                if len(inds):
                    note = "not reached by any process"
                    file.add(part, gap.start, failed(list(inds), "skipped", note, journal.n_nodes), 1)
                if gap.stop is None:
                    file.end(part, stop)
