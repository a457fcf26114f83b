"""From anything that holds frames to a `Source`."""

from __future__ import annotations

import difflib
import glob
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from sleap_infer.errors import EmptySourceError, FrameSelectionError, SourceFormatError, SourceNotFoundError
from sleap_infer.frames.arrays import is_array
from sleap_infer.frames.image_files import IMAGE_SUFFIXES, ImageFilesReader, natural_order
from sleap_infer.frames.memory import ArrayReader
from sleap_infer.frames.reader import Reader
from sleap_infer.frames.source import Source, VideoPart
from sleap_infer.frames.video_file import VideoFileReader

if TYPE_CHECKING:
    import sleap_io as sio

VIDEO_SUFFIXES = (
    ".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts", ".wmv", ".flv", ".ogv",
    ".gif", ".mj2", ".3gp",
)  # fmt: skip
OTHER_SUFFIXES = (".h5", ".hdf5", ".nwb", ".seq")
"""Containers that sleap-io reads."""

FrameSelection: TypeAlias = Iterable[int] | Literal["all"] | None
"""Frame indices of a video, positions in a label file; `None`: all, or all labelled ones; `"all"`: really all."""


def open_source(source: Any, frames: FrameSelection = None) -> Source:
    """Open anything that holds frames.

    Args:
        source: a path of a video, an image, a folder of images, a glob or a `.slp` file; a `sleap_io.Video` or
            `sleap_io.Labels`; an array or tensor, (N, H, W), (N, H, W, C) or (N, C, H, W); a list of any of these but
            label files; or an opened `Source`, which is given back.
        frames: which frames, of each video. Of a label file: positions in its list of labelled frames; by default all
            of these; `"all"` stands for every frame of its videos.

    Raises:
        SourceNotFoundError: there is nothing at a path.
        SourceFormatError: it holds no frames in a form that can be read.
        EmptySourceError: it holds no frame.
        FrameSelectionError: frames are asked for that it does not have.
        ImageError: an array does not hold images.
    """
    if isinstance(source, Source):
        return source
    wanted = _check_selection(frames)
    if _is_labels(source):
        return _open_labels(source, wanted, _name_of(source))
    if isinstance(source, (str, Path)) and Path(source).suffix == ".slp":
        return _open_labels(_load_labels(_existing(source)), wanted, str(source))
    items = list(source) if isinstance(source, (list, tuple)) else [source]
    if not items:
        raise EmptySourceError("An empty list holds no video. Give at least one.")
    files = [path for item in items for path in _expand(item)]
    selection = None if wanted == "all" else wanted
    parts = [_open_part(item, number, selection) for number, item in enumerate(files)]
    return Source(_describe(items), tuple(parts))


def _check_selection(frames: FrameSelection) -> tuple[int, ...] | Literal["all"] | None:
    if frames is None:
        return None
    if isinstance(frames, str):
        if frames != "all":
            raise FrameSelectionError(f"frames={frames!r}: expected indices, 'all' or None.")
        return "all"
    try:
        wanted = sorted({frame.__index__() for frame in frames})
    except (AttributeError, TypeError) as error:
        raise FrameSelectionError(f"frames={frames!r}: expected whole numbers, 'all' or None.") from error
    if not wanted:
        raise FrameSelectionError("No frame is asked for: the selection is empty. Leave it out to take all.")
    if wanted[0] < 0:
        raise FrameSelectionError(f"Frame {wanted[0]} is negative. Frames are counted from 0.")
    return tuple(wanted)


def _expand(item: Any) -> list[Any]:
    """The videos of one item of a source: paths are looked up, folders and globs of images are one list of files."""
    if not isinstance(item, (str, Path)):
        return [item]
    text = str(item)
    if glob.has_magic(text) and not Path(text).exists():
        found = sorted(
            (Path(name) for name in glob.glob(str(Path(text).expanduser()), recursive=True)), key=natural_order
        )
        if not found:
            raise SourceNotFoundError(f"Nothing matches {text!r} (in {Path.cwd()}).")
        images = [path for path in found if path.suffix.lower() in IMAGE_SUFFIXES]
        videos: list[Any] = [path for path in found if path.suffix.lower() in VIDEO_SUFFIXES]
        if not images and not videos:
            raise SourceFormatError(f"{text!r} matches no image and no video, but e.g. {found[0].name!r}.")
        return videos + ([images] if images else [])
    path = _existing(item)
    if path.is_dir():
        images = sorted((file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES), key=natural_order)
        if not images:
            listing = ", ".join(sorted(file.name for file in path.iterdir())[:8]) or "nothing"
            raise EmptySourceError(
                f"The folder {path} holds no images ({', '.join(IMAGE_SUFFIXES)}); found: {listing}. "
                f"For videos in it, give a glob: {path}/*.mp4"
            )
        return [images]
    return [[path]] if path.suffix.lower() in IMAGE_SUFFIXES else [path]


