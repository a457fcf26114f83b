"""Check outputs before a job runs: none replaces a file that the command opens, and all can be written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sleap_infer.choices import OutputFormat
from sleap_infer.errors import OutputError, SleapInferError, SourceError
from sleap_infer.frames.live.source import LOCAL
from sleap_infer.frames.paths import check_name, existing, is_glob, matching
from sleap_infer.frames.readers.images import IMAGE_SUFFIXES
from sleap_infer.frames.readers.labels import videos_named_in
from sleap_infer.frames.replaced_paths import Pairs
from sleap_infer.jobs.plan.tasks import Task, numbered
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.jobs.store.journal_files import is_own
from sleap_infer.jobs.write.results import mark_file
from sleap_infer.model import expand_model_path, find_model_files
from sleap_infer.system.files import FileKey, file_key

NAME_BYTES = 255
"""Maximum length of a file name where the system does not report it."""


def check_targets(tasks: Sequence[Task], formats: Sequence[OutputFormat], models: Sequence[str] = ()) -> None:
    """Check that no file is written twice, or both read and written, whatever paths lead to it.

    Args:
        tasks: of a command.
        formats: of the job.
        models: paths of the models.

    Raises:
        OutputError: an output, a journal or a table is a source, a video of a label file, a manifest, a file of a
            model, or belongs to another task as well.
    """
    written = [(task, path, file_key(path)) for task in tasks for path in written_by(task, formats)]
    _check_twice(written)
    read = _read_keys(tasks, models, {key for _, _, key in written})
    for task, path, key in written:
        if key in read:
            raise OutputError(
                f"{path} is {read[key]}: the poses of {task.name} would replace it. Choose another name (-o) or folder "
                "(--out-dir)."
            )


def check_recording(source: str, output: Path, models: Sequence[str]) -> None:
    """Check that the files of a live session replace none that it opens, and that its journal has a folder.

    Args:
        source: as in `frames.live.open_live`.
        output: `.slp` file of the session.
        models: paths of the models.

    Raises:
        OutputError: the output or its journal is the video that is played, a file of a model, or holds other files.
    """
    task = Task((source.removeprefix(LOCAL),), output)
    check_targets([task], ("slp",), models)
    problem = _unwritable(written_by(task, ("slp",)), task)
    if problem is not None:
        raise problem


def refuse_targets(targets: Iterable[Path], sources: Iterable[str | Path]) -> None:
    """Check that no target is a source or a folder that contains one, whatever paths lead there.

    Raises:
        OutputError: one is.
    """
    named = [Path(source).expanduser() for source in sources]
    read: dict[FileKey, Path] = {}
    for path in (path for source in named for path in (source, *_files_of(source))):
        for item in (path, *Path(os.path.realpath(path)).parents):
            read.setdefault(file_key(item), path)
    for target in targets:
        source = read.get(file_key(target))
        if source is not None:
            raise OutputError(
                f"{target} is or holds {source}, which is opened by this command. Choose another name (-o)."
            )


def written_by(task: Task, formats: Sequence[OutputFormat]) -> list[Path]:
    """Return all paths that a task may write: outputs, the frame status table, marks, the journal."""
    targets = list(dict.fromkeys([*task.targets(formats).values(), task.target("ledger")]))
    marks = [mark_file(target) for target in targets if target.suffix.lower() == ".csv"]
    several = [numbered(target, number) for target in targets if target.suffix.lower() == ".h5" for number in range(2)]
    return [*targets, *several, *marks, task.journal]


def find_problems(tasks: Sequence[Task], formats: Sequence[OutputFormat]) -> dict[int, SleapInferError]:
    """Return the tasks that cannot be done, by number, with the reason.

    Raises:
        SleapInferError: the only task cannot be done.
    """
    found = {index: problem for index, task in enumerate(tasks) if (problem := problem_of(task, formats)) is not None}
    if found and len(tasks) == 1:
        raise found[0]
    return found


def problem_of(task: Task, formats: Sequence[OutputFormat]) -> SleapInferError | None:
    """Return why a task cannot be done, as far as its paths show; `None` if they show no problem.

    Args:
        task: the task.
        formats: of the job.
    """
    for source in task.sources:
        try:
            check_name(Path(source))
            if not is_glob(source):
                existing(source)
        except SourceError as error:
            return error
    try:
        check_name(task.output.absolute())
    except SourceError as error:
        return OutputError(str(error))
    return _unwritable(written_by(task, formats), task)


def _unwritable(paths: Iterable[Path], task: Task) -> OutputError | None:
    limit = _longest_name(task.output.parent)
    for path in paths:
        n_bytes = len(os.fsencode(path.name))
        if n_bytes > limit:
            return OutputError(
                f"The name {path.name[:40]}... is too long: {n_bytes} bytes, where the file system takes {limit}. "
                "Choose a shorter one (-o)."
            )
        if path != task.journal and path.is_dir():
            return OutputError(f"{path} is a folder. Choose another name; a folder to write into ends in a slash.")
    if task.journal.exists() and not _is_journal(task.journal):
        return OutputError(f"{task.journal} is needed for the journal, but holds other files. Choose another output.")
    return None


def _is_journal(path: Path) -> bool:
    if not path.is_dir():
        return False
    return Journal.is_at(path) or all(map(is_own, path.iterdir()))


def _longest_name(folder: Path) -> int:
    if sys.platform == "win32":
        return NAME_BYTES
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError):
        return NAME_BYTES


def _check_twice(written: Sequence[tuple[Task, Path, FileKey]]) -> None:
    seen: dict[FileKey, Task] = {}
    for task, path, key in written:
        other = seen.setdefault(key, task)
        if other is not task:
            raise OutputError(f"{other.name} and {task.name} would both be written to {path}. Choose other names (-o).")


def _read_keys(tasks: Sequence[Task], models: Sequence[str], written: set[FileKey]) -> dict[FileKey, str]:
    """Return the files that are read, with a description, and written folders that contain one of them."""
    found: dict[FileKey, str] = {}
    for path, what in _inputs(tasks, models):
        found.setdefault(file_key(path), what)
        for folder in Path(os.path.realpath(path)).parents:
            if folder.suffix == ".journal" and (key := file_key(folder)) in written:
                found.setdefault(key, f"a folder that holds {path}")
    return found


def _inputs(tasks: Sequence[Task], models: Sequence[str]) -> Iterator[tuple[Path, str]]:
    for name in dict.fromkeys(name for task in tasks for name in task.named_in):
        yield Path(name).expanduser(), f"the manifest {name}"
    for name in models:
        yield from ((path, f"a file of the model {name}") for path in model_files(name))
    for source, pairs in dict.fromkeys(
        (source, task.reading.replace_paths) for task in tasks for source in task.sources
    ):
        try:
            opened = [Path(name) for name in matching(source)] if is_glob(source) else [Path(source).expanduser()]
        except SourceError:
            continue
        for path in opened:
            yield path, f"a source of this command ({source})"
            yield from ((file, f"part of the source {source}") for file in _files_of(path, pairs))


def model_files(name: str | Path) -> list[Path]:
    """Return the files that are opened of the models at a path; none if there is no model."""
    try:
        found = [find_model_files(path) for path in expand_model_path(name)]
    except SleapInferError:
        return []
    return [path for files in found for path in (files.directory, files.config, files.weights)]


def _files_of(source: Path, pairs: Pairs = ()) -> list[Path]:
    """Return files that are read with a source: images of a folder, videos of a label file."""
    try:
        if source.is_dir():
            return [file for file in source.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
        if source.suffix.lower() == ".slp" and source.is_file():
            return videos_named_in(source, pairs)
    except (OSError, SourceError):
        pass
    return []
