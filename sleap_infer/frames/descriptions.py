"""Describe videos in `sleap_io.Labels` by facts, so that sleap-io opens nothing. Paths are absolute."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from attrs import frozen

from sleap_infer.errors import SourceFormatError
from sleap_infer.frames.reader import Reader
from sleap_infer.frames.source import VideoPart

if TYPE_CHECKING:
    import sleap_io as sio

Shape = tuple[int, int, int, int]
"""(n_frames, height, width, channels)"""


def of_file(path: Path, reader: Reader | None = None) -> sio.Video:
    """Describe a video file.

    Args:
        path: of the file.
        reader: of its frames, of which one is read for its shape; without one, the shape is not described.
    """
    facts = {"bgr": True, "dataset": "", "input_format": "", "fps": getattr(reader, "fps", None)}
    return _closed("MediaVideo", path, shape_of(reader), facts)


def of_images(paths: Sequence[Path], reader: Reader | None = None) -> sio.Video:
    """Image files as one video."""
    names, shape = [absolute(path) for path in paths], shape_of(reader)
    sizes = {} if shape is None else dict(zip(("height_", "width_", "channels_"), shape[1:], strict=True))
    video = _closed("ImageVideo", paths[0], shape, {"filenames": names, **sizes, "fps": None})
    video.filename = names
    return video


def of_stack(path: Path, reader: Reader | None = None) -> sio.Video:
    """Describe a TIFF file of several pages."""
    return _closed("TiffVideo", path, shape_of(reader), {"keep_open": True, "format": "multi_page", "fps": None})


@frozen
class FromReader:
    """Makes the description of a video of which a frame is read for its shape.

    Attributes:
        describe: such as `of_file`.
        files: of the video.
        reader: of its frames.
    """

    describe: Callable[[Any, Reader | None], sio.Video]
    files: Path | list[Path]
    reader: Reader

    def __call__(self) -> sio.Video:
        """Describe the video."""
        return self.describe(self.files, self.reader)


def without_shape(video: Callable[[], sio.Video]) -> sio.Video:
    """Return the description that a part of a source gives, without reading a frame."""
    return video.describe(video.files, None) if isinstance(video, FromReader) else video()


def of_array(shape: Shape) -> sio.Video:
    """Describe frames in memory, without a file."""
    import sleap_io as sio

    return sio.Video(filename="array", backend_metadata={"shape": shape}, open_backend=False)


def of_container(path: Path) -> sio.Video:
    """Describe a file of a format that sleap-io reads.

    Raises:
        SourceFormatError: it does not.
    """
    import sleap_io as sio

    try:
        video = sio.load_video(absolute(path))
        shape = video.shape  # opens the file
    except (OSError, LookupError, ValueError, RuntimeError, TypeError, AttributeError, MemoryError) as error:
        raise SourceFormatError(f"{path} cannot be read as a video: {type(error).__name__}: {error}") from error
    if shape is None:
        raise SourceFormatError(f"{path} cannot be read as a video: sleap-io finds no frames in it.")
    return video


def shape_of(reader: Reader | None) -> Shape | None:
    """Shape of a video, of which the first frame that can be read is read; `None` where there is none."""
    if reader is None or reader.n_frames is None:
        return None
    frames = reader.read(None)
    try:
        image = next((found for _, found in frames if isinstance(found, np.ndarray)), None)
    finally:
        close = getattr(frames, "close", None)
        if close is not None:
            close()
    if image is None:
        return None
    height, width, channels = image.shape
    return reader.n_frames, height, width, channels


def closed(video: sio.Video) -> sio.Video:
    """Return the same description without open files, which can be sent to another process."""
    import sleap_io as sio
    from sleap_io.io.slp import video_to_dict

    facts = dict(video.backend_metadata)
    if video.backend is not None:
        facts = {**facts, **video_to_dict(video)["backend"]}
        if "crop" in video.backend_metadata:  # sleap-io describes the whole frame
            facts |= {"shape": video.backend_metadata.get("shape", video.shape)}
    if facts.get("filename") in (None, "."):  # "." is the label file that the description stands in
        facts["filename"] = video.filename[0] if isinstance(video.filename, list) else video.filename
    source = None if video.source_video is None else closed(video.source_video)
    return sio.Video(video.filename, backend_metadata=facts, source_video=source, open_backend=False)


def relocate(video: sio.Video, names: Sequence[str]) -> None:
    """Say where the files of a video are; nothing is opened, and what is known of their shape stays.

    Names of what is not there stay as they are: they may be those of another computer.
    """
    found = [located(name) for name in names]
    several = isinstance(video.filename, list)
    video.filename = found if several else found[0]
    video.backend_metadata["filename"] = found[0]
    if several:
        video.backend_metadata["filenames"] = found


def absolute(path: Path) -> str:
    """Return an absolute path; links are not followed, and `..` after a link stays.

    >>> absolute(Path("/a/../b.mp4"))
    '/b.mp4'
    """
    plain, short = str(path.absolute()), os.path.abspath(path)
    if ".." not in path.parts or os.path.realpath(plain) == os.path.realpath(short):
        return short
    return plain


def located(name: str) -> str:
    """Return the name of a source, as an absolute path if it is an existing path."""
    try:
        return absolute(Path(name)) if Path(name).exists() else name
    except (OSError, ValueError):
        return name


def restored(part: VideoPart) -> VideoPart:
    """Return a part described as the video from which its embedded frames come, if there is one."""

    def video() -> sio.Video:
        found = part.video()
        while found.source_video is not None:
            found = found.source_video
        return found

    return attrs.evolve(part, video=video)


def _closed(kind: str, path: Path, shape: Shape | None, facts: dict[str, Any]) -> sio.Video:
    import sleap_io as sio

    known = {} if shape is None else {"shape": shape, "grayscale": shape[3] == 1}
    name = absolute(path)
    return sio.Video(
        filename=name, backend_metadata={"type": kind, "filename": name, **known, **facts}, open_backend=False
    )
