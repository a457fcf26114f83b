"""The journal of a job: what was asked for, and the results as they came.

A journal is a folder: `job.json` says what was asked for, and each process that works on the job adds its results to an
SQLite file of its own, a piece of a video at a time, each piece whole or not at all. Nothing is ever changed in it, so
that a process can be killed at any moment, and several can work on one job without knowing of each other.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define, field, frozen

from sleap_infer.errors import JournalError, OutputError
from sleap_infer.files import write_text
from sleap_infer.jobs.columns import DTYPES, STATUSES, Columns
from sleap_infer.jobs.ranges import Range, missing_between, union

VERSION = 1
JOB_FILE = "job.json"

TABLES = f"""
CREATE TABLE IF NOT EXISTS pieces (
    part INTEGER, start INTEGER, stop INTEGER, batch_size INTEGER, seconds REAL,
    {", ".join(f"{name} BLOB" for name in DTYPES)}, notes TEXT,
    PRIMARY KEY (part, start, stop)
);
CREATE TABLE IF NOT EXISTS frames (
    part INTEGER, frame_idx INTEGER, status TEXT, n_instances INTEGER, note TEXT, PRIMARY KEY (part, frame_idx)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ends (part INTEGER PRIMARY KEY, n_frames INTEGER);
"""
"""`pieces`: columns of the frames at places start to stop of those that are wanted of a part (a video); `frames`: the
same for people; `ends`: how many frames a video turned out to have where all are wanted."""


class Shard:
    """The file of one process; a context manager.

    Args:
        path: of the file, made if it is not there.
        n_nodes: points of an instance.

    Raises:
        OutputError: it cannot be written.
        JournalError: it is something else.
    """

    def __init__(self, path: Path, n_nodes: int) -> None:
        self.path, self._n_nodes = path, n_nodes
        with translated(path):
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
            try:
                self._database.execute("PRAGMA journal_mode=WAL").fetchone()
            except sqlite3.OperationalError as error:
                if _is_full(error):
                    raise
                self._database.execute("PRAGMA journal_mode=TRUNCATE")  # no memory to share on this file system
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.executescript(TABLES)

    def add(self, part: int, start: int, columns: Columns, batch_size: int, seconds: float = 0.0) -> None:
        """Keep the frames at places `start` to `start + len(columns)`: all of them or, where that fails, none.

        Raises:
            OutputError: they cannot be written.
        """
        values = [array.tobytes() for array in columns.arrays().values()]
        counts, statuses = columns.counts.tolist(), columns.statuses.tolist()
        rows = [
            (part, index, STATUSES[statuses[place]], counts[place], columns.notes.get(place))
            for place, index in enumerate(columns.frame_inds.tolist())
        ]
        marks = ", ".join("?" * (6 + len(DTYPES)))
        facts = (part, start, start + len(columns), batch_size, seconds, *values, json.dumps(columns.notes))
        with translated(self.path), self._transaction():
            self._database.execute(f"INSERT OR REPLACE INTO pieces VALUES ({marks})", facts)
            self._database.executemany("INSERT OR REPLACE INTO frames VALUES (?, ?, ?, ?, ?)", rows)

    def end(self, part: int, n_frames: int) -> None:
        """Note how many frames a part has."""
        with translated(self.path), self._transaction():
            self._database.execute("INSERT OR REPLACE INTO ends VALUES (?, ?)", (part, n_frames))

    def ranges(self) -> list[tuple[int, Range]]:
        """Part and places of every piece."""
        with translated(self.path):
            found = self._database.execute("SELECT part, start, stop FROM pieces ORDER BY part, start, stop").fetchall()
        return [(part, Range(start, stop)) for part, start, stop in found]

    def ends(self) -> dict[int, int]:
        """Frames of the parts that were read to their end."""
        with translated(self.path):
            return dict(self._database.execute("SELECT part, n_frames FROM ends").fetchall())

    def read(self, part: int, places: Range) -> Columns:
        """One piece."""
        query = f"SELECT {', '.join(DTYPES)}, notes FROM pieces WHERE part = ? AND start = ? AND stop = ?"
        with translated(self.path):
            *blobs, notes = self._database.execute(query, (part, places.start, places.stop)).fetchone()
        shapes = {"points": (-1, self._n_nodes, 2), "point_scores": (-1, self._n_nodes)}
        arrays = {
            name: np.frombuffer(blob, dtype).reshape(shapes.get(name, (-1,)))
            for (name, dtype), blob in zip(DTYPES.items(), blobs, strict=True)
        }
        return Columns(**arrays, notes={int(place): note for place, note in json.loads(notes).items()})

    def close(self) -> None:
        """Give the file back."""
        self._database.close()

    def __enter__(self) -> Shard:
        """Enter the lifetime of the open file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

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


@frozen
class Piece:
    """Frames of one part that a shard holds, and which of them count."""

    part: int
    places: Range
    shard: Path
    skip: int = 0


@define
class Journal:
    """The folder of a job.

    Attributes:
        path: of the folder.
        facts: what was asked for, as in `job.json`.
    """

    path: Path
    facts: Mapping[str, Any] = field(repr=False)

    @classmethod
    def create(cls, path: Path, facts: Mapping[str, Any]) -> Journal:
        """Begin a journal.

        Raises:
            OutputError: it cannot be written.
        """
        with translated(path):
            path.mkdir(parents=True, exist_ok=True)
        written = json.dumps({"schema": "sleap_infer.journal", "version": VERSION, **facts}, indent=1, default=str)
        write_text(path / JOB_FILE, written)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Open what is there.

        Raises:
            JournalError: there is no journal, or one of another version.
        """
        try:
            facts = json.loads((path / JOB_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise JournalError(f"{path} is not a journal: it holds no {JOB_FILE}.") from None
        except (OSError, ValueError) as error:
            raise JournalError(f"{path / JOB_FILE} cannot be read ({error}). Delete {path} to start anew.") from error
        if facts.get("schema") != "sleap_infer.journal" or facts.get("version") != VERSION:
            found = f"{facts.get('schema')} {facts.get('version')}"
            raise JournalError(
                f"{path} was written by another version of sleap_infer ({found}, not {VERSION}). Finish it with that "
                "version, or delete the folder to start anew."
            )
        return cls(path, facts)

    @staticmethod
    def is_at(path: Path) -> bool:
        """Whether there is a journal."""
        return (path / JOB_FILE).is_file()

    @staticmethod
    def tidy(path: Path) -> None:
        """Remove the folder where nothing but locks is in it."""
        found = list(path.iterdir()) if path.is_dir() else []
        if all(item.name.endswith("lock") for item in found):
            shutil.rmtree(path, ignore_errors=True)

    @property
    def n_nodes(self) -> int:
        """Points of an instance."""
        return int(self.facts["n_nodes"])

    def shard(self, name: str) -> Shard:
        """The file of one process, to write to."""
        return Shard(self.path / f"{name}.sqlite", self.n_nodes)

    def pieces(self) -> tuple[list[Piece], dict[int, int]]:
        """What all shards hold, in order and each frame once; and the ends that were met."""
        found: list[Piece] = []
        ends: dict[int, int] = {}
        for path in sorted(self.path.glob("*.sqlite")):
            with Shard(path, self.n_nodes) as shard:
                found += [Piece(part, places, path) for part, places in shard.ranges()]
                ends |= shard.ends()
        return _each_once(found), ends

    def missing(self) -> dict[int, list[Range]]:
        """Places without a result, by part; a range without a stop goes to the end of its video."""
        pieces, ends = self.pieces()
        covered: dict[int, list[Range]] = {}
        for piece in pieces:
            covered.setdefault(piece.part, []).append(piece.places)
        missing = {}
        for number, part in enumerate(self.facts["parts"]):
            length = len(part["frames"]) if part["frames"] is not None else ends.get(number)
            gaps = missing_between(union(covered.get(number, [])), length)
            if gaps:
                missing[number] = gaps
        return missing

    def read(self) -> Iterator[tuple[int, Columns]]:
        """All results in order: part, and frames."""
        pieces, _ = self.pieces()
        opened: dict[Path, Shard] = {}
        try:
            for piece in pieces:
                shard = opened.get(piece.shard) or opened.setdefault(piece.shard, Shard(piece.shard, self.n_nodes))
                yield piece.part, shard.read(piece.part, piece.places).tail(piece.skip)
        finally:
            for shard in opened.values():
                shard.close()

    def n_frames(self) -> int:
        """How many frames have a result."""
        return sum(len(piece.places) - piece.skip for piece in self.pieces()[0])

    def delete_results(self) -> None:
        """Remove what was found so far; locks stay."""
        with translated(self.path):
            for path in self.path.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif not path.name.endswith("lock"):
                    path.unlink()

    def delete(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)


def _each_once(pieces: list[Piece]) -> list[Piece]:
    """Pieces in order; frames that two of them hold count in the first only."""
    kept: list[Piece] = []
    part, reached = -1, 0
    for piece in sorted(pieces, key=lambda piece: (piece.part, piece.places.start, -len(piece.places), piece.shard)):
        stop = piece.places.stop or 0
        if piece.part != part:
            part, reached = piece.part, 0
        if stop > reached:
            kept.append(Piece(piece.part, piece.places, piece.shard, max(reached - piece.places.start, 0)))
            reached = stop
    return kept


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Errors of the database and of the file system as errors of this package.

    Raises:
        OutputError: something cannot be written.
        JournalError: a file is damaged or something else.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        hint = " Free some space" if _is_full(error) else " Check the disk and the rights"
        raise OutputError(f"{path} cannot be written: {error}.{hint}, then run the same command again.") from error
    except sqlite3.DatabaseError as error:
        raise JournalError(f"{path} cannot be read: {error}. Delete that file: its part is run again.") from error
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "") in ("SQLITE_FULL", "SQLITE_IOERR_WRITE")
