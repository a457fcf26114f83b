"""From anything that holds frames to a `Source`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from sleap_infer.config.options import SourceOptions, SourceSpec
from sleap_infer.errors import EmptySourceError, FrameSelectionError, OptionError, SourceFormatError
from sleap_infer.frames.indices import Indices
from sleap_infer.frames.paths import existing, expand, is_glob
from sleap_infer.frames.readers.arrays import ArrayReader
from sleap_infer.frames.readers.choose import described, open_part, open_video
from sleap_infer.frames.readers.hdf5 import Hdf5Reader
from sleap_infer.frames.readers.labels import all_nodes, labelled_parts, load_labels, require_videos
from sleap_infer.frames.replaced_paths import read_pairs
from sleap_infer.frames.source import Source, VideoPart

if TYPE_CHECKING:
    import sleap_io as sio

FrameSelection: TypeAlias = Iterable[int] | Literal["all"] | None
"""Frame indices of a video, positions in a label file; `None`: all, or all labelled ones; `"all"`: really all."""

__all__ = ["FrameSelection", "open_source", "open_video"]


def open_source(
    source: Any,
    frames: FrameSelection = None,
    *,
    dataset: str | None = None,
    channels_first: bool | None = None,
    replace_paths: Mapping[str, str] | Iterable[tuple[str, str]] = (),
) -> Source:
    """Open anything that holds frames.

    Args:
        source: a path of a video, an image, a folder of images, a glob or a `.slp` file; a `sleap_io.Video` or
            `sleap_io.Labels`; an array or tensor, (N, H, W), (N, H, W, C) or (N, C, H, W); a list of any of these but
            label files; or an opened `Source`, which is given back.
        frames: which frames, of each video. Of a label file: positions in its list of labelled frames; by default all
            of these; `"all"` stands for every frame of its videos, or, where these are embedded, every embedded one.
        dataset: of an HDF5 file, where several can hold frames.
        channels_first: whether the frames of an HDF5 file or an array are (N, C, H, W) or (N, H, W, C), where their
            shape can be both.
        replace_paths: old and new roots of the paths of a label file's videos, such as `{"D:/data": "/mnt/lab"}`.

    Raises:
        SourceNotFoundError: there is nothing at a path.
        SourceFormatError: it holds no frames in a form that can be read.
        EmptySourceError: it holds no frame.
        FrameSelectionError: frames are asked for that it does not have.
        ImageError: an array does not hold images.
        OptionError: an option has no effect on this source.
    """
    return open_with(source, frames, SourceOptions(dataset, channels_first, read_pairs(replace_paths)))


def open_with(source: Any, frames: FrameSelection, options: SourceOptions) -> Source:
    """Open a source as `open_source` does, with options in one object.

    Raises:
        SourceError: it cannot be read.
        ImageError: an array does not hold images.
        OptionError: an option has no effect on this source.
    """
    if isinstance(source, SourceSpec):
        return open_with(source.path, frames, source.options)
    opened = _open(source, frames, options)
    try:
        _require_effect(opened, options)
    except OptionError:
        if opened is not source:
            opened.close()
        raise
    return opened


def _require_effect(source: Source, options: SourceOptions) -> None:
    readers = [part.reader for part in source.parts]
    if options.dataset is not None and not any(isinstance(reader, Hdf5Reader) for reader in readers):
        raise OptionError(
            f"dataset={options.dataset!r} has no effect on {source.name}: it is no HDF5 file. Leave it out."
        )
    if options.channels_first is not None and not any(
        isinstance(reader, (Hdf5Reader, ArrayReader)) for reader in readers
    ):
        raise OptionError(
            f"channels_first={options.channels_first} has no effect on {source.name}: it is no HDF5 file and no array. "
            "Leave it out."
        )


def _open(source: Any, frames: FrameSelection, options: SourceOptions) -> Source:
    wanted = _check_selection(frames)
    if isinstance(source, Source):
        if wanted is not None:
            raise FrameSelectionError(f"{source.name} is opened already: select frames where it is opened.")
        return source
    if _is_labels(source):
        if options.replace_paths:
            raise OptionError("replace_paths has no effect on labels in memory: call labels.replace_filenames(...).")
        return _open_labels(source, wanted, _name_of(source))
    if isinstance(source, (str, Path)) and Path(source).suffix.lower() == ".slp" and not is_glob(source):
        return _open_labels(load_labels(existing(source), options.replace_paths), wanted, str(source))
    if options.replace_paths:
        raise OptionError("--replace-path (replace_paths) has no effect on what is no label file. Leave it out.")
    items = list(source) if isinstance(source, (list, tuple)) else [source]
    if not items:
        raise EmptySourceError("An empty list holds no video. Give at least one.")
    if any(_is_labels(item) for item in items):
        raise SourceFormatError("Labels are in a list of sources: give them alone, not with other sources.")
    videos = [video for item in items for video in (expand(item) if isinstance(item, (str, Path)) else [item])]
    selection = None if wanted == "all" else wanted
    parts = [open_part(video, number, selection, options) for number, video in enumerate(videos)]
    return Source(_describe(items), tuple(parts))


def _check_selection(frames: FrameSelection) -> Indices | Literal["all"] | None:
    if frames is None:
        return None
    if isinstance(frames, str):
        if frames != "all":
            raise FrameSelectionError(f"frames={frames!r}: expected indices, 'all' or None.")
        return "all"
    try:
        wanted = Indices.of(frames)
    except TypeError as error:
        raise FrameSelectionError(f"frames={frames!r}: expected integers, 'all' or None.") from error
    if not wanted and wanted.open_from is None:
        raise FrameSelectionError("No frame is asked for: the selection is empty. Leave it out to take all.")
    return None if wanted.open_from == 0 else wanted


def _open_labels(labels: sio.Labels, wanted: Indices | Literal["all"] | None, name: str) -> Source:
    if wanted == "all":
        require_videos(labels.videos, name)
        parts = [described(video, number, None) for number, video in enumerate(labels.videos)]
        if not parts:
            raise EmptySourceError(f"{name} holds no video. Give a video file.")
        return Source(name, tuple(parts))
    nodes = all_nodes(labels)
    found = list(labelled_parts(labels, wanted, name, nodes))
    require_videos((video for _, video, _, _ in found), name)
    parts = [
        VideoPart(open_video(video), _constant(video), number, inds, known) for number, video, inds, known in found
    ]
    return Source(name, tuple(parts), nodes or None)


def _constant(video: sio.Video) -> Any:
    return lambda: video


def _is_labels(source: object) -> bool:
    return type(source).__name__ == "Labels" and type(source).__module__.startswith("sleap_io")


def _name_of(labels: sio.Labels) -> str:
    return str((labels.provenance or {}).get("filename", "labels"))


def _describe(items: list[Any]) -> str:
    first = items[0]
    name = str(first) if isinstance(first, (str, Path)) else type(first).__name__
    return name if len(items) == 1 else f"{name} and {len(items) - 1} more"
