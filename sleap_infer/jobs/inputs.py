"""From what a user names (files, folders, globs, manifests) to tasks with their outputs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Any

from attrs import field, frozen
from attrs.converters import optional

from sleap_infer.errors import EmptySourceError, FrameSelectionError, OptionError, OutputError, SourceFormatError
from sleap_infer.frames.image_files import IMAGE_SUFFIXES, natural_order
from sleap_infer.frames.paths import VIDEO_SUFFIXES, existing, is_glob, matching
from sleap_infer.jobs.tasks import Frames, Task
from sleap_infer.model.reading import explain, parse_yaml

MANIFEST_SUFFIXES = (".csv", ".yaml", ".yml")
MANIFEST_COLUMNS = ("video", "output", "frames")
FIELDS = ("stem", "name", "parent")
"""What may stand in braces in the name of an output: the name of the video without and with its ending, and that of its
folder."""

DEFAULT_NAME = "{stem}.predictions.slp"


@frozen
class Wanted:
    """One output of a user's: its videos, which frames, and where it goes if that is named."""

    sources: tuple[str, ...]
    frames: Frames = None
    output: Path | None = None


@frozen
class Outputs:
    """Where outputs go.

    Attributes:
        name: of each output; may hold `FIELDS` in braces. Without braces, the one output of everything.
        folder: that they go to, made if it is not there; by default beside the video.
        merge: whether everything goes into one output.
    """

    name: str | None = None
    folder: Path | None = field(default=None, converter=optional(Path))
    merge: bool = False


def find_tasks(given: Sequence[str], outputs: Outputs, frames: Frames = None, at_most: int = 0) -> list[Task]:
    """The tasks of a command.

    Args:
        given: paths of videos, image folders, label files, folders of videos, globs, manifests.
        outputs: where results go.
        frames: which frames, where a manifest does not say.
        at_most: only the first so many frames of each.

    Raises:
        SourceError: there is nothing at a path, or nothing that holds frames.
        OutputError: two outputs have one name, or a folder is missing.
        OptionError: the name of outputs is not understood.
        FrameSelectionError: a manifest's frames are not understood.
    """
    wanted = [one for item in given for one in _expand(item, frames)]
    is_one_name = outputs.name is not None and not _fields(outputs.name)
    if outputs.merge or (is_one_name and len(wanted) > 1):
        wanted = [_merged(wanted, outputs)]
    tasks = [Task(one.sources, _output(one, outputs), one.frames, at_most) for one in wanted]
    _check_names(tasks)
    for task in tasks:
        _check_folder(task, outputs)
    return tasks


def read_frames(text: str | None) -> Frames:
    """Read a selection: single frames and ranges with both ends, joined by commas; or `all`.

    Raises:
        FrameSelectionError: it is something else.

    >>> read_frames("0-3,10")
    (0, 1, 2, 3, 10)
    """
    if text is None or not text.strip():
        return None
    if text.strip() == "all":
        return "all"
    frames: list[int] = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.strip().partition("-"))
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise FrameSelectionError(f"frames {text!r}: {part!r} is not understood. Expected e.g. 0-100,150 or all.")
        frames.extend(range(int(first), int(last or first) + 1))
    return tuple(frames)


def _expand(item: str, frames: Frames) -> Iterator[Wanted]:
    """What one argument stands for."""
    if is_glob(item):
        found = [path for path in matching(item) if path.suffix.lower() in (*VIDEO_SUFFIXES, ".slp")]
        yield from (Wanted((str(path),), frames) for path in found)
        if not found:
            yield Wanted((item,), frames)
        return
    path = existing(item)
    if path.suffix.lower() in MANIFEST_SUFFIXES and path.is_file():
        yield from read_manifest(path, frames)
    elif path.is_dir() and (videos := _videos_in(path)):
        yield from (Wanted((str(video),), frames) for video in videos)
    else:
        yield Wanted((item,), frames)


def _videos_in(folder: Path) -> list[Path]:
    """Videos of a folder, but not where it holds images, which are one video themselves."""
    files = [file for file in folder.iterdir() if not file.name.startswith(".")]
    if any(file.suffix.lower() in IMAGE_SUFFIXES for file in files):
        return []
    return sorted((file for file in files if file.suffix.lower() in VIDEO_SUFFIXES), key=natural_order)


