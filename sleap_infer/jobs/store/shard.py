"""One file of a journal: results of one process, each entry complete and with a checksum.

A checksum covers what the entry is about (the job, the video, the range of frames) and all of its content, so that a
damaged disk, an edited file and a file of another job are noticed wherever the entry is read.
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
"""`pieces`: columns of the frames at positions start to stop of those that are wanted of a part (a video); `frames`:
the same for people; `ends`: how many frames a video turned out to have where all are wanted. `content` is the checksum
of a piece's columns, `checksum` that of its row. `times`: time stamps of the frames of a piece, where there are any;
earlier versions neither write nor read them."""

TIME = "<f8"
"""Type of a stored time stamp."""

CANNOT_WRITE = tuple(
    f"SQLITE_{name}" for name in ("FULL", "IOERR", "READONLY", "CANTOPEN", "BUSY", "LOCKED", "PERM", "PROTOCOL")
)
"""Errors of SQLite that are about the disk, rights or locks, by how their names begin; others are about the content."""


@frozen
class Entry:
    """Where a piece is in its shard: part, positions of its frames, the row, and the checksum of its columns."""

    part: int
    places: Range
    row: int
    content: str


class Shard:
    """The file of one process; a context manager.

    Args:
        path: of the file, made if it is not there.
        n_nodes: points of an instance.
        key: identity of the job, part of each checksum.

    Raises:
        OutputError: it cannot be written.
        JournalError: it is damaged or something else.
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
        """Save the frames at positions `start` to `start + len(columns)`: all of them or, where that fails, none.

        Raises:
            OutputError: they cannot be written.
        """
        stop = start + len(columns)
        counts, statuses = columns.counts.tolist(), columns.statuses.tolist()
        rows = [
            (part, index, STATUSES[statuses[place]], counts[place], columns.notes.get(place))
            for place, index in enumerate(columns.frame_inds.tolist())
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
        """Note how many frames a part has."""
        row = (part, n_frames, _checksum(self._key, part, n_frames))
        with translated(self.path), self._transaction():
            self._database.execute("INSERT OR REPLACE INTO ends VALUES (?, ?, ?)", row)

    def entries(self) -> list[Entry]:
        """All pieces, checked but for their columns.

        Raises:
            JournalError: one is damaged.
        """
        query = "SELECT rowid, part, start, stop, content, checksum FROM pieces NOT INDEXED"
        found = []
        for row, part, start, stop, content, checksum in self._rows(query):
            if checksum != _checksum(self._key, part, start, stop, content):
                raise self.damaged(f"the entry of video {part}, frames {start} to {stop}, fails its checksum")
            found.append(Entry(part, Range(start, stop), row, content))
        known = {(entry.part, entry.places.start, entry.places.stop) for entry in found}
        for row in self._rows("SELECT part, start, stop FROM times"):
            if row not in known:
                raise self.damaged(
                    f"there are time stamps of video {row[0]}, frames {row[1]} to {row[2]}, and no poses"
                )
        return sorted(found, key=lambda entry: (entry.part, entry.places.start, entry.places.stop or 0, entry.row))

    def ranges(self) -> list[tuple[int, Range]]:
        """Part and positions of every piece."""
        return [(entry.part, entry.places) for entry in self.entries()]

    def ends(self) -> dict[int, int]:
        """Frames of the parts that were read to their end.

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
        """Read one piece.

        Raises:
            JournalError: it is damaged.
        """
        name = f"video {entry.part}, frames {entry.places.start} to {entry.places.stop}"
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
                notes={int(place): note for place, note in json.loads(notes).items()},
                times_s=self._times(entry, name),
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise self.damaged(f"the poses of {name} have another form ({error})") from error
        problem = problem_of(columns, len(entry.places))
        if problem:
            raise self.damaged(f"the poses of {name}: {problem}")
        return columns

    def _add_times(self, part: int, start: int, stop: int, times_s: NDArray[np.float64]) -> None:
        """Add the time stamps of a piece; without any, remove those of an earlier one."""
        if np.isnan(times_s).all():
            self._database.execute("DELETE FROM times WHERE (part, start, stop) = (?, ?, ?)", (part, start, stop))
            return
        blob = times_s.astype(TIME).tobytes()
        row = (part, start, stop, blob, _checksum(self._key, part, start, stop, data=blob))
        self._database.execute("INSERT OR REPLACE INTO times VALUES (?, ?, ?, ?, ?)", row)

    def _times(self, entry: Entry, name: str) -> NDArray[np.float64]:
        """Read the time stamps of a piece, (F,); NaN if there are none."""
        key = (entry.part, entry.places.start, entry.places.stop)
        query = "SELECT times_s, checksum FROM times WHERE (part, start, stop) = (?, ?, ?)"
        for blob, checksum in self._rows(query, key):
            if not isinstance(blob, bytes) or checksum != _checksum(self._key, *key, data=blob):
                raise self.damaged(f"the time stamps of {name} fail their checksum")
            return np.frombuffer(blob, TIME)
        return np.full(len(entry.places), np.nan)

    def damaged(self, what: str) -> JournalError:
        """Return the error to raise for wrong content."""
        return damaged(self.path, what)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Shard:
        """Enter the lifetime of the open file."""
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
        """Checksum of columns: their names, types, lengths and bytes, and the notes."""
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
    """BLAKE2b of some plain values and bytes, 32 hexadecimal digits."""
    found = hashlib.blake2b(repr(values).encode("utf-8", "replace"), digest_size=16)
    found.update(data)
    return found.hexdigest()


def remove_beside(path: Path) -> None:
    """Remove what SQLite keeps beside a database, which belongs to no other one.

    Left over from a file that was deleted, it would be read as part of the next one of that name.
    """
    for suffix in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Errors of the database and of the file system as errors of this package.

    Raises:
        OutputError: something cannot be written.
        JournalError: a file is damaged or something else.
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
