"""Facts of a source for a job. A worker opens the source, because decoders may crash their process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

from attrs import field, frozen

from sleap_infer.frames import Source
from sleap_infer.frames.descriptions import closed, without_shape
from sleap_infer.frames.reader import AnyImage, times_s
from sleap_infer.frames.source import VideoPart
from sleap_infer.jobs.plan.content import files_of
from sleap_infer.jobs.plan.identity import how_it_is_read
from sleap_infer.jobs.run.protocol import Look, Looked, SeenPart


def look(request: Look) -> Looked:
    """Open the source of a task, and describe it.

    Raises:
        SourceError: it cannot be read.
    """
    if request.task is None:
        return Looked("", (), None)
    with request.task.open() as source:
        parts = tuple(_seen(part, request) for part in source.parts)
        return Looked(source.name, parts, source.node_names)


def _seen(part: VideoPart, request: Look) -> SeenPart:
    return SeenPart(
        tuple(map(str, files_of(part))),
        closed(part.video() if request.with_shapes else without_shape(part.video)),
        part.video_idx,
        part.reader.n_frames,
        part.frame_inds,
        part.known,
        times_s(part.reader) if request.with_times else None,
        how_it_is_read(part.reader),
    )


@frozen
class SeenReader:
    """Stands for the reader of a video that another process has opened.

    Attributes:
        paths: files of the video.
        n_frames: as far as it is known.
        times: of frames, in seconds, if they were asked for.
        how_it_is_read: facts that change what is in a frame.
    """

    paths: tuple[Path, ...]
    n_frames: int | None
    times: list[float] | None = None
    how_it_is_read: Mapping[str, Any] = field(factory=dict)

    def read(self, frame_inds: Sequence[int] | None) -> Iterator[tuple[int, AnyImage]]:
        """Nothing is read here."""
        self._refuse()

    def in_colour(self) -> Self:
        """Return itself: nothing is read here."""
        return self

    def times_s(self) -> list[float] | None:
        """When each frame is shown, in seconds; `None` where that is not known."""
        return self.times

    def close(self) -> None:
        """Nothing to give back."""

    def _refuse(self) -> NoReturn:
        raise AssertionError(f"{self.paths} are read by workers")


def as_source(looked: Looked) -> Source:
    """Return a source that cannot be read, from a worker's description."""
    return Source(looked.name, tuple(_as_part(part) for part in looked.parts), looked.node_names)


def _as_part(seen: SeenPart) -> VideoPart:
    reader = SeenReader(tuple(map(Path, seen.files)), seen.n_frames, seen.times, seen.how_it_is_read)
    return VideoPart(reader, lambda: seen.video, seen.video_idx, seen.frame_inds, seen.known)