def _existing(path: str | Path) -> Path:
    path = Path(path).expanduser()
    if path.exists():
        return path
    folder = path.parent
    if not folder.is_dir():
        raise SourceNotFoundError(f"No source at {path}: there is no folder {folder} (in {Path.cwd()}).")
    close = difflib.get_close_matches(path.name, [file.name for file in folder.iterdir()], n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise SourceNotFoundError(f"No source at {path} (in {Path.cwd()}).{hint}")


def _open_part(item: Any, number: int, frames: tuple[int, ...] | None) -> VideoPart:
    from sleap_infer.frames import descriptions

    if is_array(item):
        array = ArrayReader(item)
        part = VideoPart(array, lambda: descriptions.of_array(array.shape), number, frames)
    elif isinstance(item, list):
        part = VideoPart(ImageFilesReader(item), lambda: descriptions.of_images(item), number, frames)
    elif isinstance(item, Path):
        part = _open_file(item, number, frames)
    elif _is_video(item):
        part = VideoPart(open_video(item), lambda: item, number, frames)
    else:
        raise SourceFormatError(
            f"{type(item).__name__} is not a source of frames. Give a path, an array, a sleap_io.Video, a "
            "sleap_io.Labels, or a list of paths, arrays and videos."
        )
    _check_range(part.reader, frames)
    return part


def _open_file(path: Path, number: int, frames: tuple[int, ...] | None) -> VideoPart:
    from sleap_infer.frames import descriptions

    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        reader = VideoFileReader(path)
        return VideoPart(reader, lambda: descriptions.of_file(path), number, frames)
    if suffix in OTHER_SUFFIXES:
        video = descriptions.of_container(path)
        return VideoPart(open_video(video), lambda: video, number, frames)
    if suffix == ".slp":
        raise SourceFormatError(f"{path} is a label file: give it alone, not in a list with other sources.")
    raise SourceFormatError(
        f"{path} is of a format that is not read ({suffix or 'no ending'}). Videos: {', '.join(VIDEO_SUFFIXES)}; "
        f"images: {', '.join(IMAGE_SUFFIXES)}; labels: .slp; others: {', '.join(OTHER_SUFFIXES)}."
    )


def _check_range(reader: Reader, frames: Sequence[int] | None) -> None:
    n_frames = reader.n_frames
    if n_frames == 0:
        raise EmptySourceError("The source has no frames.")
    if frames and n_frames is not None and frames[-1] >= n_frames:
        raise FrameSelectionError(f"Frame {frames[-1]} is asked for, but the video has frames 0 to {n_frames - 1}.")


def open_video(video: sio.Video) -> Reader:
    """A reader for a `sleap_io.Video`: our own for video and image files, sleap-io's for all else.

    Raises:
        SourceNotFoundError: its file is missing.
    """
    from sleap_infer.frames.sleap_video import SleapVideoReader

    names = video.filename if isinstance(video.filename, list) else [video.filename]
    missing = next((name for name in names if not Path(name).exists()), None)
    if missing is not None:
        raise SourceNotFoundError(
            f"The video {missing} is missing. Put it there, or tell the labels where it is: "
            "labels.replace_filenames(new_filenames=[...]) in sleap_io."
        )
    if isinstance(video.filename, list):
        return ImageFilesReader([Path(name) for name in names])
    if Path(names[0]).suffix.lower() in VIDEO_SUFFIXES:
        return VideoFileReader(Path(names[0]), video.grayscale if video.backend is None else video.backend.grayscale)
    return SleapVideoReader(video)


def _open_labels(labels: sio.Labels, wanted: tuple[int, ...] | Literal["all"] | None, name: str) -> Source:
    from sleap_infer.frames.labelled import labelled_parts

    if wanted == "all":
        parts = [VideoPart(open_video(video), _constant(video), number) for number, video in enumerate(labels.videos)]
    else:
        parts = [
            VideoPart(open_video(video), _constant(video), number, inds, known)
            for number, video, inds, known in labelled_parts(labels, wanted, name)
        ]
    if not parts:
        raise EmptySourceError(f"{name} holds no video.")
    nodes = tuple(labels.skeletons[0].node_names) if labels.skeletons else None
    return Source(name, tuple(parts), nodes if wanted != "all" else None)


def _constant(video: sio.Video) -> Any:
    return lambda: video


def _load_labels(path: Path) -> sio.Labels:
    import sleap_io as sio

    try:
        return sio.load_slp(str(path))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise SourceFormatError(f"{path} cannot be read as a SLEAP label file: {error}") from error


def _is_labels(source: object) -> bool:
    return type(source).__name__ == "Labels" and type(source).__module__.startswith("sleap_io")


def _is_video(source: object) -> bool:
    return type(source).__name__ == "Video" and type(source).__module__.startswith("sleap_io")


def _name_of(labels: sio.Labels) -> str:
    return str((labels.provenance or {}).get("filename", "labels"))


def _describe(items: list[Any]) -> str:
    first = items[0]
    name = str(first) if isinstance(first, (str, Path)) else type(first).__name__
    return name if len(items) == 1 else f"{name} and {len(items) - 1} more"
