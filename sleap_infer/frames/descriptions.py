"""How videos are described in `sleap_io.Labels`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sleap_infer.errors import SourceFormatError

if TYPE_CHECKING:
    import sleap_io as sio


def of_file(path: Path) -> sio.Video:
    """A video file."""
    import sleap_io as sio

    try:
        return sio.Video.from_filename(str(path))
    except ValueError:  # an ending that sleap-io does not know, e.g. .webm
        return sio.Video(filename=str(path), backend_metadata={"type": "MediaVideo"}, open_backend=False)


def of_images(paths: Sequence[Path]) -> sio.Video:
    """Image files as one video."""
    import sleap_io as sio

    return sio.Video.from_filename([str(path) for path in paths])


def of_stack(path: Path) -> sio.Video:
    """A TIFF file of several pages."""
    import sleap_io as sio

    return sio.Video(filename=str(path), backend_metadata={"type": "TiffVideo"}, open_backend=False)


def of_array(shape: tuple[int, int, int, int]) -> sio.Video:
    """Frames in memory, of shape (n_frames, height, width, channels): no file stands behind them."""
    import sleap_io as sio

    return sio.Video(filename="array", backend_metadata={"shape": shape}, open_backend=False)


def of_container(path: Path) -> sio.Video:
    """A file of a format that sleap-io reads.

    Raises:
        SourceFormatError: it does not.
    """
    import sleap_io as sio

    try:
        video = sio.load_video(str(path))
        shape = video.shape  # opens the file
    except (OSError, KeyError, ValueError, IndexError, RuntimeError) as error:
        raise SourceFormatError(f"{path} cannot be read as a video: {type(error).__name__}: {error}") from error
    if shape is None:
        raise SourceFormatError(f"{path} cannot be read as a video: sleap-io finds no frames in it.")
    return video
