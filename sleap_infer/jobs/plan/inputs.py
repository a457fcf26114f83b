"""From the arguments of a user (files, folders, globs, manifests) to tasks with their outputs."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from sleap_infer.choices import OutputFormat
from sleap_infer.config.options import SourceOptions
from sleap_infer.errors import (
    EmptySourceError,
    FrameSelectionError,
    OptionError,
    OutputError,
    SourceFormatError,
    SourceNotFoundError,
)
from sleap_infer.frames.indices import Indices
from sleap_infer.frames.paths import VIDEO_SUFFIXES, existing, is_glob, matching
from sleap_infer.frames.readers.images import IMAGE_SUFFIXES, natural_order
from sleap_infer.jobs.plan.check_outputs import check_targets
from sleap_infer.jobs.plan.naming import (
    MERGED_NAME,
    Outputs,
    check_distinct,
    fields,
    formats_of,
    output_path,
    settle,
    with_ending,
)
from sleap_infer.jobs.plan.tasks import Frames, Task
from sleap_infer.model import is_model
from sleap_infer.model.readers.texts import check_unique, explain, parse_yaml

LONGEST_INDEX = 15
"""Maximum number of digits of the index of a frame."""

MANIFEST_SUFFIXES = (".csv", ".yaml", ".yml")
MANIFEST_COLUMNS = ("video", "output", "frames")


@frozen
class Wanted:
    """A requested output.

    Attributes:
        sources: paths of its videos.
        frames: indices.
        output: file in a manifest, with its suffix.
        formats: of this suffix.
        manifests: files that name the sources.
    """

    sources: tuple[str, ...]
    frames: Frames = None
    output: Path | None = None
    formats: tuple[OutputFormat, ...] = ()
    manifests: tuple[str, ...] = ()


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


def read_frames(text: str | None) -> Frames:
    """Read a selection: single frames, ranges with both ends or to the end (`100-`), joined by commas; or `all`.

    Raises:
        FrameSelectionError: it is something else.

    >>> read_frames("0-3,10"), read_frames("100-")
    (Indices(0-3,10), Indices(100-))
    """
    if text is None:
        return None
    if text.strip() == "all":
        return "all"
    ranges: list[tuple[int, int]] = []
    open_from: int | None = None
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.strip().partition("-"))
        is_number = _is_index(first) and (not last or _is_index(last))
        if not is_number or (last and int(last) < int(first)):
            raise FrameSelectionError(
                f"frames {text[:80]!r}: {part[:80]!r} is not understood. Expected e.g. 0-100,150, 100- (to the end) "
                "or all."
            )
        if dash and not last:
            open_from = int(first) if open_from is None else min(open_from, int(first))
        else:
            ranges.append((int(first), int(last or first) + 1))
    return Indices.joined(ranges, open_from)


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= LONGEST_INDEX


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


def read_manifest(path: Path, frames: Frames = None, formats: Sequence[OutputFormat] = ()) -> list[Wanted]:
    """Read a list of videos: CSV with a header, or YAML with a list. Paths are relative to the manifest's folder.

    Args:
        path: of the file.
        frames: of videos without frames in the manifest.
        formats: requested formats.

    Raises:
        SourceFormatError: it is not understood.
        OptionError: the name of an output is not understood.
        EmptySourceError: it names no video.
        FrameSelectionError: frames are not understood.
    """
    try:
        rows = list(_rows(path))
    except OSError as error:
        raise SourceFormatError(f"The manifest {path} cannot be read: {explain(error)}.") from error
    except (ValueError, csv.Error) as error:
        raise SourceFormatError(f"The manifest {path} cannot be read: {error}") from error
    if not rows:
        raise EmptySourceError(f"The manifest {path} names no video.")
    return [_read_row(row, f"{path}, entry {number}", path, frames, formats) for number, row in enumerate(rows, 1)]


def _rows(path: Path) -> Iterable[Any]:
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() == ".csv":
        rows = csv.DictReader(text.splitlines(), skipinitialspace=True, restkey="more")
        check_unique(rows.fieldnames or ())
        return rows
    data = parse_yaml(text) or []
    found = data.get("videos") if isinstance(data, dict) else data
    if not isinstance(found, list):
        raise ValueError("expected a list, or `videos:` with a list")
    return [{"video": row} if isinstance(row, str) else row for row in found]


def _read_row(row: Any, where: str, manifest: Path, frames: Frames, formats: Sequence[OutputFormat]) -> Wanted:
    if not isinstance(row, Mapping) or not row.get("video"):
        raise SourceFormatError(f"{where}: expected a `video`, found {row!r:.80}.")
    unknown = [name for name in row if name not in MANIFEST_COLUMNS]
    if unknown:
        raise SourceFormatError(f"{where}: {unknown[0]!r} is not understood. Expected: {', '.join(MANIFEST_COLUMNS)}.")
    video, output, own = (row.get(name) for name in MANIFEST_COLUMNS)
    try:
        selection = read_frames(str(own)) if own is not None and str(own).strip() else frames
    except FrameSelectionError as error:
        raise FrameSelectionError(f"{where}: {error}") from error
    source = str(manifest.parent / str(video).strip())
    if not output:
        return Wanted((source,), selection, manifests=(str(manifest),))
    name = with_ending(str(output).strip(), formats, f"{where}: output")
    return Wanted((source,), selection, manifest.parent / name, formats_of(name, formats), (str(manifest),))


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
