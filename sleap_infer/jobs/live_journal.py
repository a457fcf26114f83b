"""Poses of a live session, saved to a journal while it runs, and written to files from there.

A session that ends in whatever way loses at most the poses of the last second: `recover` writes the files of one that
was broken off.
"""

from __future__ import annotations

import logging
import shlex
import threading
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import attrs

from sleap_infer.choices import OutputFormat
from sleap_infer.errors import JobDiffersError, OutputError
from sleap_infer.frames import Source
from sleap_infer.frames.descriptions import of_file
from sleap_infer.frames.live.feed import without_file
from sleap_infer.frames.live.source import Gone, LiveSource
from sleap_infer.frames.source import VideoPart
from sleap_infer.jobs.plan.identity import how_it_runs, plain
from sleap_infer.jobs.plan.tasks import CHUNK, Task
from sleap_infer.jobs.store.columns import to_columns
from sleap_infer.jobs.store.journal import Journal
from sleap_infer.jobs.store.locks import hold_lock, remove_remains
from sleap_infer.jobs.store.result_file import ResultFile
from sleap_infer.jobs.write.results import Results, collect, write
from sleap_infer.poses.labels import check_output, instance_skeleton
from sleap_infer.poses.outputs import Outputs
from sleap_infer.predictors.batches import BatchPredictor
from sleap_infer.predictors.live.run import LiveReport
from sleap_infer.system.files import check_writable
from sleap_infer.system.unexpected_errors import explain

SECONDS_BETWEEN_SAVES = 1.0
"""At most so much of a session is lost when its process is killed."""

SHARD = "0"

logger = logging.getLogger(__name__)


