"""From the arguments of a user (files, folders, globs, manifests) to tasks with their outputs."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sleap_infer.choices import OutputFormat
from sleap_infer.config.options import SourceOptions
from sleap_infer.errors import (
    OptionError,
    OutputError,
    SourceFormatError,
    SourceNotFoundError,
)
from sleap_infer.frames.paths import VIDEO_SUFFIXES, existing, is_glob, matching
from sleap_infer.frames.readers.images import IMAGE_SUFFIXES, natural_order
from sleap_infer.jobs.plan.check_outputs import check_targets
from sleap_infer.jobs.plan.manifest import MANIFEST_SUFFIXES, Wanted, read_manifest
from sleap_infer.jobs.plan.naming import (
    MERGED_NAME,
    Outputs,
    check_distinct,
    fields,
    formats_of,
    output_path,
    settle,
)
from sleap_infer.jobs.plan.tasks import Frames, Task
from sleap_infer.model import is_model


def find_tasks(
    given: Sequence[str],
    outputs: Outputs,
    frames: Frames = None,
    at_most: int = 0,
    reading: SourceOptions | None = None,
) -> list[Task]:
    """Return the tasks of a command.

    Args:
        given: paths of videos, image folders, label files, folders of videos, globs, manifests.
        outputs: where results go.
        frames: which frames, unless a manifest defines them.
        at_most: maximum number of frames of each video; 0 for all.
        reading: how the sources are opened.

    Raises:
        SourceError: paths do not exist or contain no frames; the message names all of them.
        OutputError: two outputs have one name, one is a source, or a folder is missing.
        OptionError: the name of outputs is not understood, or a source is a model.
        FrameSelectionError: a manifest's frames are not understood.
    """
    outputs = settle(outputs)
    wanted = _expand_all(given, frames, outputs.formats)
    _check_models(source for one in wanted for source in one.sources)
    is_one_name = outputs.name is not None and not fields(outputs.name)
    if outputs.merge or (is_one_name and len(wanted) > 1):
        wanted = [_merged(wanted, outputs)]
    formats = () if outputs.name is None else formats_of(outputs.name, outputs.formats)
    tasks = [
        Task(
            one.sources,
            output_path(one.sources[0], one.output, outputs),
            one.frames,
            at_most,
            formats or one.formats,
            one.manifests,
            outputs.restore_source_videos,
            reading or SourceOptions(),
        )
        for one in wanted
    ]
    check_distinct(tasks, outputs)
    check_targets(tasks, outputs.formats or ("slp",))
    for task in tasks:
        _check_folder(task, outputs)
    return tasks


def _expand_all(given: Sequence[str], frames: Frames, formats: Sequence[OutputFormat]) -> list[Wanted]:
    """Return the outputs that all arguments request.

    Raises:
        SourceNotFoundError: there is nothing at one or more paths.
    """
    wanted: list[Wanted] = []
    missing: list[SourceNotFoundError] = []
    for item in given:
        try:
            wanted += _expand(item, frames, formats)
        except SourceNotFoundError as error:
            missing.append(error)
    if len(missing) == 1:
        raise missing[0]
    if missing:
        raise SourceNotFoundError(f"{len(missing)} sources are missing.\n" + "\n".join(map(str, missing)))
    return wanted


def _check_models(sources: Iterable[str]) -> None:
    found = [source for source in dict.fromkeys(sources) if is_model(source)]
    if found:
        models = " ".join(f"-m {shlex.quote(name)}" for name in found)
        raise OptionError(
            f"{', '.join(found)}: a model stands among the sources. Each model needs its own -m: write {models}."
        )


def _expand(item: str, frames: Frames, formats: Sequence[OutputFormat]) -> Iterator[Wanted]:
    """Yield the outputs that one argument requests."""
    if is_glob(item):
        found = [path for path in matching(item) if path.suffix.lower() in (*VIDEO_SUFFIXES, ".slp")]
        yield from (Wanted((str(path),), frames) for path in found)
        if not found:
            yield Wanted((item,), frames)
        return
    try:
        path = existing(item)
    except SourceFormatError:  # it fails in its row, and the others are done
        yield Wanted((item,), frames)
        return
    if path.suffix.lower() in MANIFEST_SUFFIXES and path.is_file() and not is_model(path):
        yield from read_manifest(path, frames, formats)
    elif path.is_dir() and (videos := _videos_in(path)):
        yield from (Wanted((str(video),), frames) for video in videos)
    else:
        yield Wanted((item,), frames)


def _videos_in(folder: Path) -> list[Path]:
    """Return the videos of a folder; none if it contains images, which are one video themselves."""
    files = [file for file in folder.iterdir() if not file.name.startswith(".")]
    if any(file.suffix.lower() in IMAGE_SUFFIXES for file in files):
        return []
    return sorted((file for file in files if file.suffix.lower() in VIDEO_SUFFIXES), key=natural_order)


def _merged(wanted: Sequence[Wanted], outputs: Outputs) -> Wanted:
    selections = {one.frames for one in wanted}
    if len(selections) > 1:
        raise OptionError("Videos with different frames do not go into one output. Leave --merge out.")
    if any(one.output for one in wanted):
        raise OptionError("A manifest that names outputs does not go with --merge. Leave one of them out.")
    sources = tuple(source for one in wanted for source in one.sources)
    manifests = tuple(dict.fromkeys(name for one in wanted for name in one.manifests))
    output = None if outputs.name else Path(sources[0]).with_name(MERGED_NAME)
    return Wanted(sources, selections.pop(), output, manifests=manifests)


def _check_folder(task: Task, outputs: Outputs) -> None:
    folder = task.output.parent
    if outputs.folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"The folder {folder} cannot be made: {error.strerror}. Choose another one.") from error
    if not folder.is_dir():
        raise OutputError(
            f"{task.output} cannot be written: there is no folder {folder.absolute()}. "
            "Make it first, or give --out-dir."
        )
