"""Find the files that a path or a glob names."""

from __future__ import annotations

import difflib
import glob
import os
import stat
from pathlib import Path
from typing import TypeAlias

from sleap_infer.errors import EmptySourceError, SourceFormatError, SourceNotFoundError
from sleap_infer.frames.readers.images import IMAGE_SUFFIXES, natural_order
from sleap_infer.model.readers.texts import explain

VIDEO_SUFFIXES = (
    ".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts", ".wmv", ".flv", ".ogv",
    ".gif", ".mj2", ".3gp",
)  # fmt: skip

VideoFiles: TypeAlias = Path | list[Path]
"""One video: a file, or image files."""


def expand(path: str | Path) -> list[VideoFiles]:
    """Return the videos of a path or a glob; a folder or a glob of images is one.

    Raises:
        SourceNotFoundError: there is nothing.
        SourceFormatError: a glob matches neither videos nor images.
        EmptySourceError: a folder holds no images.
    """
    if is_glob(path):
        found = _matches(str(path))
    elif (path := existing(path)).is_dir():
        found = [_images_in(path)]
    else:
        found = [[path]] if path.suffix.lower() in IMAGE_SUFFIXES else [path]
    for video in found:
        for file in video if isinstance(video, list) else [video]:
            check_name(file)
    return found


def check_name(path: Path) -> None:
    """Check that a name is text: libraries behind this package crash on others, and no label file can hold them.

    Raises:
        SourceFormatError: it is not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(path).decode(errors="backslashreplace") if _is_encodable(path) else ascii(str(path))
        raise SourceFormatError(f"The name of {shown} is not UTF-8. Rename it.") from error


def _is_encodable(path: Path) -> bool:
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


def is_glob(path: str | Path) -> bool:
    """Return whether a path is a pattern, and not the name of something."""
    try:
        return glob.has_magic(str(path)) and not Path(path).exists()
    except OSError:  # no name of anything, e.g. too long
        return True
    except ValueError:  # a zero in it: no pattern either
        return False


def exists(path: str | Path) -> bool:
    """Return whether there is something at a path; not if that may not be known."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def existing(path: str | Path) -> Path:
    """Return a path if something is there.

    Raises:
        SourceNotFoundError: there is not; the message names what is there by a similar name.
        SourceFormatError: it is neither a file nor a folder, or its name is not UTF-8.
    """
    if not str(path):
        raise SourceNotFoundError("The path of the source is empty. For the current folder, give '.'.")
    try:
        path = Path(path).expanduser()
        check_name(path)
        mode = path.stat().st_mode
    except FileNotFoundError:
        path = Path(path)
    except OSError as error:  # too long, not allowed, a loop of links
        raise SourceNotFoundError(f"No source at {str(path)[:200]}: {explain(error)}.") from error
    except (RuntimeError, ValueError) as error:  # no such user, a zero in the name
        raise SourceNotFoundError(f"No source at {str(path)[:200]!r}: {error}. Check the path.") from error
    else:
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise SourceFormatError(f"{path} is neither a file nor a folder. Give a file that holds frames.")
        return path
    folder = path.parent
    if not folder.is_dir():
        raise SourceNotFoundError(f"No source at {path}: there is no folder {folder} (in {Path.cwd()}).")
    close = difflib.get_close_matches(path.name, _names_in(folder), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise SourceNotFoundError(f"No source at {path} (in {Path.cwd()}).{hint}")


def _names_in(folder: Path) -> list[str]:
    """Names of what is in a folder, as far as that may be known."""
    try:
        return [file.name for file in folder.iterdir()]
    except OSError:
        return []


def matching(pattern: str) -> list[Path]:
    """Return the files that a glob matches, in natural order.

    Raises:
        SourceNotFoundError: there is none.
    """
    names = glob.glob(str(Path(pattern).expanduser()), recursive=True)
    found = sorted((Path(name) for name in names), key=natural_order)
    if not found:
        raise SourceNotFoundError(f"Nothing matches {pattern!r} (in {Path.cwd()}).")
    return found


def _matches(pattern: str) -> list[VideoFiles]:
    found = matching(pattern)
    images = [path for path in found if path.suffix.lower() in IMAGE_SUFFIXES]
    videos: list[VideoFiles] = [path for path in found if path.suffix.lower() in VIDEO_SUFFIXES]
    if not images and not videos:
        raise SourceFormatError(f"{pattern!r} matches no image and no video, but e.g. {found[0].name!r}.")
    return [*videos, images] if images else videos


def _images_in(folder: Path) -> list[Path]:
    try:
        files = [file for file in folder.iterdir() if not file.name.startswith(".")]  # as a glob does
    except OSError as error:
        raise SourceFormatError(f"The folder {folder} cannot be read: {explain(error)}.") from error
    images = sorted((file for file in files if file.suffix.lower() in IMAGE_SUFFIXES), key=natural_order)
    if images:
        return images
    listing = ", ".join(sorted(_names_in(folder))[:8]) or "nothing"
    raise EmptySourceError(
        f"The folder {folder} holds no images ({', '.join(IMAGE_SUFFIXES)}); found: {listing}. "
        f"For videos in it, give a glob: {folder}/*.mp4"
    )
