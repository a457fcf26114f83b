"""The journal: what was asked for, and the results as they came.

A journal is a folder: `job.json` says what was asked for, and each process that works on the job adds its results to an
result file (SQLite) of its own, one chunk of a video at a time, each chunk completely or not at all. Entries are never
changed, so a process can be killed at any moment, and several processes can work on one job independently. Only these
chunks say which frames are done. A folder without `job.json` is not a journal, whatever else is in it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from attrs import define, field

from sleap_infer.errors import JournalError, OutputError
from sleap_infer.frames.indices import Indices
from sleap_infer.jobs.store.chunks import Chunk, each_once, listed
from sleap_infer.jobs.store.columns import Columns
from sleap_infer.jobs.store.job_file import WITHOUT_CHECKSUMS, job_key, read_facts, write_facts
from sleap_infer.jobs.store.journal_files import JOB_FILE, delete_own, is_result_file
from sleap_infer.jobs.store.ranges import Range, missing_between, union
from sleap_infer.jobs.store.result_file import Entry, ResultFile, remove_beside, translated

logger = logging.getLogger(__name__)


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
        write_facts(path, facts)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Open an existing journal.

        Raises:
            JournalError: there is no journal, or it is damaged, or one of a later version.
        """
        return cls(path, read_facts(path))

    @staticmethod
    def is_at(path: Path) -> bool:
        """Return whether there is a journal.

        Raises:
            OutputError: its folder cannot be read.
        """
        with translated(path):
            return (path / JOB_FILE).is_file()

    @property
    def has_checksums(self) -> bool:
        """Return whether its results can be checked. Those of the first version cannot, and are not used."""
        return bool(self.facts["version"] != WITHOUT_CHECKSUMS)

    @property
    def n_nodes(self) -> int:
        """Points of an instance."""
        return int(self.facts["n_nodes"])

    @property
    def is_live(self) -> bool:
        """Return whether its frames are those that were predicted of a live source: ascending, not consecutive."""
        return self.facts.get("live") is not None

    def result_file(self, name: str) -> ResultFile:
        """Open the file of one process, to write to."""
        return self._result_file(self.path / f"{name}.sqlite")

    def chunks(self) -> tuple[list[Chunk], dict[int, int]]:
        """Return the chunks of all shards, in order and each frame once, and the lengths of videos that were read.

        Raises:
            JournalError: something in it is damaged, or was not asked for.
        """
        if not self.has_checksums:
            raise JournalError(
                f"{self.path} was written by an earlier version of sleap_infer, without checksums. Run the job again: "
                "it starts anew."
            )
        found: list[Chunk] = []
        ends: dict[int, int] = {}
        with translated(self.path):
            paths = sorted(path for path in self.path.iterdir() if is_result_file(path))
        for path in paths:
            with self._result_file(path) as file:
                entries, own_ends = file.entries(), file.ends()
                for entry in entries:
                    self._check_range(file, entry)
                if not own_ends.keys() <= set(range(len(self.facts["parts"]))):
                    raise file.damaged(f"it has the length of a video that is not one of {len(self.facts['parts'])}")
                found += [Chunk(entry, path) for entry in entries]
                ends |= own_ends
        for chunk in found:
            if (chunk.positions.stop or 0) > ends.get(chunk.part, chunk.positions.stop or 0):
                with self._result_file(chunk.file) as file:
                    raise file.damaged(f"it has frames behind the end of video {chunk.part}")
        return each_once(found), ends

    def length(self, part: int, ends: Mapping[int, int]) -> int | None:
        """Return the number of requested frames of a video; `None` if all are requested and its length is unknown.

        Args:
            part: number of the video.
            ends: lengths of videos, as `chunks` returns them.
        """
        frames = self.asked()[part]
        return ends.get(part) if frames is None else len(frames)

    def missing(self) -> dict[int, list[Range]]:
        """Return the positions without a result, by video; a range without a stop goes to the end of its video."""
        return self._missing(*self.chunks())

    def read(self) -> Iterator[tuple[int, Columns]]:
        """Yield all results in order: number of the video, and frames.

        Raises:
            JournalError: something in it is damaged, or was not asked for.
        """
        return self._read(self.chunks()[0])

    def read_complete(self) -> Iterator[tuple[int, Columns]]:
        """Yield all results of a journal that holds exactly the frames that were asked for.

        Raises:
            JournalError: it does not, or something in it is damaged.
        """
        chunks, ends = self.chunks()
        missing = self._missing(chunks, ends)
        if missing:
            raise JournalError(
                f"{self.path} does not hold all frames that were asked for: {listed(missing)}. Run the same command "
                "again: these frames are predicted, and the files are written then."
            )
        reached = dict.fromkeys(range(len(self.facts["parts"])), 0)
        for part, columns in self._read(chunks):
            reached[part] += len(columns)
            yield part, columns
        wrong = next((part for part, n_frames in reached.items() if n_frames != self.length(part, ends)), None)
        if wrong is not None:
            raise JournalError(
                f"{self.path} holds {reached[wrong]} frames of video {wrong}, and {self.length(wrong, ends)} were "
                "asked for. Delete the folder, then run the same command again."
            )

    def asked(self) -> list[Indices | None]:
        """Return the frames that were asked for, by video; `None` for all."""
        found: Any = [Indices.from_plain(part["frames"]) for part in self.facts["parts"]]
        return found

    def frame_inds(self) -> list[range | Indices]:
        """Return the indices of the requested frames, by video, of a journal in which nothing is missing."""
        if self.is_live:
            return [Indices.of(index for _, columns in self.read() for index in columns.frame_inds.tolist())]
        _, ends = self.chunks()
        return [range(ends[number]) if part is None else part for number, part in enumerate(self.asked())]

    def check(self) -> None:
        """Read everything.

        Raises:
            JournalError: something in it is damaged.
        """
        for _ in self.read():
            pass

    def n_frames(self) -> int:
        """Return the number of frames with a result."""
        return sum(len(chunk.positions) - chunk.skip for chunk in self.chunks()[0])

    def drop(self, name: str) -> None:
        """Remove the result file with a name, if it exists."""
        path = self.path / f"{name}.sqlite"
        with translated(path):
            path.unlink(missing_ok=True)
            remove_beside(path)

    def delete_results(self) -> None:
        """Remove the results so far; locks stay, and files that do not belong to a journal."""
        delete_own(self.path, with_locks=False)

    def delete(self) -> None:
        """Remove the folder, except for files that do not belong to a journal."""
        try:
            others = delete_own(self.path)
        except OutputError as error:  # the files are written; nothing is lost
            logger.warning("%s is no longer needed, and cannot be deleted: %s", self.path, error)
            return
        if others:
            names = ", ".join(others[:3]) + ("" if len(others) <= 3 else f" and {len(others) - 3} more")
            logger.warning("%s stays: it holds files that are not of a journal (%s)", self.path, names)

    def _missing(self, chunks: list[Chunk], ends: Mapping[int, int]) -> dict[int, list[Range]]:
        covered: dict[int, list[Range]] = {}
        for chunk in chunks:
            covered.setdefault(chunk.part, []).append(chunk.positions)
        parts = range(len(self.facts["parts"]))
        gaps = {part: missing_between(union(covered.get(part, [])), self.length(part, ends)) for part in parts}
        return {part: found for part, found in gaps.items() if found}

    def _read(self, chunks: list[Chunk]) -> Iterator[tuple[int, Columns]]:
        opened: dict[Path, ResultFile] = {}
        with ExitStack() as stack:
            for chunk in chunks:
                if chunk.file not in opened:
                    opened[chunk.file] = stack.enter_context(self._result_file(chunk.file))
                columns = opened[chunk.file].read(chunk.entry)
                self._check_frames(opened[chunk.file], chunk.entry, columns)
                yield chunk.part, columns.tail(chunk.skip)

    def _result_file(self, path: Path) -> ResultFile:
        return ResultFile(path, self.n_nodes, job_key(self.facts))

    def _check_range(self, file: ResultFile, entry: Entry) -> None:
        """Check that a range was asked for."""
        parts, start, stop = self.facts["parts"], entry.positions.start, entry.positions.stop or 0
        if not 0 <= entry.part < len(parts):
            raise file.damaged(f"it has frames of video {entry.part}, and there are {len(parts)}")
        length = self.length(entry.part, {})
        if not 0 <= start < stop or (length is not None and stop > length):
            asked = "all" if length is None else length
            raise file.damaged(f"it has frames {start} to {stop} of video {entry.part}, of {asked}")

    def _check_frames(self, file: ResultFile, entry: Entry, columns: Columns) -> None:
        """Check that frames have the indices that were asked for."""
        start, stop = entry.positions.start, entry.positions.stop
        frames = self.asked()[entry.part]
        found = columns.frame_inds.tolist()
        if self.is_live:
            asked = sorted(set(found))
        else:
            asked = list(range(start, stop or start)) if frames is None else list(frames[start:stop])
        if found != asked:
            raise file.damaged(f"video {entry.part}, frames {start} to {stop}: these are not the frames asked for")
