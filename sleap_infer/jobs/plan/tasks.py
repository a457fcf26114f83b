"""Tasks of a job, as plain data that can be sent to another process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs
from attrs import field, frozen

from sleap_infer.choices import OutputFormat
from sleap_infer.config.options import SourceOptions
from sleap_infer.errors import OptionError
from sleap_infer.frames import Source
from sleap_infer.frames.descriptions import restored
from sleap_infer.frames.indices import Indices
from sleap_infer.frames.opening import open_with
from sleap_infer.frames.source import VideoPart

Frames: TypeAlias = Indices | Literal["all"] | None

CHUNK = 128
"""Minimum number of frames per chunk of the journal."""


def _as_frames(frames: Any) -> Frames:
    """Return a selection as ranges, from indices or from the data in a journal."""
    found: Any = Indices.from_plain(frames)
    return found


@frozen
class Task:
    """One output: its videos, and which of their frames.

    Attributes:
        sources: paths, as in `open_source`.
        output: file to write, with or without the suffix of a format.
        frames: indices in each video; `"all"`; `None` for those of the source.
        at_most: maximum number of frames of each video; 0 for all.
        formats: to write; empty for those of the job.
        named_in: manifests that name the sources.
        restore_source_videos: whether the frames in a package are attributed to the video that they were taken from.
        reading: how the sources are opened.
    """

    sources: tuple[str, ...]
    output: Path = field(converter=Path)
    frames: Frames = field(default=None, converter=_as_frames)
    at_most: int = 0
    formats: tuple[OutputFormat, ...] = ()
    named_in: tuple[str, ...] = ()
    restore_source_videos: bool = False
    reading: SourceOptions = field(factory=SourceOptions)

    @property
    def name(self) -> str:
        """Name for people."""
        more = len(self.sources) - 1
        return self.sources[0] if not more else f"{self.sources[0]} and {more} more"

    @property
    def journal(self) -> Path:
        """Folder of its journal."""
        return self.output.with_name(f"{base_name(self.output)}.journal")

    def target(self, form: OutputFormat) -> Path:
        """Return the path in a format: the output's own name if it has a suffix of the format."""
        if ENDINGS.get(ending_of(self.output.name).lower()) == form:
            return self.output
        return self.output.with_name(base_name(self.output) + SUFFIXES[form])

    def targets(self, formats: Sequence[OutputFormat]) -> dict[OutputFormat, Path]:
        """Return the paths of all its formats.

        Args:
            formats: of the job, for a task without formats of its own.
        """
        return {form: self.target(form) for form in self.formats or formats}

    def open(self) -> Source:
        """Open its source.

        Raises:
            SourceError: it cannot be read.
            OptionError: there are no source videos to restore.
        """
        sources: Any = list(self.sources) if len(self.sources) > 1 else self.sources[0]
        source = first_frames(open_with(sources, self.frames, self.reading), self.at_most)
        if not self.restore_source_videos:
            return source
        if all(part.video().source_video is None for part in source.parts):
            source.close()
            raise OptionError(
                f"--restore-source-videos has no effect on {self.name}: it embeds no frames of other videos, or does "
                "not name these. Leave it out."
            )
        return attrs.evolve(source, parts=tuple(restored(part) for part in source.parts))


SUFFIXES: Mapping[OutputFormat, str] = {
    "slp": ".slp",
    "analysis_h5": ".analysis.h5",
    "csv": ".csv",
    "parquet": ".parquet",
    "ledger": ".ledger.csv",
}
"""Suffixes of the files of each format, used if the name of the output has none."""

ENDINGS: Mapping[str, OutputFormat] = {**{suffix: form for form, suffix in SUFFIXES.items()}, ".h5": "analysis_h5"}
"""Formats by the suffixes that the name of an output may have, in lower case."""


def ending_of(name: str) -> str:
    """Return the suffix of a format as it is in the name of an output; empty if there is none.

    >>> ending_of("a.predictions.slp"), ending_of("a.analysis.h5"), ending_of("a.H5"), ending_of("b.c")
    ('.slp', '.analysis.h5', '.H5', '')
    """
    found = max((ending for ending in ENDINGS if name.lower().endswith(ending)), key=len, default="")
    return name[len(name) - len(found) :]


def base_name(output: Path) -> str:
    """Return the name of an output without the suffix of a format.

    >>> base_name(Path("a.predictions.slp")), base_name(Path("a.analysis.h5")), base_name(Path("b.c"))
    ('a.predictions', 'a', 'b.c')
    """
    return output.name.removesuffix(ending_of(output.name)) or output.name


def numbered(target: Path, number: int) -> Path:
    """Return the name of one of several files of a target.

    >>> str(numbered(Path("a.analysis.h5"), 2)), str(numbered(Path("a.h5"), 2))
    ('a.002.analysis.h5', 'a.002.h5')
    """
    return target.with_name(f"{base_name(target)}.{number:03d}{ending_of(target.name)}")


@frozen
class Models:
    """Models and backend of a job.

    Attributes:
        paths: of the models.
        options: inference options of the user, by name.
        backend: as in `Predictor.from_model_paths`.
        device: as in `Predictor.from_model_paths`.
        precision: as in `Predictor.from_model_paths`.
        batch_size: as in `Predictor.from_model_paths`.
        backend_options: as in `Predictor.from_model_paths`.
        remember: whether a cached choice of a backend is used.
    """

    paths: tuple[str, ...]
    options: Mapping[str, Any] = field(factory=dict)
    backend: str = "auto"
    device: str = "auto"
    precision: str | None = None
    batch_size: int | None = None
    backend_options: Mapping[str, Any] = field(factory=dict)
    remember: bool = True


def first_frames(source: Source, at_most: int) -> Source:
    """Return a source with only the first frames of each video; all of them if `at_most` is 0."""
    if not at_most:
        return source
    parts = [(part, at_most if part.n_frames is None else min(at_most, part.n_frames)) for part in source.parts]
    return attrs.evolve(source, parts=tuple(_first_of(part, n_frames) for part, n_frames in parts))


def _first_of(part: VideoPart, n_frames: int) -> VideoPart:
    inds = range(n_frames) if part.frame_inds is None else part.frame_inds[:n_frames]
    return attrs.evolve(part, frame_inds=inds)


def chunk_size(batch_size: int, at_least: int = CHUNK) -> int:
    """Return the number of frames of a chunk: a multiple of the batch size, so that batches do not depend on restarts.

    >>> chunk_size(4), chunk_size(48)
    (128, 144)
    """
    return -(-at_least // batch_size) * batch_size
