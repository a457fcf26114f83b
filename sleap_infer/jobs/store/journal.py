"""The journal of a job: what was asked for, and the results as they came.

A journal is a folder: `job.json` says what was asked for, and each process that works on the job adds its results to an
SQLite file of its own, a piece of a video at a time, each piece whole or not at all. Nothing is ever changed in it, so
that a process can be killed at any moment, and several can work on one job without knowing of each other. Which frames
are done is read from these pieces and nowhere else. A folder without `job.json` is no journal, whatever else is in it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from sleap_infer.errors import JournalError, OutputError
from sleap_infer.frames.indices import Indices
from sleap_infer.jobs.store.columns import Columns
from sleap_infer.jobs.store.journal_files import JOB_FILE, delete_own, is_shard
from sleap_infer.jobs.store.ranges import Range, missing_between, union
from sleap_infer.jobs.store.shard import Entry, Shard, remove_beside, translated
from sleap_infer.system.files import write_text
from sleap_infer.system.unexpected_errors import os_reason

VERSION = 2

WITHOUT_CHECKSUMS = 1
"""Version of journals that cannot be checked."""

IDENTITY = ("what", "how", "parts", "chunk", "n_nodes", "is_centroid")
"""Facts that make two journals the same job."""

logger = logging.getLogger(__name__)


@frozen
class Piece:
    """Frames of one part that a shard holds, and how many of the first do not count."""

    entry: Entry
    shard: Path
    skip: int = 0

    @property
    def part(self) -> int:
        """Number of the video."""
        return self.entry.part

    @property
    def places(self) -> Range:
        """Positions of the frames among those that are wanted of the part."""
        return self.entry.places


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
        written = json.loads(json.dumps({"schema": "sleap_infer.journal", "version": VERSION, **facts}, default=str))
        write_text(path / JOB_FILE, json.dumps({**written, "checksum": _digest(written)}, indent=1))
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Open what is there.

        Raises:
            JournalError: there is no journal, or it is damaged, or one of a later version.
        """
        try:
            facts = json.loads((path / JOB_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise JournalError(f"{path} is not a journal: it holds no {JOB_FILE}.") from None
        except OSError as error:
            reason = os_reason(error) or f"{error.strerror or error}."
            raise JournalError(f"{path / JOB_FILE} cannot be read: {reason}") from error
        except (ValueError, RecursionError) as error:
            raise _unreadable(path, str(error)) from error
        if not isinstance(facts, dict):
            raise _unreadable(path, "it is not a JSON object")
        if facts.get("schema") != "sleap_infer.journal" or facts.get("version") not in (WITHOUT_CHECKSUMS, VERSION):
            found = f"{facts.get('schema')} {facts.get('version')}"
            raise JournalError(
                f"{path} was written by another version of sleap_infer ({found}, not {VERSION}). Finish it with that "
                "version, or delete the folder to start anew."
            )
        checksum = facts.pop("checksum", None)
        if facts["version"] != WITHOUT_CHECKSUMS and checksum != _digest(facts):
            raise _unreadable(path, "it fails its checksum")
        return cls(path, facts)

    @staticmethod
    def is_at(path: Path) -> bool:
        """Whether there is a journal.

        Raises:
            OutputError: its folder may not be looked into.
        """
        with translated(path):
            return (path / JOB_FILE).is_file()

    @property
    def has_checksums(self) -> bool:
        """Whether its results can be checked. Those of the first version cannot, and are not used."""
        return bool(self.facts["version"] != WITHOUT_CHECKSUMS)

    @property
    def n_nodes(self) -> int:
        """Points of an instance."""
        return int(self.facts["n_nodes"])

    def shard(self, name: str) -> Shard:
        """The file of one process, to write to."""
        return self._shard(self.path / f"{name}.sqlite")

    def pieces(self) -> tuple[list[Piece], dict[int, int]]:
        """What all shards hold, in order and each frame once; and the ends that were met.

        Raises:
            JournalError: something in it is damaged, or was not asked for.
        """
        if not self.has_checksums:
            raise JournalError(
                f"{self.path} was written by an earlier version of sleap_infer, without checksums. Run the job again: "
                "it starts anew."
            )
        found: list[Piece] = []
        ends: dict[int, int] = {}
        with translated(self.path):
            paths = sorted(path for path in self.path.iterdir() if is_shard(path))
        for path in paths:
            with self._shard(path) as shard:
                entries, own_ends = shard.entries(), shard.ends()
                for entry in entries:
                    self._check_range(shard, entry)
                if not own_ends.keys() <= set(range(len(self.facts["parts"]))):
                    raise shard.damaged(f"it has the length of a video that is not one of {len(self.facts['parts'])}")
                found += [Piece(entry, path) for entry in entries]
                ends |= own_ends
        for piece in found:
            if (piece.places.stop or 0) > ends.get(piece.part, piece.places.stop or 0):
                with self._shard(piece.shard) as shard:
                    raise shard.damaged(f"it has frames behind the end of video {piece.part}")
        return _each_once(found), ends

    def length(self, part: int, ends: Mapping[int, int]) -> int | None:
        """How many frames are wanted of a part; `None` where nobody knows yet."""
        frames = self.asked()[part]
        return ends.get(part) if frames is None else len(frames)

    def missing(self) -> dict[int, list[Range]]:
        """Positions without a result, by part; a range without a stop goes to the end of its video."""
        return self._missing(*self.pieces())

    def read(self) -> Iterator[tuple[int, Columns]]:
        """All results in order: part, and frames.

        Raises:
            JournalError: something in it is damaged, or was not asked for.
        """
        return self._read(self.pieces()[0])

    def read_complete(self) -> Iterator[tuple[int, Columns]]:
        """The same, of a journal that holds exactly the frames that were asked for.

        Raises:
            JournalError: it does not, or something in it is damaged.
        """
        pieces, ends = self.pieces()
        missing = self._missing(pieces, ends)
        if missing:
            raise JournalError(
                f"{self.path} does not hold all frames that were asked for: {listed(missing)}. Run the same command "
                "again: these frames are predicted, and the files are written then."
            )
        reached = dict.fromkeys(range(len(self.facts["parts"])), 0)
        for part, columns in self._read(pieces):
            reached[part] += len(columns)
            yield part, columns
        wrong = next((part for part, n_frames in reached.items() if n_frames != self.length(part, ends)), None)
        if wrong is not None:
            raise JournalError(
                f"{self.path} holds {reached[wrong]} frames of video {wrong}, and {self.length(wrong, ends)} were "
                "asked for. Delete the folder, then run the same command again."
            )

    @property
    def is_live(self) -> bool:
        """Whether its frames are those that were predicted of a live source: ascending, not consecutive."""
        return self.facts.get("live") is not None

    def asked(self) -> list[Indices | None]:
        """Return the frames that were asked for, by part; `None` for all."""
        found: Any = [Indices.from_plain(part["frames"]) for part in self.facts["parts"]]
        return found

    def frame_inds(self) -> list[range | Indices]:
        """Indices of the frames that were asked for, by part, of a journal in which nothing is missing."""
        if self.is_live:
            return [Indices.of(index for _, columns in self.read() for index in columns.frame_inds.tolist())]
        _, ends = self.pieces()
        return [range(ends[number]) if part is None else part for number, part in enumerate(self.asked())]

    def check(self) -> None:
        """Read everything.

        Raises:
            JournalError: something in it is damaged.
        """
        for _ in self.read():
            pass

    def n_frames(self) -> int:
        """How many frames have a result."""
        return sum(len(piece.places) - piece.skip for piece in self.pieces()[0])

    def drop(self, name: str) -> None:
        """Remove the shard of a name, if it is there."""
        path = self.path / f"{name}.sqlite"
        with translated(path):
            path.unlink(missing_ok=True)
            remove_beside(path)

    def delete_results(self) -> None:
        """Remove what was found so far; locks stay, and what is not of a journal."""
        delete_own(self.path, with_locks=False)

    def delete(self) -> None:
        """Remove the folder, except for what is not of a journal."""
        try:
            foreign = delete_own(self.path)
        except OutputError as error:  # the files are written; nothing is lost
            logger.warning("%s is no longer needed, and cannot be deleted: %s", self.path, error)
            return
        if foreign:
            others = "" if len(foreign) <= 3 else f" and {len(foreign) - 3} more"
            names = ", ".join(foreign[:3]) + others
            logger.warning("%s stays: it holds files that are not of a journal (%s)", self.path, names)

    def _missing(self, pieces: list[Piece], ends: Mapping[int, int]) -> dict[int, list[Range]]:
        covered: dict[int, list[Range]] = {}
        for piece in pieces:
            covered.setdefault(piece.part, []).append(piece.places)
        parts = range(len(self.facts["parts"]))
        gaps = {part: missing_between(union(covered.get(part, [])), self.length(part, ends)) for part in parts}
        return {part: found for part, found in gaps.items() if found}

    def _read(self, pieces: list[Piece]) -> Iterator[tuple[int, Columns]]:
        opened: dict[Path, Shard] = {}
        with ExitStack() as stack:
            for piece in pieces:
                if piece.shard not in opened:
                    opened[piece.shard] = stack.enter_context(self._shard(piece.shard))
                columns = opened[piece.shard].read(piece.entry)
                self._check_frames(opened[piece.shard], piece.entry, columns)
                yield piece.part, columns.tail(piece.skip)

    def _shard(self, path: Path) -> Shard:
        return Shard(path, self.n_nodes, _digest({name: self.facts.get(name) for name in IDENTITY}))

    def _check_range(self, shard: Shard, entry: Entry) -> None:
        """Check that a range was asked for."""
        parts, places = self.facts["parts"], entry.places
        if not 0 <= entry.part < len(parts):
            raise shard.damaged(f"it has frames of video {entry.part}, and there are {len(parts)}")
        length = self.length(entry.part, {})
        if not 0 <= places.start < (places.stop or 0) or (length is not None and (places.stop or 0) > length):
            asked = "all" if length is None else length
            raise shard.damaged(f"it has frames {places.start} to {places.stop} of video {entry.part}, of {asked}")

    def _check_frames(self, shard: Shard, entry: Entry, columns: Columns) -> None:
        """Check that frames have the indices that were asked for."""
        start, stop = entry.places.start, entry.places.stop
        frames = self.asked()[entry.part]
        found = columns.frame_inds.tolist()
        if self.is_live:
            asked = sorted(set(found))
        else:
            asked = list(range(start, stop or start)) if frames is None else list(frames[start:stop])
        if found != asked:
            raise shard.damaged(f"video {entry.part}, frames {start} to {stop}: these are not the frames asked for")


def listed(missing: Mapping[int, list[Range]]) -> str:
    """Ranges without a result, in words."""
    gaps = [
        f"video {part}, places {gap.start} to {gap.stop or 'the end'}"
        for part, found in missing.items()
        for gap in found
    ]
    return "; ".join(gaps[:4]) + (f"; and {len(gaps) - 4} more" if len(gaps) > 4 else "")


def _each_once(pieces: list[Piece]) -> list[Piece]:
    """Pieces in order; frames that two of them hold count in the first only."""
    kept: list[Piece] = []
    part, reached = -1, 0
    for piece in sorted(pieces, key=lambda piece: (piece.part, piece.places.start, -len(piece.places), piece.shard)):
        stop = piece.places.stop or 0
        if piece.part != part:
            part, reached = piece.part, 0
        if stop > reached:
            kept.append(Piece(piece.entry, piece.shard, max(reached - piece.places.start, 0)))
            reached = stop
    return kept


def _digest(facts: Mapping[str, Any]) -> str:
    """Checksum of plain data, whatever the order of its keys."""
    return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()


def _unreadable(path: Path, what: str) -> JournalError:
    return JournalError(
        f"{path / JOB_FILE} cannot be read ({what}). Delete the folder {path}, then run the same command again: it "
        "starts anew."
    )
