"""Write files atomically: a file under its name is complete at any moment, or not there."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from sleap_infer.errors import OutputError

PREFIX = ".partial-"
"""Start of the names of unfinished work, beside the files that it becomes."""

STALE_S = 86400.0
"""Age at which unfinished work is taken to be left over from a process that was killed, in seconds."""


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a path to write to; the file there replaces the target when the block ends without an error.

    The path lies in a new folder beside the target, which only this user may open and whose name cannot be guessed, so
    that no other user can place a file or a link there. Content is on the disk before the target is replaced. A
    symbolic link at the target is replaced, not followed.

    Raises:
        OSError: the file cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "a.txt") as path:
    ...         _ = path.write_text("all of it")
    ...     (Path(folder) / "a.txt").read_text()
    'all of it'
    """
    remove_leftovers(target, older_than_s=STALE_S)
    folder = target.with_name(f"{PREFIX}{_key(target)}-{secrets.token_hex(8)}")
    folder.mkdir(mode=0o700)
    try:
        beside = folder / f"file{target.suffix.lower()}"  # libraries know formats by endings in lower case
        yield beside
        sync(beside)
        beside.replace(target)
        sync(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def put_in_place(target: Path, fill: Callable[[Path], object]) -> Path:
    """Write a file atomically.

    Args:
        target: the file; an existing one is replaced.
        fill: writes the content to the path that it is given.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        with replacing(target) as path:
            fill(path)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(
            f"{target} cannot be written: {reason}. Check the free space and your rights there."
        ) from error
    return target


def write_text(target: Path, text: str) -> Path:
    """Write a text file (UTF-8) atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    return put_in_place(target, lambda path: path.write_text(text, encoding="utf-8"))


def remove_leftovers(target: Path, older_than_s: float = 0.0) -> None:
    """Remove unfinished work of killed processes on a file. Without an age, call this under a lock on the file."""
    for folder in target.parent.glob(f"{PREFIX}{_key(target)}-*"):
        try:
            is_old = time.time() - folder.lstat().st_mtime >= older_than_s
        except OSError:  # removed by another process
            continue
        if is_old and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)


FileKey: TypeAlias = tuple[Hashable, ...]
"""Names a file in a way that all its paths share."""


def file_key(path: Path) -> FileKey:
    """What identifies a file, whatever path leads to it: links, `..`, other letters on file systems that ignore case.

    A file that does not exist yet is known by its folder and its name.
    """
    try:
        found = path.stat()
        return found.st_dev, found.st_ino
    except (OSError, ValueError):
        pass
    real = Path(os.path.realpath(path))
    try:
        folder = real.parent.stat()
    except (OSError, ValueError):
        return (str(real),)
    return folder.st_dev, folder.st_ino, real.name.casefold() if ignores_case(real.parent) else real.name


def ignores_case(folder: Path) -> bool:
    """Whether names in a folder differ only by more than upper and lower case, as far as its own name shows."""
    for place in (folder.resolve(), *folder.resolve().parents):
        other = place.with_name(place.name.swapcase()) if place.name else place
        if other != place:
            try:
                return other.samefile(place)
            except (OSError, ValueError):
                return False
    return False


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk.

    Raises:
        OSError: the disk reports an error.
    """
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Wait until all files of a folder and of the folders in it are on the disk.

    Raises:
        OSError: the disk reports an error.
    """
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def _key(target: Path) -> str:
    """Short name of a target: names of unfinished work have a fixed length, whatever the length of the target's."""
    return hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]
