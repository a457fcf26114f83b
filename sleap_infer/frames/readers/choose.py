"""Choose the reader of a source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from sleap_infer.config.options import SourceOptions
from sleap_infer.errors import EmptySourceError, FrameSelectionError, SourceFormatError, SourceNotFoundError
from sleap_infer.frames import descriptions
from sleap_infer.frames.arrays import is_array
from sleap_infer.frames.indices import Indices
from sleap_infer.frames.paths import VIDEO_SUFFIXES
from sleap_infer.frames.reader import Reader
from sleap_infer.frames.readers.arrays import ArrayReader
from sleap_infer.frames.readers.av import VideoFileReader
from sleap_infer.frames.readers.hdf5 import HDF5_SUFFIXES, Hdf5Reader, holds_embedded, read_described
from sleap_infer.frames.readers.images import IMAGE_SUFFIXES, ImageFilesReader, ImageStackReader, n_pages
from sleap_infer.frames.readers.sleap_video import SleapVideoReader, is_cropped
from sleap_infer.frames.source import VideoPart

if TYPE_CHECKING:
    import sleap_io as sio

COUNTED = 10_000
"""Index from which on the frames of a video are counted that does not say how many it has: that reads all of it."""

OTHER_SUFFIXES = (*HDF5_SUFFIXES, ".nwb", ".seq")
"""Containers; those that are not HDF5 are read by sleap-io."""


def open_part(item: Any, number: int, frames: Indices | None, options: SourceOptions) -> VideoPart:
    """Open one video.

    Args:
        item: a file, image files, an array or a `sleap_io.Video`.
        number: its index in the source.
        frames: which are wanted, ascending; `None` for all.
        options: how it is opened.

    Raises:
        SourceError: it cannot be read, or not these frames of it.
        ImageError: an array does not hold images.
        OptionError: an option does not go with it.
    """
    if is_array(item):
        array = ArrayReader(item, options.channels_first)
        part = VideoPart(array, lambda: descriptions.of_array(array.shape), number, frames)
    elif isinstance(item, list) and all(isinstance(path, Path) for path in item):
        part = _open_images(item, number, frames)
    elif isinstance(item, Path):
        part = _open_file(item, number, frames, options)
    elif is_video(item):
        part = described(item, number, frames)
    else:
        raise SourceFormatError(
            f"{type(item).__name__} is not a source of frames. Give a path, an array, a sleap_io.Video, a "
            "sleap_io.Labels, or a list of paths, arrays and videos."
        )
    return attrs.evolve(part, frame_inds=_settled(part.reader, part.frame_inds))


def described(video: sio.Video, number: int, frames: Indices | None) -> VideoPart:
    """Open a video that is described by sleap-io; of an embedded one, all frames are those that are embedded.

    Raises:
        SourceError: it cannot be read, or not these frames of it.
    """
    reader = open_video(video)
    embedded = reader.embedded if isinstance(reader, SleapVideoReader) else None
    if embedded is not None:
        there = frozenset(embedded)
        lacking = next((frame for frame in frames or () if frame not in there), None)
        if lacking is not None:
            raise FrameSelectionError(
                f"Frame {lacking} is asked for, but {video.filename} embeds only these frames: {_listing(embedded)}."
            )
        frames = Indices.of(embedded if frames is None else [frame for frame in embedded if frame in frames])
        if not frames:
            raise FrameSelectionError(
                f"Of the frames asked for, {video.filename} embeds none, but these: {_listing(embedded)}."
            )
    return VideoPart(reader, lambda: video, number, frames)


def open_video(video: sio.Video) -> Reader:
    """Return a reader for a `sleap_io.Video`: our own for video and image files, else sleap-io's.

    Raises:
        SourceNotFoundError: its file is missing.
    """
    names = [Path(name) for name in (video.filename if isinstance(video.filename, list) else [video.filename])]
    missing = next((name for name in names if not name.exists()), None)
    if missing is not None:
        raise SourceNotFoundError(
            f"The video {missing} is missing (in {Path.cwd()}). Put it there, or beside the label file, or tell the "
            "labels where it is: labels.replace_filenames(new_filenames=[...]) in sleap_io."
        )
    if is_cropped(video):
        return SleapVideoReader(video)
    if names[0].suffix.lower() in HDF5_SUFFIXES and not holds_embedded(names[0], SourceOptions()):
        return read_described(video, names[0])
    grayscale = video.grayscale if video.backend is None else video.backend.grayscale
    if isinstance(video.filename, list):
        return ImageFilesReader(names, grayscale)
    if n_pages(names[0]) > 1:
        return ImageStackReader(names[0])
    if names[0].suffix.lower() in VIDEO_SUFFIXES:
        return VideoFileReader(names[0], False if grayscale is False else None, grayscale)
    return SleapVideoReader(video)


def is_video(source: object) -> bool:
    """Return whether something is a `sleap_io.Video`, without importing sleap-io."""
    return type(source).__name__ == "Video" and type(source).__module__.startswith("sleap_io")


def _open_images(paths: list[Path], number: int, frames: Indices | None) -> VideoPart:
    if len(paths) == 1 and n_pages(paths[0]) > 1:
        stack = ImageStackReader(paths[0])
        return VideoPart(stack, descriptions.FromReader(descriptions.of_stack, paths[0], stack), number, frames)
    reader = ImageFilesReader(paths)
    return VideoPart(reader, descriptions.FromReader(descriptions.of_images, paths, reader), number, frames)


def _open_file(path: Path, number: int, frames: Indices | None, options: SourceOptions) -> VideoPart:
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        video = VideoFileReader(path)
        return VideoPart(video, descriptions.FromReader(descriptions.of_file, path, video), number, frames)
    if suffix in HDF5_SUFFIXES and not holds_embedded(path, options):
        reader = Hdf5Reader(path, options)
        return VideoPart(reader, reader.video, number, frames)
    if suffix in OTHER_SUFFIXES:
        return described(descriptions.of_container(path), number, frames)
    if suffix == ".slp":
        raise SourceFormatError(f"{path} is a label file: give it alone, not in a list with other sources.")
    raise SourceFormatError(
        f"{path} is of a format that is not read ({suffix or 'no ending'}). Videos: {', '.join(VIDEO_SUFFIXES)}; "
        f"images: {', '.join(IMAGE_SUFFIXES)}; labels: .slp; others: {', '.join(OTHER_SUFFIXES)}."
    )


def _settled(reader: Reader, frames: Indices | None) -> Indices | None:
    """Check that the video has the wanted frames, if its length is known, and return them."""
    n_frames = reader.n_frames
    if n_frames == 0:
        raise EmptySourceError("The source has no frames.")
    if frames is None:
        return None
    if n_frames is None and isinstance(reader, VideoFileReader):
        is_long = frames.open_from is not None or frames[-1] >= COUNTED
        n_frames = reader.count() if is_long else None
    if n_frames is None and frames.open_from is not None:
        raise FrameSelectionError(f"{frames}: the video does not say how many frames it has. Give both ends.")
    frames = frames if n_frames is None else frames.until(n_frames)
    if n_frames is not None and frames[-1] >= n_frames:
        raise FrameSelectionError(f"Frame {frames[-1]} is asked for, but the video has frames 0 to {n_frames - 1}.")
    return frames


def _listing(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (f", ... ({len(numbers)} in all)" if len(numbers) > 8 else "")
