"""Messages between a job and the processes that work on it."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import IO, Any, TypeAlias

from attrs import frozen

from sleap_infer.choices import FrameStatus, StageName
from sleap_infer.jobs.plan.tasks import Models, Task
from sleap_infer.jobs.run.drift import Window
from sleap_infer.jobs.run.range_runner import Shape
from sleap_infer.jobs.store.ranges import Range


@frozen
class Open:
    """Load the models.

    Attributes:
        models: which.
        clip: of what a backend is chosen on; `None` where that is settled.
        n_tasks: that are like it: for many it pays to make a faster backend ready.
        cores: that the process may use; `None` for all.
    """

    models: Models
    clip: Task | None = None
    n_tasks: int = 1
    cores: tuple[int, ...] | None = None


@frozen
class Run:
    """Predict a range of a task.

    Attributes:
        task: whose frames.
        part: number of its video.
        places: of the frames.
        shard: name of the journal's file to write to.
        shape: of the rows.
        batch_size: frames at once, where that is less than before.
        singly: whether frames run one at a time, each announced before it runs.
        marks: frames that ended a process before: they are noted, not run; with the reason.
        after_crash: whether a process has ended before: then no frame is read that was not asked for.
    """

    task: Task
    part: int
    places: Range
    shard: str
    shape: Shape
    batch_size: int | None = None
    singly: bool = False
    marks: tuple[tuple[Range, str], ...] = ()
    after_crash: bool = False


@frozen
class Look:
    """Open the source of a task, and say what it is.

    Attributes:
        task: whose source; `None` for one without videos, to see whether the process answers.
        with_shapes: whether frames are read to describe the shapes of videos.
        with_times: whether the times of frames are wanted.
    """

    task: Task | None
    with_shapes: bool = False
    with_times: bool = False


@frozen
class SeenPart:
    """A video of a source.

    Attributes:
        files: of the video.
        video: its description, without open files.
        video_idx: as in `VideoPart`.
        n_frames: as in `VideoPart`.
        frame_inds: as in `VideoPart`.
        known: as in its reader.
        times: of its frames in seconds, if they were asked for and are known.
        how_it_is_read: facts that change what is in a frame.
    """

    files: tuple[str, ...]
    video: Any
    video_idx: int
    n_frames: int | None
    frame_inds: Any
    known: Any
    times: list[float] | None
    how_it_is_read: dict[str, Any]


@frozen
class Looked:
    """The facts of a source."""

    name: str
    parts: tuple[SeenPart, ...]
    node_names: tuple[str, ...] | None


@frozen
class Opened:
    """The models are loaded.

    Attributes:
        facts: what runs, as `Predictor.describe` says.
        settings: resolved, as plain data.
        options: that take the place of what was left open.
        lines: the settings of each stage, for people.
        skeleton: of the instances.
        classes: names of the classes of instances.
        n_nodes: number of nodes of an instance.
        is_centroid: whether instances are only centroids.
        n_streams: images that the network works on at the same time.
    """

    facts: dict[str, Any]
    settings: dict[str, Any]
    lines: tuple[str, ...]
    skeleton: dict[str, Any]
    classes: tuple[str, ...]
    n_nodes: int
    is_centroid: bool
    n_streams: int


@frozen
class Saved:
    """Frames are in the journal."""

    part: int
    places: Range
    counts: dict[FrameStatus, int]
    n_instances: int
    window: Window
    rss_bytes: int


@frozen
class Ahead:
    """Number of frames that are predicted but not in the journal yet, and the memory of the process in bytes."""

    n_frames: int
    rss_bytes: int = 0


@frozen
class At:
    """One frame is next: its place."""

    place: int


@frozen
class Done:
    """The range is done; where the time went, in seconds by stage."""

    seconds: Mapping[StageName, float]


@frozen
class Failed:
    """It cannot be done; `kind` names a class of `sleap_infer.errors`."""

    kind: str
    message: str


@frozen
class LogLine:
    """A line of the log."""

    level: int
    text: str


Request: TypeAlias = Open | Run | Look
Answer: TypeAlias = Opened | Looked | Saved | Ahead | At | Done | Failed | LogLine


def send(stream: IO[bytes], message: Request | Answer) -> None:
    """Write a message to a pipe between our own processes."""
    pickle.dump(message, stream)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read a message; `None` at the end, also where one was cut off."""
    try:
        return pickle.load(stream)
    except (EOFError, pickle.UnpicklingError, OSError):
        return None
