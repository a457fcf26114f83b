"""Write files atomically: a file with its final name is always complete."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from sleap_infer.errors import OutputError
from sleap_infer.system.unexpected_errors import os_reason

PREFIX = ".partial-"
"""Prefix of folders with unfinished files, beside the final files."""

PROBE_BYTES = 1 << 16
"""Size of the file that tests whether there is free space."""

STALE_S = 86400.0
"""Age in seconds after which unfinished files count as remains of a killed process."""


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a path to write to; its file replaces the target when the block ends without an error.

    The path is in a new folder beside the target, which only this user may open and whose name cannot be guessed, so
    that no other user can put a file or a link there. Content is on the disk before the target is replaced. A symbolic
    link at the target is replaced, not followed.

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
    with beside(target) as path:
        yield path
        sync(path)
        path.replace(target)
        sync(target.parent)


def put_in_place(target: Path, fill: Callable[[Path], object]) -> Path:
    """Write a file atomically.

    Args:
        target: the file; an existing one is replaced.
        fill: called with a path; writes the content to it.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        with replacing(target) as path:
            fill(path)
    except (OSError, RuntimeError) as error:  # HDF5 raises both
        known = os_reason(error)
        if known is None and not isinstance(error, OSError):
            raise
        reason = known or f"{getattr(error, 'strerror', None) or error}. Check the free space and your rights there."
        raise OutputError(f"{target} cannot be written: {reason}") from error
    return target


def check_writable(target: Path) -> None:
    """Check, before the work, that a file can be written: that its folder exists, with rights and some free space.

    Args:
        target: the file, which may be missing.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        if _is_there(target) and target.is_dir():
            raise OutputError(f"{target} cannot be written: it is a folder. Give the name of a file.")
        with beside(target) as path:
            path.write_bytes(b"\0" * PROBE_BYTES)
            sync(path)
    except OSError as error:
        if not os.path.exists(target.parent):
            reason = f"there is no folder {target.parent.absolute()}. Make it first."
        else:
            reason = os_reason(error) or str(error.strerror or error)
        raise OutputError(f"{target} cannot be written: {reason}") from error


def check_folder(folder: Path) -> None:
    """Check, before the work, that a folder can be created, or written to if it exists.

    Raises:
        OutputError: it cannot.
    """
    try:
        existing = folder.absolute()
        while not _is_there(existing):
            existing = existing.parent
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {os_reason(error) or error.strerror}") from error
    if not existing.is_dir():
        what = "a file" if existing.exists() else "a link that leads nowhere"
        raise OutputError(f"{folder} cannot be made: {existing} is {what}. Choose another folder.")
    check_writable(existing / "file")


def _is_there(path: Path) -> bool:
    """Return whether a file, folder or link has this name, also a link that leads nowhere.

    Raises:
        OSError: this is unknown, for another reason than a missing file or folder.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def require_room(folder: Path, n_bytes: int) -> None:
    """Check that a folder has space for a file. HDF5 may end the process where there is none.

    Raises:
        OSError: there is not enough free space (`ENOSPC`), or the limit for the size of a file is lower (`EFBIG`).
    """
    if shutil.disk_usage(folder).free < n_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    if _largest_file() < n_bytes:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(folder))


def _largest_file() -> float:
    if sys.platform == "win32":  # it has no such limit
        return math.inf
    import resource

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return math.inf if limit == resource.RLIM_INFINITY else limit


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Yield a path in a new folder beside a target, as `replacing` does; it is removed when the block ends."""
    folder = target.with_name(f"{PREFIX}{_key(target)}-{secrets.token_hex(8)}")
    folder.mkdir(mode=0o700)
    try:
        yield folder / f"file{target.suffix.lower()}"  # libraries know formats by endings in lower case
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_text(target: Path, text: str) -> Path:
    """Write a text file (UTF-8) atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    return put_in_place(target, lambda path: path.write_text(text, encoding="utf-8"))


def remove_leftovers(target: Path, older_than_s: float = 0.0) -> None:
    """Remove unfinished files of killed processes. Without an age, call this under a lock on the target."""
    for folder in target.parent.glob(f"{PREFIX}{_key(target)}-*"):
        try:
            is_old = time.time() - folder.lstat().st_mtime >= older_than_s
        except OSError:  # removed by another process
            continue
        if is_old and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)


FileKey: TypeAlias = tuple[Hashable, ...]
"""Identifies a file, whatever path leads to it."""


def file_key(path: Path) -> FileKey:
    """Return the identity of a file, whatever path leads to it: links, `..`, case where the file system ignores it.

    A file that does not exist yet is identified by its folder and its name.
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
    """Return whether a folder ignores upper and lower case, as far as its own name shows."""
    for path in (folder.resolve(), *folder.resolve().parents):
        other = path.with_name(path.name.swapcase()) if path.name else path
        if other != path:
            try:
                return other.samefile(path)
            except (OSError, ValueError):
                return False
    return False


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk.

    Raises:
        OSError: the disk reports an error.
    """
    if sys.platform == "win32" and path.is_dir():  # NTFS keeps the entries of folders in its own journal
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
    """Return a short key of a target, so that folders of unfinished files have names of a fixed length."""
    return hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]
