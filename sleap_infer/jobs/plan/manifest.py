"""Read manifests: lists of videos, with outputs and frames, as CSV or YAML."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from sleap_infer.choices import OutputFormat
from sleap_infer.errors import EmptySourceError, FrameSelectionError, SourceFormatError
from sleap_infer.jobs.plan.naming import formats_of, with_ending
from sleap_infer.jobs.plan.selection import read_frames
from sleap_infer.jobs.plan.tasks import Frames
from sleap_infer.model.readers.texts import check_unique, explain, parse_yaml

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
