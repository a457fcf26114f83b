"""Columns as tidy tables: one row for each point that was found. CSV, and Parquet by pyarrow."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sleap_infer.errors import BackendNotInstalledError
from sleap_infer.frames import Source
from sleap_infer.jobs.store.columns import Columns
from sleap_infer.system.runtimes import install_command

Chunks: TypeAlias = Iterable[tuple[int, Columns]]

COLUMNS = ("video", "frame", "instance", "track", "node", "x", "y", "score", "instance_score", "track_score", "time_s")
"""Of the tables: path of the video; index of the frame; number of the instance in its frame; name of its class, if the
model has any; name of the node; position in pixels; confidence of the point, of the instance, of the class; time stamp
of the frame in seconds, empty where the source has none."""


FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""Texts that a spreadsheet takes for a formula, also behind apostrophes."""


def as_cell(text: str) -> str:
    """Return a name as a cell of a CSV file; an apostrophe keeps a spreadsheet from running it as a formula.

    The name is had back by taking one apostrophe away from each cell that `FORMULA` matches.

    >>> as_cell("=cmd|'/c calc'!A1"), as_cell("thorax"), as_cell("'-x")
    ("'=cmd|'/c calc'!A1", 'thorax', "''-x")
    """
    return f"'{text}" if FORMULA.match(text) else text


def video_names(source: Source) -> list[str]:
    """Path of each video; of image files, that of the first."""
    names = [video.filename for video in source.videos().values()]
    return [str(name[0] if isinstance(name, list) else name) for name in names]


def write_csv(path: Path, chunks: Chunks, videos: Sequence[str], nodes: Sequence[str], classes: Sequence[str]) -> None:
    """Write a CSV file with the columns `COLUMNS`; what there is not is empty. Names are as `as_cell` gives them."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        videos, nodes, classes = ([as_cell(name) for name in names] for names in (videos, nodes, classes))
        for table in tables(chunks, videos, nodes, classes):
            writer.writerows(zip(*(_as_text(table[name]) for name in COLUMNS), strict=True))


def write_parquet(
    path: Path,
    chunks: Chunks,
    videos: Sequence[str],
    nodes: Sequence[str],
    classes: Sequence[str],
    facts: Mapping[str, str],
) -> None:
    """Write a Parquet file with the columns `COLUMNS`; what there is not is null.

    Raises:
        BackendNotInstalledError: pyarrow is not installed.
    """
    require_pyarrow()
    import pyarrow as pa
    from pyarrow import parquet

    types = {"frame": pa.int64(), "instance": pa.int32(), "time_s": pa.float64()}
    texts = dict.fromkeys(("video", "track", "node"), pa.dictionary(pa.int32(), pa.string()))
    schema = pa.schema([(name, {**types, **texts}.get(name, pa.float32())) for name in COLUMNS], metadata=dict(facts))
    with parquet.ParquetWriter(path, schema) as writer:
        for table in tables(chunks, videos, nodes, classes):
            arrays = [
                pa.array(_with_nulls(table[field.name]), pa.string() if field.name in texts else field.type)
                for field in schema
            ]
            cast = [
                array.dictionary_encode() if field.name in texts else array
                for array, field in zip(arrays, schema, strict=True)
            ]
            writer.write_table(pa.table(cast, schema=schema))


def require_pyarrow() -> None:
    """Check that Parquet can be written.

    Raises:
        BackendNotInstalledError: pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise BackendNotInstalledError(
            "Parquet files are written by pyarrow, which is not installed. Install it with: "
            f"{install_command('parquet')}, or choose --format csv."
        )


def tables(
    chunks: Chunks, videos: Sequence[str], nodes: Sequence[str], classes: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Rows of each piece as arrays by the name of their column."""
    names = np.array([*classes, ""], dtype=object)
    for video, columns in chunks:
        found = ~np.isnan(columns.points[..., 0])
        rows, node = np.nonzero(found)
        frames = np.repeat(columns.frame_inds, columns.counts)
        starts = np.repeat(np.cumsum(columns.counts) - columns.counts, columns.counts)
        yield {
            "video": np.full(len(rows), videos[video], dtype=object),
            "frame": frames[rows],
            "instance": (np.arange(columns.n_instances) - starts)[rows],
            "track": names[columns.classes[rows]],
            "node": np.array(nodes, dtype=object)[node],
            "x": columns.points[..., 0][found],
            "y": columns.points[..., 1][found],
            "score": columns.point_scores[found],
            "instance_score": columns.scores[rows],
            "track_score": columns.class_scores[rows],
            "time_s": np.repeat(columns.times_s, columns.counts)[rows],
        }


def _as_text(values: Any) -> list[Any]:
    """Return the shortest text of each number that gives its bits again; nothing for NaN."""
    if values.dtype.kind == "f":
        return ["" if text == "nan" else text for text in values.astype(str).tolist()]
    return list(values.tolist())


def _with_nulls(values: Any) -> list[Any]:
    if values.dtype == object:
        return [value or None for value in values.tolist()]
    if values.dtype.kind == "f":
        return [None if value != value else value for value in values.tolist()]
    return list(values.tolist())
