"""Hashes of the content of videos: of samples, which distinguish most recordings, and of everything.

The hash of samples (`samples`) is part of a job's identity. Two recordings can have the same samples, so a job also
records when its files were last changed (`stamp`) and a hash of all content (`full`). If the stamp is the same, the
files have not changed; if it differs, because they were touched, moved, copied or replaced, all content is compared.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define, field

from sleap_infer.errors import OutputError
from sleap_infer.frames import Source
from sleap_infer.frames.source import VideoPart
from sleap_infer.jobs.store.journal_files import CONTENT_FILE
from sleap_infer.jobs.store.result_file import translated
from sleap_infer.system.digest import digest
from sleap_infer.system.files import write_text

SAMPLES = 64
"""Number of blocks of a video in the hash of samples."""

BLOCK = 1 << 16
"""Size of such a block in bytes."""

AT_ONCE = 1 << 28
"""Size in bytes up to which a video is hashed before the job begins (about 0.2 s); larger ones are hashed meanwhile."""

Record = Mapping[str, Any]
"""`stamp` and `full` of one video; `full` is `None` if it is unknown."""


def files_of(part: VideoPart) -> list[Path]:
    """Return the files of a video."""
    reader: Any = part.reader
    own = getattr(reader, "paths", None) or getattr(reader, "path", None) or part.video().filename
    return [Path(path) for path in (own if isinstance(own, (list, tuple)) else [own])]


def samples(paths: Sequence[Path]) -> str:
    """Return a hash of the sizes of all files and of blocks spread evenly over each: up to 4 MiB, all of small files.

    Raises:
        OSError: a file cannot be read.
    """
    n_blocks = max(SAMPLES // max(len(paths), 1), 2)
    found = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        found.update(str(size).encode())
        with path.open("rb") as file:
            for start in np.unique(np.linspace(0, max(size - BLOCK, 0), n_blocks).astype(np.int64)).tolist():
                file.seek(start)
                found.update(file.read(BLOCK))
    return found.hexdigest()[:24]


def stamp(paths: Sequence[Path]) -> str:
    """Return a hash of sizes, inodes and times of all files, which differs if one was changed, moved or replaced.

    Raises:
        OSError: a file is missing.
    """
    facts = [(found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns) for found in (p.stat() for p in paths)]
    return digest(facts)


def full(paths: Sequence[Path]) -> str | None:
    """Return a hash of all content of all files; `None` if they were changed meanwhile.

    Raises:
        OSError: a file cannot be read.
    """
    before, found = stamp(paths), hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()[:32] if stamp(paths) == before else None


@define
class Contents:
    """Hashes of the files of a source, computed when they are needed.

    Attributes:
        paths: files of each video.
    """

    paths: list[list[Path]]
    _full: dict[int, str | None] = field(factory=dict, init=False)
    _stamps: list[str] = field(factory=list, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    @classmethod
    def of(cls, source: Source) -> Contents:
        """Return the contents of a source."""
        return cls([files_of(part) for part in source.parts])

    def unlike(self, there: Sequence[Record] | None) -> str | None:
        """Return how the files differ from a record, as text; `None` if they are the same.

        Args:
            there: a record of the same number of videos; `None` if an earlier version wrote none.
        """
        if there is None or len(there) != len(self.paths):
            return "an earlier version of sleap_infer made it, which did not note the content of videos"
        for number, record in enumerate(there):
            name = self.paths[number][0]
            try:
                if record["stamp"] == stamp(self.paths[number]):
                    continue
                if record["full"] is None:
                    return f"{name} was changed or moved before all of its content had been noted"
                if self._hash(number) != record["full"]:
                    return f"the content of {name} differs"
            except OSError as error:
                return f"{name} cannot be read ({error.strerror})"
        return None

    def note(self, journal: Path, there: Sequence[Record] | None = None) -> None:
        """Write the state of the files into a journal, before they are read.

        Large files are hashed in another thread, and their hashes are written when that is done.

        Args:
            journal: its folder, created if it is missing.
            there: earlier records of the same files.

        Raises:
            OutputError: it cannot be written.
        """
        with translated(journal):
            journal.mkdir(parents=True, exist_ok=True)
            self._stamps = [stamp(paths) for paths in self.paths]
            self._full |= {number: record["full"] for number, record in enumerate(there or ()) if record["full"]}
            unknown = [number for number in range(len(self.paths)) if number not in self._full]
            large = [number for number in unknown if _size(self.paths[number]) > AT_ONCE]
            for number in set(unknown) - set(large):
                self._hash(number)
        self._write(journal)
        if large:
            self._thread = threading.Thread(target=self._hash_all, args=(large, journal), daemon=True)
            self._thread.start()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until all hashes are written, or for some seconds."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _hash_all(self, numbers: Sequence[int], journal: Path) -> None:
        for number in numbers:
            self._hash(number)
        with suppress(OutputError):  # the job has ended without it
            self._write(journal)

    def _hash(self, number: int) -> str | None:
        """Return the hash of one video; `None` if it has changed since its state was written."""
        if number not in self._full:
            try:
                found = full(self.paths[number])
                is_as_noted = not self._stamps or self._stamps[number] == stamp(self.paths[number])
            except OSError:
                found, is_as_noted = None, False
            self._full[number] = found if is_as_noted else None
        return self._full[number]

    def _write(self, journal: Path) -> None:
        records = [{"stamp": mark, "full": self._full.get(number)} for number, mark in enumerate(self._stamps)]
        if journal.is_dir():
            write_text(journal / CONTENT_FILE, json.dumps(records))


def noted(journal: Path) -> list[Record] | None:
    """Return the records of the content of videos in a journal; `None` if there are none that can be read."""
    try:
        return read_records((journal / CONTENT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def read_records(text: str) -> list[Record]:
    """Return records from JSON.

    Raises:
        ValueError: it is something else.
    """
    found = json.loads(text)
    if not isinstance(found, list) or not all(isinstance(one, dict) and {"stamp", "full"} <= set(one) for one in found):
        raise ValueError("no records of content")
    return found


def _size(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths)
