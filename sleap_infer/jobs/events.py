"""Options of a job, and the events that it reports while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from attrs import field, frozen

from sleap_infer.choices import FrameStatus, OutputFormat
from sleap_infer.jobs.plan.tasks import CHUNK, Task
from sleap_infer.jobs.store.columns import FAILED
from sleap_infer.runners.profile import Profile


@frozen
class JobOptions:
    """Options of a job.

    Attributes:
        formats: that results are written as.
        overwrite: whether outputs, and journals of other jobs, are replaced.
        resume: whether a journal of the same job is gone on with.
        keep_journal: whether the journal stays once the files are written.
        chunk: frames, at least, that are kept together: what an end costs.
        max_failed: frames that may fail before the job gives up; `None` for any number.
        shard: number of this process and of all that share the job's journals; the files are then not written here.
    """

    formats: tuple[OutputFormat, ...] = ("slp",)
    overwrite: bool = False
    resume: bool = True
    keep_journal: bool = False
    chunk: int = CHUNK
    max_failed: int | None = None
    shard: tuple[int, int] | None = None


@frozen
class TaskReport:
    """The outcome of a task.

    Attributes:
        task: which.
        outcome: `"written"`; `"skipped"`, since it was done before; `"failed"`; `"shared"`, since others finish it.
        counts: frames by status.
        n_instances: in all.
        files: that were written.
        error: why it failed.
        seconds: that it took.
        n_resumed: frames that were in its journal before.
        profile: where the time went.
        warnings: what its results gave rise to.
        notes: why frames failed, the first of them.
        n_capped: frames in which all places for peaks were full.
    """

    task: Task
    outcome: str
    counts: Mapping[FrameStatus, int] = field(factory=dict)
    n_instances: int = 0
    files: tuple[Path, ...] = ()
    error: str = ""
    seconds: float = 0.0
    n_resumed: int = 0
    profile: Profile | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    n_capped: int = 0

    @property
    def n_frames(self) -> int:
        """Frames that were asked for."""
        return sum(self.counts.values())

    @property
    def n_failed(self) -> int:
        """Frames that are not done."""
        return sum(self.counts.get(status, 0) for status in FAILED)


@frozen
class Begun:
    """A task begins: its frames, as far as their number is known, and how many of them are in its journal."""

    task: Task
    n_total: int | None
    n_done: int


@frozen
class Progress:
    """Frames of a task are in its journal; the memory of the process that did them, in bytes.

    `n_ahead` frames of the task are predicted and not yet in the journal, by all workers together.
    """

    task: Task
    n_frames: int
    n_instances: int
    n_failed: int
    rss_bytes: int
    n_ahead: int = 0


@frozen
class Predicted:
    """So many frames of a task are predicted that are not in its journal yet, by all workers together.

    The number falls where a worker crashed: these frames are predicted again.
    """

    task: Task
    n_ahead: int
    rss_bytes: int = 0


@frozen
class Note:
    """Something that people should read."""

    text: str
    is_warning: bool = False


Event: TypeAlias = Begun | Progress | Predicted | Note | TaskReport
Listener: TypeAlias = Callable[[Event], None]