class Recording:
    """Saves the poses of a live session; a context manager.

    A thread of its own writes what was added, so that a slow disk delays no pose. Where the disk is full, poses stay in
    memory, and are written again a second later.

    Args:
        output: `.slp` file to write at the end; its journal lies beside it.
        overwrite: whether the file, and the journal of an earlier session, are replaced.

    Raises:
        OutputError: the file cannot be written there, or something is there already.
        JobDiffersError: a journal is there.
        JobBusyError: another process writes there.
    """

    def __init__(self, output: Path, overwrite: bool = False) -> None:
        self.output = check_output(output, overwrite)
        check_writable(self.output)
        self._task = Task((), self.output)
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._waiting: list[Outputs] = []
        self._n_saved = 0
        self._failure: OutputError | None = None
        self._journal: Journal | None = None
        self._file: ResultFile | None = None
        self._thread = threading.Thread(target=self._save_now_and_then, name="sleap_infer recording", daemon=True)
        self._stack.callback(remove_remains, self._task.journal)
        try:
            self._stack.enter_context(hold_lock(self._task.journal / "lock", str(self.output)))
            self._refuse_earlier(overwrite)
        except BaseException:
            self._stack.close()
            raise

    @property
    def hint(self) -> str:
        """Where the poses of a session are that was broken off, in one line; empty if there are none."""
        if self._n_saved == 0 or not Journal.is_at(self._task.journal):
            return ""
        return f"The poses of {self._n_saved} frames are saved. To write {self.output}: {command(self._task.journal)}"

    def begin(self, predictor: BatchPredictor, source: LiveSource) -> None:
        """Begin the journal.

        Args:
            predictor: that gives the poses.
            source: of the frames.

        Raises:
            OutputError: it cannot be written.
        """
        facts = facts_of(predictor, source)
        facts["task"] = {**attrs.asdict(self._task), "sources": [facts["live"]["file"] or source.name]}
        self._journal = Journal.create(self._task.journal, facts)
        self._file = self._stack.enter_context(self._journal.result_file(SHARD))
        self._thread.start()

    def add(self, outputs: Outputs) -> None:
        """Take the poses of a frame, in the order of the frames; their arrays are not to be changed."""
        with self._lock:
            self._waiting.append(outputs)

    def stop(self) -> None:
        """Save what waits, and take no more."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def finish(self, report: LiveReport) -> Path:
        """Write the file, and delete the journal.

        Args:
            report: of the session, for the provenance as `live`.

        Raises:
            OutputError: it cannot be written. What was saved is in the journal.
        """
        self.stop()
        assert self._journal is not None
        assert self._file is not None
        if self._failure is not None:
            raise OutputError(f"{len(self._waiting)} frames could not be saved: {self._failure}")
        self._file.end(0, self._n_saved)
        results = collect_live(self._journal, {"live": report.as_dict()})
        write(results, {"slp": self.output}, {})
        self._file.close()
        self._journal.delete()
        return self.output

    def __enter__(self) -> Self:
        """Enter the lifetime of the recording."""
        return self

    def __exit__(self, *_: object) -> None:
        """Save what waits, and unlock; the journal stays unless the file was written."""
        self.stop()
        if self._journal is not None and self._n_saved == 0:
            if self._file is not None:
                self._file.close()
            self._journal.delete()
        self._stack.close()

    def _refuse_earlier(self, overwrite: bool) -> None:
        path = self._task.journal
        if not Journal.is_at(path):
            return
        journal = Journal.open(path)
        n_frames = 0 if overwrite else journal.n_frames()
        if n_frames:
            then = command(path) if journal.is_live else "run that job to its end"
            raise JobDiffersError(
                f"{path} holds the poses of {n_frames} frames of an earlier run that was broken off. To write them: "
                f"{then}. To delete them, add --overwrite."
            )
        journal.delete_results()

    def _save_now_and_then(self) -> None:
        while not self._is_over.wait(SECONDS_BETWEEN_SAVES):
            self._save()
        self._save()

    def _save(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        assert self._journal is not None
        assert self._file is not None
        try:
            columns = to_columns(waiting, self._journal.n_nodes, self._journal.facts["is_centroid"])
            self._file.add(0, self._n_saved, columns, 1)
        except Exception as error:
            if self._failure is None:
                self._failure = error if isinstance(error, OutputError) else OutputError(explain(error))
                logger.warning("%s Until then poses stay in memory", self._failure)
            with self._lock:
                self._waiting = waiting + self._waiting
        else:
            self._failure, self._n_saved = None, self._n_saved + len(waiting)


def command(journal: Path) -> str:
    """Return the command that writes the file of a session that was broken off."""
    return f"sleap-infer merge {shlex.quote(str(journal))}"


def recover(journal: Journal, targets: Mapping[OutputFormat, Path]) -> tuple[Results, list[Path]]:
    """Write the files of a session that was broken off. Call this under its lock.

    Raises:
        JournalError: the journal is damaged.
        OutputError: a file cannot be written.
    """
    if journal.missing():
        with journal.result_file(SHARD) as file:
            file.end(0, journal.n_frames())
    results = collect_live(journal, {"live": {"source": journal.facts["live"]["source"], "broken_off": True}})
    return results, write(results, targets, {})


def collect_live(journal: Journal, facts: Mapping[str, Any]) -> Results:
    """Collect a complete journal of a session.

    Args:
        journal: of the session.
        facts: for the provenance.
    """
    indices = journal.frame_inds()[0]
    source = described(journal.facts["live"], 1 + max(indices, default=-1))
    with_facts = Journal(journal.path, {**journal.facts, "facts": {**journal.facts["facts"], **facts}})
    return collect(with_facts, source)


def facts_of(predictor: BatchPredictor, source: LiveSource) -> dict[str, Any]:
    """Return what `job.json` says of a session."""
    spec = predictor.runners[-1].spec
    skeleton = instance_skeleton(spec)
    facts, started = predictor.describe(), datetime.now(UTC).isoformat()
    (video,) = source.described(1).videos().values()
    path = Path(str(video.filename))
    live = {
        "source": source.name,
        "file": str(path.absolute()) if path.is_file() else None,
        "shape": list(source.first.shape),
    }
    return {
        "what": {"live": source.name, "session": uuid.uuid4().hex},
        "how": how_it_runs(facts),
        "live": live,
        "parts": [{"frames": None}],
        "chunk": CHUNK,
        "n_nodes": len(skeleton.nodes),
        "is_centroid": not spec.row.finds_points,
        "skeleton": attrs.asdict(skeleton),
        "classes": spec.classes,
        "settings": plain(attrs.asdict(predictor.settings)),
        "facts": facts,
        "started": started,
    }


def described(live: Mapping[str, Any], n_frames: int) -> Source:
    """Return the source of a session for its labels: so many frames, which went by.

    Args:
        live: as in `job.json`.
        n_frames: index of the last frame, plus one.
    """
    name, file, shape = live["source"], live["file"], live["shape"]
    height, width, n_channels = shape
    part = VideoPart(
        Gone(name, n_frames),
        lambda: of_file(Path(file)) if file else without_file(name, (n_frames, height, width, n_channels)),
    )
    return Source(name, (part,))
