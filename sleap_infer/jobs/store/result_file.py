"""One file of a journal: the results of one process, each entry complete and with a checksum.

A checksum covers the job, the video, the range of frames and all of the content of an entry, so that damaged and edited
files, and files of another job, are noticed when the entry is read.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sleap_infer.errors import JournalError, OutputError
from sleap_infer.jobs.store.columns import DTYPES, STATUSES, Columns, problem_of
from sleap_infer.jobs.store.ranges import Range
from sleap_infer.system.unexpected_errors import os_reason

TABLES = f"""
CREATE TABLE IF NOT EXISTS pieces (
    part INTEGER, start INTEGER, stop INTEGER, batch_size INTEGER, seconds REAL,
    {", ".join(f"{name} BLOB" for name in DTYPES)}, notes TEXT, content TEXT, checksum TEXT,
    PRIMARY KEY (part, start, stop)
);
CREATE TABLE IF NOT EXISTS frames (
    part INTEGER, frame_idx INTEGER, status TEXT, n_instances INTEGER, note TEXT, PRIMARY KEY (part, frame_idx)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ends (part INTEGER PRIMARY KEY, n_frames INTEGER, checksum TEXT);
CREATE TABLE IF NOT EXISTS times (
    part INTEGER, start INTEGER, stop INTEGER, times_s BLOB, checksum TEXT, PRIMARY KEY (part, start, stop)
);
"""
"""`pieces`: chunks, the columns of the frames at positions `start` to `stop` of the requested frames of a part (video).
`frames`: the same for people. `ends`: number of frames of a video that was read to its end. `content` is the checksum
of the columns of a chunk, `checksum` that of its row. `times`: time stamps of the frames of a chunk, if there are any;
earlier versions neither write nor read them."""

TIME = "<f8"
"""Type of a stored time stamp."""

CANNOT_WRITE = tuple(
    f"SQLITE_{name}" for name in ("FULL", "IOERR", "READONLY", "CANTOPEN", "BUSY", "LOCKED", "PERM", "PROTOCOL")
)
"""Prefixes of the names of SQLite errors about the disk, rights or locks; other errors are about the content."""


@frozen
class Entry:
    """A chunk in its file.

    Attributes:
        part: number of the video.
        positions: of its frames among the requested frames of the video.
        row: number of its row.
        content: checksum of its columns.
    """

    part: int
    positions: Range
    row: int
    content: str


class ResultFile:
    """The file of one process; a context manager.

    Args:
        path: of the file, created if it is missing.
        n_nodes: points of an instance.
        key: identity of the job, part of each checksum.

    Raises:
        OutputError: it cannot be written.
        JournalError: it is damaged, or not a result file.
    """

    def __init__(self, path: Path, n_nodes: int, key: str = "") -> None:
        self.path, self._n_nodes, self._key = path, n_nodes, key
        with translated(path):
            if not path.exists():
                remove_beside(path)
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        try:
            with translated(path):
                self._prepare()
        except BaseException:
            self._database.close()
            raise

    def add(self, part: int, start: int, columns: Columns, batch_size: int, seconds: float = 0.0) -> None:
        """Save the frames at positions `start` to `start + len(columns)`: all of them or, if that fails, none.

        Raises:
            OutputError: they cannot be written.
        """
        stop = start + len(columns)
        counts, statuses = columns.counts.tolist(), columns.statuses.tolist()
        rows = [
            (part, index, STATUSES[statuses[position]], counts[position], columns.notes.get(position))
            for position, index in enumerate(columns.frame_inds.tolist())
        ]
        values = [array.tobytes() for array in columns.arrays().values()]
        notes = json.dumps(columns.notes)
        content = self._content(values, notes)
        checksum = _checksum(self._key, part, start, stop, content)
        facts = (part, start, stop, batch_size, seconds, *values, notes, content, checksum)
        marks = ", ".join("?" * len(facts))
        with translated(self.path), self._transaction():
            self._add_times(part, start, stop, columns.times_s)
            self._database.execute(f"INSERT OR REPLACE INTO pieces VALUES ({marks})", facts)
            self._database.executemany("INSERT OR REPLACE INTO frames VALUES (?, ?, ?, ?, ?)", rows)

    def end(self, part: int, n_frames: int) -> None:
        """Save the number of frames of a video that was read to its end."""
        row = (part, n_frames, _checksum(self._key, part, n_frames))
        with translated(self.path), self._transaction():
            self._database.execute("INSERT OR REPLACE INTO ends VALUES (?, ?, ?)", row)

    def entries(self) -> list[Entry]:
        """Return all chunks. Their checksums are compared, except those of the columns.

        Raises:
            JournalError: one is damaged.
        """
        query = "SELECT rowid, part, start, stop, content, checksum FROM pieces NOT INDEXED"
        found = []
        for row, part, start, stop, content, checksum in self._rows(query):
            if checksum != _checksum(self._key, part, start, stop, content):
                raise self.damaged(f"the entry of video {part}, frames {start} to {stop}, fails its checksum")
            found.append(Entry(part, Range(start, stop), row, content))
        known = {(entry.part, entry.positions.start, entry.positions.stop) for entry in found}
        for row in self._rows("SELECT part, start, stop FROM times"):
            if row not in known:
                raise self.damaged(
                    f"there are time stamps of video {row[0]}, frames {row[1]} to {row[2]}, and no poses"
                )
        return sorted(
            found, key=lambda entry: (entry.part, entry.positions.start, entry.positions.stop or 0, entry.row)
        )

    def ranges(self) -> list[tuple[int, Range]]:
        """Return the number of the video and the positions of every chunk."""
        return [(entry.part, entry.positions) for entry in self.entries()]

    def ends(self) -> dict[int, int]:
        """Return the numbers of frames of the videos that were read to their end.

        Raises:
            JournalError: one is damaged.
        """
        found = {}
        for part, n_frames, checksum in self._rows("SELECT part, n_frames, checksum FROM ends"):
            if checksum != _checksum(self._key, part, n_frames):
                raise self.damaged(f"the length of video {part} fails its checksum")
            found[part] = n_frames
        return found

    def read(self, entry: Entry) -> Columns:
        """Return the columns of one chunk.

        Raises:
            JournalError: it is damaged.
        """
        name = f"video {entry.part}, frames {entry.positions.start} to {entry.positions.stop}"
        rows = self._rows(f"SELECT {', '.join(DTYPES)}, notes FROM pieces WHERE rowid = ?", (entry.row,))
        if len(rows) != 1:
            raise self.damaged(f"the entry of {name} is gone")
        *blobs, notes = rows[0]
        if self._content(blobs, notes) != entry.content:
            raise self.damaged(f"the poses of {name} fail their checksum")
        shapes = {"points": (-1, self._n_nodes, 2), "point_scores": (-1, self._n_nodes)}
        try:
            arrays = {
                name: np.frombuffer(blob, dtype).reshape(shapes.get(name, (-1,)))
                for (name, dtype), blob in zip(DTYPES.items(), blobs, strict=True)
            }
            columns = Columns(
                **arrays,
                notes={int(position): note for position, note in json.loads(notes).items()},
                times_s=self._times(entry, name),
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise self.damaged(f"the poses of {name} have another form ({error})") from error
        problem = problem_of(columns, len(entry.positions))
        if problem:
            raise self.damaged(f"the poses of {name}: {problem}")
        return columns

    def _add_times(self, part: int, start: int, stop: int, times_s: NDArray[np.float64]) -> None:
        """Add the time stamps of a chunk; without any, remove those of an earlier one."""
        if np.isnan(times_s).all():
            self._database.execute("DELETE FROM times WHERE (part, start, stop) = (?, ?, ?)", (part, start, stop))
            return
        blob = times_s.astype(TIME).tobytes()
        row = (part, start, stop, blob, _checksum(self._key, part, start, stop, data=blob))
        self._database.execute("INSERT OR REPLACE INTO times VALUES (?, ?, ?, ?, ?)", row)

    def _times(self, entry: Entry, name: str) -> NDArray[np.float64]:
        """Return the time stamps of a chunk, (F,); NaN if there are none."""
        key = (entry.part, entry.positions.start, entry.positions.stop)
        query = "SELECT times_s, checksum FROM times WHERE (part, start, stop) = (?, ?, ?)"
        for blob, checksum in self._rows(query, key):
            if not isinstance(blob, bytes) or checksum != _checksum(self._key, *key, data=blob):
                raise self.damaged(f"the time stamps of {name} fail their checksum")
            return np.frombuffer(blob, TIME)
        return np.full(len(entry.positions), np.nan)

    def damaged(self, what: str) -> JournalError:
        """Return the error to raise for wrong content."""
        return damaged(self.path, what)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> ResultFile:
        """Return the file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _prepare(self) -> None:
        try:
            self._database.execute("PRAGMA journal_mode=WAL").fetchone()
        except sqlite3.OperationalError as error:
            if _is_full(error):
                raise
            self._database.execute("PRAGMA journal_mode=TRUNCATE")  # this file system has no shared memory
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.executescript(TABLES)

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            with translated(self.path):
                return self._database.execute(query, values).fetchall()
        except (MemoryError, OverflowError, UnicodeError) as error:
            raise self.damaged(str(error)) from error

    def _content(self, blobs: Sequence[Any], notes: Any) -> str:
        """Return the checksum of columns: their names, types, lengths and bytes, and the notes."""
        if not all(isinstance(blob, bytes) for blob in blobs):
            return ""
        lengths = [len(blob) for blob in blobs]
        return _checksum([*DTYPES.items()], self._n_nodes, lengths, notes, data=b"".join(blobs))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise


def _checksum(*values: Any, data: bytes = b"") -> str:
    """Return the BLAKE2b hash of plain values and bytes, 32 hexadecimal digits."""
    found = hashlib.blake2b(repr(values).encode("utf-8", "replace"), digest_size=16)
    found.update(data)
    return found.hexdigest()


def remove_beside(path: Path) -> None:
    """Remove the files that SQLite stores beside a database.

    Those of a deleted database would be read as part of the next one with the same name.
    """
    for suffix in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise errors of the database and of the file system as errors of this package.

    Raises:
        OutputError: something cannot be written.
        JournalError: a file is damaged, or not a result file.
    """
    try:
        yield
    except sqlite3.Error as error:
        if not (getattr(error, "sqlite_errorname", None) or "").startswith(CANNOT_WRITE):
            raise damaged(path, str(error)) from error
        hint = "Free some space" if _is_full(error) else "Check the disk and your rights there"
        raise OutputError(f"{path} cannot be written: {error}. {hint}, then run the same command again.") from error
    except OSError as error:
        reason = os_reason(error) or f"{error.strerror or error}."
        raise OutputError(f"{path} cannot be written: {reason}") from error


def damaged(path: Path, what: str) -> JournalError:
    """Return the error for a file of a journal with wrong content."""
    return JournalError(
        f"{path} cannot be read: {what}. Delete that file, then run the same command again: its frames are predicted "
        "again."
    )


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "") in ("SQLITE_FULL", "SQLITE_IOERR_WRITE")