def read_manifest(path: Path, frames: Frames = None) -> list[Wanted]:
    """Read a list of videos: CSV with a header, or YAML with a list. Paths are relative to the manifest's folder.

    Args:
        path: of the file.
        frames: of those videos for which it does not say.

    Raises:
        SourceFormatError: it is not understood.
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
    return [_read_row(row, f"{path}, entry {number}", path.parent, frames) for number, row in enumerate(rows, 1)]


def _rows(path: Path) -> Iterable[Any]:
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() == ".csv":
        return csv.DictReader(text.splitlines(), skipinitialspace=True, restkey="more")
    data = parse_yaml(text) or []
    found = data.get("videos") if isinstance(data, dict) else data
    if not isinstance(found, list):
        raise ValueError("expected a list, or `videos:` with a list")
    return [{"video": row} if isinstance(row, str) else row for row in found]


def _read_row(row: Any, where: str, folder: Path, frames: Frames) -> Wanted:
    if not isinstance(row, Mapping) or not row.get("video"):
        raise SourceFormatError(f"{where}: expected a `video`, found {row!r:.80}.")
    unknown = [name for name in row if name not in MANIFEST_COLUMNS]
    if unknown:
        raise SourceFormatError(f"{where}: {unknown[0]!r} is not understood. Expected: {', '.join(MANIFEST_COLUMNS)}.")
    video, output, own = (row.get(name) for name in MANIFEST_COLUMNS)
    try:
        selection = read_frames(None if own in (None, "") else str(own)) or frames
    except FrameSelectionError as error:
        raise FrameSelectionError(f"{where}: {error}") from error
    return Wanted((str(folder / str(video).strip()),), selection, folder / str(output).strip() if output else None)


def _merged(wanted: Sequence[Wanted], outputs: Outputs) -> Wanted:
    selections = {one.frames for one in wanted}
    if len(selections) > 1:
        raise OptionError("Videos with different frames do not go into one output. Leave --merge out.")
    if any(one.output for one in wanted):
        raise OptionError("A manifest that names outputs does not go with --merge. Leave one of them out.")
    sources = tuple(source for one in wanted for source in one.sources)
    return Wanted(sources, selections.pop(), None if outputs.name else Path(sources[0]).with_name("predictions.slp"))


def _output(wanted: Wanted, outputs: Outputs) -> Path:
    source = wanted.sources[0]
    path = Path(source).expanduser()
    if wanted.output is not None and outputs.name is None:
        named = wanted.output
    elif outputs.name is None and is_glob(source):
        named = path.with_name("predictions.slp")
    else:
        stem = path.name if path.is_dir() else path.stem
        facts = {"stem": stem, "name": path.name, "parent": path.resolve().parent.name}
        try:
            text = (outputs.name or DEFAULT_NAME).format(**facts)
        except (KeyError, IndexError, ValueError) as error:
            raise OptionError(
                f"--output {outputs.name!r} is not understood ({error}). In braces: {', '.join(FIELDS)}."
            ) from error
        beside = outputs.name is None or (_fields(text or "") or _fields(outputs.name))
        named = path.parent / text if beside and not Path(text).is_absolute() else Path(text)
    return outputs.folder.expanduser() / named.name if outputs.folder is not None else named.expanduser()


def _fields(text: str) -> list[str]:
    """Names in braces.

    >>> _fields("{stem}.slp"), _fields("a.slp")
    (['stem'], [])
    """
    try:
        return [name for _, name, _, _ in Formatter().parse(text) if name is not None]
    except ValueError as error:
        raise OptionError(f"--output {text!r} is not understood: {error}.") from error


def _check_names(tasks: Sequence[Task]) -> None:
    seen: dict[Path, Task] = {}
    for task in tasks:
        if any(Path(source).absolute() == task.output.absolute() for source in task.sources):
            raise OutputError(f"{task.output} is a source: it would be replaced by its own poses. Name another output.")
        other = seen.setdefault(task.output.absolute(), task)
        if other is not task:
            raise OutputError(
                f"{other.name} and {task.name} would both be written to {task.output}. Name outputs apart, such as "
                "-o '{parent}_{stem}.slp', or put all into one with --merge."
            )


def _check_folder(task: Task, outputs: Outputs) -> None:
    folder = task.output.parent
    if outputs.folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"The folder {folder} cannot be made: {error.strerror}. Choose another one.") from error
    if not folder.is_dir():
        raise OutputError(
            f"{task.output} cannot be written: there is no folder {folder.resolve()}. Make it first, or give --out-dir."
        )
