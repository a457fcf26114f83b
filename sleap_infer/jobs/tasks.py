"""What a job is asked to do, as plain data that can be sent to another process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs
from attrs import field, frozen

from sleap_infer.choices import OutputFormat
from sleap_infer.frames import Source, open_source
from sleap_infer.frames.source import VideoPart

Frames: TypeAlias = tuple[int, ...] | Literal["all"] | None

CHUNK = 128
"""Frames, at least, that are kept together in the journal."""


@frozen
class Task:
    """One output: the videos that it comes from, and which of their frames.

    Attributes:
        sources: paths, as `open_source` takes them.
        output: file to write, with or without the ending of a format.
        frames: indices in each video; `"all"`; or as the source says.
        at_most: only the first so many frames; 0 for all.
    """

    sources: tuple[str, ...]
    output: Path = field(converter=Path)
    frames: Frames = None
    at_most: int = 0

    @property
    def name(self) -> str:
        """For people."""
        more = len(self.sources) - 1
        return self.sources[0] if not more else f"{self.sources[0]} and {more} more"

    @property
    def journal(self) -> Path:
        """Folder of its journal."""
        return self.output.with_name(f"{base_name(self.output)}.journal")

    def target(self, form: OutputFormat) -> Path:
        """Where it is written in a format."""
        return self.output.with_name(base_name(self.output) + SUFFIXES[form])

    def open(self) -> Source:
        """Open its source.

        Raises:
            SourceError: it cannot be read.
        """
        sources: Any = list(self.sources) if len(self.sources) > 1 else self.sources[0]
        return first_frames(open_source(sources, self.frames), self.at_most)


SUFFIXES: Mapping[OutputFormat, str] = {
    "slp": ".slp",
    "analysis_h5": ".analysis.h5",
    "csv": ".csv",
    "parquet": ".parquet",
    "ledger": ".ledger.csv",
}
"""Endings of the files of each format."""


def base_name(output: Path) -> str:
    """The name of an output without the ending of a format.

    >>> base_name(Path("a.predictions.slp")), base_name(Path("a.analysis.h5")), base_name(Path("b.c"))
    ('a.predictions', 'a', 'b.c')
    """
    ending = next((suffix for suffix in SUFFIXES.values() if output.name.endswith(suffix)), "")
    return output.name.removesuffix(ending) or output.name


@frozen
class Models:
    """What predicts.

    Attributes:
        paths: of the models.
        options: inference options that were given, by name.
        backend, device, precision, batch_size, backend_options: as in `Predictor.from_model_paths`.
        remember: whether what was measured before counts, where a backend is chosen.
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
    """A source with only its first frames; all of them where `at_most` is 0."""
    if not at_most:
        return source
    left, parts = at_most, []
    for part in source.parts:
        length = part.n_frames
        taken = left if length is None else min(left, length)
        parts.append(_first_of(part, taken))
        left -= taken
        if left == 0:
            break
    return attrs.evolve(source, parts=tuple(parts))


def _first_of(part: VideoPart, n_frames: int) -> VideoPart:
    inds = range(n_frames) if part.frame_inds is None else part.frame_inds[:n_frames]
    return attrs.evolve(part, frame_inds=tuple(inds))


def chunk_size(batch_size: int, at_least: int = CHUNK) -> int:
    """Frames of a chunk: a multiple of the batches, so that these are cut at the same places whenever it is begun.

    >>> chunk_size(4), chunk_size(48)
    (128, 144)
    """
    return -(-at_least // batch_size) * batch_size
