"""Cache entries: folders that are complete when they have their final name, and are checked when they are read.

An entry is made in a folder `.making-...` beside it, which is locked while its process runs; the remains of a killed
process are removed by the next one. An entry contains the SHA-256 of each of its files.
"""

from __future__ import annotations

import json
import logging
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from sleap_infer.errors import OutputError
from sleap_infer.system.cache_directory import CACHE_VARIABLE, make_private, require_private
from sleap_infer.system.digest import file_digest
from sleap_infer.system.files import STALE_S, replacing, sync, sync_tree
from sleap_infer.system.locks import LocksUnsupportedError, try_lock

MAKING = ".making-"
LOCK = ".lock"
SUMS = "sums.json"
"""File of an entry with the SHA-256 of each of its files."""

logger = logging.getLogger(__name__)


def is_ready(entry: Path) -> bool:
    """Return whether an entry exists and is undamaged. A damaged one is reported; `making` replaces it.

    Raises:
        CacheError: other users may write there.
    """
    require_private(entry)
    sweep(entry.parent)
    if not entry.is_dir():
        return False
    damage = find_damage(entry)
    if damage:
        logger.warning("the cache entry %s is damaged (%s): it is made again", entry, damage)
    return not damage


@contextmanager
def making(entry: Path) -> Iterator[Path]:
    """Yield an empty folder; when the block ends without an error, its content becomes the entry.

    Another process may make the same entry at the same time: an undamaged entry that exists by then stays.

    Raises:
        CacheError: other users may write there.
        OutputError: the cache cannot be written.
    """
    require_private(entry)
    with ExitStack() as stack:
        with _explained(entry):
            make_private(entry.parent)
            sweep(entry.parent)
            folder = stack.enter_context(_workplace(entry.parent))
            unfinished = folder / "entry"
            unfinished.mkdir()
        yield unfinished
        with _explained(entry):
            seal(unfinished)
            sync_tree(unfinished)
            _put(unfinished, entry, folder)
            sync(entry.parent)


def _put(finished: Path, entry: Path, folder: Path) -> None:
    """Give a finished entry its name, unless an undamaged one has it; a damaged one is moved to another folder."""
    for attempt in range(3):
        try:
            finished.rename(entry)
            return
        except OSError:
            if not entry.is_dir():
                raise
        if not find_damage(entry):
            return
        with suppress(OSError):  # another process may move it first
            entry.rename(folder / f"damaged-{attempt}")


@contextmanager
def _explained(entry: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"The cache {entry.parent} cannot be written: {error.strerror or error}. Set {CACHE_VARIABLE} to a "
            "directory that can be."
        ) from error


def seal(folder: Path) -> None:
    """Write the SHA-256 of each file of a folder into it."""
    sums = {name: file_digest(folder / name) for name in _names(folder)}
    (folder / SUMS).write_text(json.dumps(sums, indent=1), encoding="utf-8")


def find_damage(folder: Path) -> str:
    """Return the first damage of the files that a folder had when it was sealed; empty if there is none."""
    try:
        sums = json.loads((folder / SUMS).read_text(encoding="utf-8"))
        for name, expected in sums.items():
            if name.startswith("/") or ".." in name.split("/"):
                return f"{SUMS} names {name}, outside of its folder"
            if not (folder / name).is_file():
                return f"{name} is missing"
            if file_digest(folder / name) != expected:
                return f"{name} has changed"
    except FileNotFoundError:
        return f"{SUMS} is missing"
    except (OSError, ValueError, AttributeError) as error:
        return f"{SUMS} cannot be read: {error}"
    return "" if sums else f"{SUMS} is empty"


def sweep(parent: Path) -> None:
    """Remove unfinished entries of killed processes."""
    with suppress(OSError):
        for folder in parent.glob(f"{MAKING}*"):
            if folder.suffix == LOCK:
                with _locked(folder) as is_mine:
                    if is_mine:
                        shutil.rmtree(folder.with_suffix(""), ignore_errors=True)
                        folder.unlink(missing_ok=True)
            elif not folder.with_name(folder.name + LOCK).exists():
                shutil.rmtree(folder, ignore_errors=True)


def verify(folder: Path, sums: Path) -> list[str]:
    """Remove files that changed since `add_sums`, so that they are made again; return the damages found.

    Args:
        folder: filled by another library, which adds and removes files.
        sums: file that lists them.
    """
    try:
        known = json.loads(sums.read_text(encoding="utf-8")) if sums.exists() else {}
        items = list(known.items())
    except (OSError, ValueError, AttributeError):
        sums.unlink(missing_ok=True)
        return []
    wrong = []
    for name, expected in items:
        path = folder / name
        found = _sum_if_there(path)
        if found != expected:
            wrong.append(f"{name} {'has changed' if found else 'is missing'}")
            path.unlink(missing_ok=True)
            del known[name]
    if wrong:
        _write(sums, known)
    return wrong


def add_sums(folder: Path, sums: Path) -> None:
    """Add files of a folder that are not listed yet, with their SHA-256."""
    try:
        known = json.loads(sums.read_text(encoding="utf-8")) if sums.exists() else {}
        new = {name: _sum_if_there(folder / name) for name in _names(folder) if name not in known}
        _write(sums, known | {name: value for name, value in new.items() if value})
    except (OSError, ValueError, TypeError):
        logger.debug("sums of %s are not written", folder, exc_info=True)


def _write(sums: Path, known: Mapping[str, str]) -> None:
    with replacing(sums) as path:
        path.write_text(json.dumps(known, indent=1), encoding="utf-8")


@contextmanager
def _workplace(parent: Path) -> Iterator[Path]:
    """Yield a folder that is removed afterwards, and by `sweep` if this process is killed."""
    while True:
        folder = parent / f"{MAKING}{secrets.token_hex(8)}"
        lock = folder.with_name(folder.name + LOCK)
        with lock.open("x") as file:
            _lock(file)
            if not lock.exists():  # another process removed it before it was locked
                continue
            try:
                folder.mkdir(mode=0o700)
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                lock.unlink(missing_ok=True)
        return


@contextmanager
def _locked(lock: Path) -> Iterator[bool]:
    """Yield whether the process that made a lock has ended. Where files cannot be locked, its age decides."""
    try:
        with lock.open("r+") as file:
            is_free = _lock(file)
            if is_free is None:
                is_free = time.time() - lock.stat().st_mtime > STALE_S
            yield is_free
    except FileNotFoundError:
        yield False


def _lock(file: IO[str]) -> bool | None:
    """Lock a file, as `try_lock`; `None` if it cannot be locked."""
    try:
        return try_lock(file)
    except (OSError, LocksUnsupportedError):
        return None


def _names(folder: Path) -> Iterator[str]:
    """Yield the names of the files below a folder, except checksums, locks and unfinished files."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != SUMS and path.suffix not in (".lock", ".tmp"):
            yield path.relative_to(folder).as_posix()


def _sum_if_there(path: Path) -> str | None:
    try:
        return file_digest(path)
    except OSError:
        return None
