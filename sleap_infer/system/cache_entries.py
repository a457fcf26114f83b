"""Cache entries: folders that are complete when they have their name, and checked when they are read.

Entries are made in a folder `.making-...` beside them, which is locked as long as its process lives; what a killed
process leaves is removed by the next one. The SHA-256 of each file lies with the entry.
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
"""In an entry: the SHA-256 of each of its files."""

logger = logging.getLogger(__name__)


def is_ready(entry: Path) -> bool:
    """Whether an entry is there and sound. A damaged one is reported; `making` replaces it.

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
    """Give an empty folder; when the block ends without an error, its content is the entry.

    Another process may make the same entry at the same time: a sound entry that is there by then stays.

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
            place = folder / "entry"
            place.mkdir()
        yield place
        with _explained(entry):
            seal(place)
            sync_tree(place)
            _put(place, entry, folder)
            sync(entry.parent)


def _put(place: Path, entry: Path, folder: Path) -> None:
    """Give a finished entry its name, unless a sound one has it; a damaged one is moved to another folder."""
    for attempt in range(3):
        try:
            place.rename(entry)
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
    """Return what is wrong with the files that a folder had when it was sealed; empty if nothing is."""
    try:
        sums = json.loads((folder / SUMS).read_text(encoding="utf-8"))
        for name, expected in sums.items():
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
    """Remove what processes that were killed have left of entries that they were making."""
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
    """Remove files that changed since `add_sums`, so that they are made again; return what was wrong.

    Args:
        folder: that another library fills: files come and go.
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
    """List files of a folder with their SHA-256, those that are not listed yet."""
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
    """Give a folder that is gone afterwards, and that `sweep` removes if this process is killed."""
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
    """Whether the process that made a lock is gone. Where files cannot be locked, its age decides."""
    try:
        with lock.open("r+") as file:
            is_free = _lock(file)
            if is_free is None:
                is_free = time.time() - lock.stat().st_mtime > STALE_S
            yield is_free
    except FileNotFoundError:
        yield False


def _lock(file: IO[str]) -> bool | None:
    """Lock a file, until it is closed or this process ends; `False` if another has it, `None` if there are no locks."""
    try:
        return try_lock(file)
    except (OSError, LocksUnsupportedError):
        return None


def _names(folder: Path) -> Iterator[str]:
    """Give the names of the files below a folder, but for sums and for what is locked or unfinished."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != SUMS and path.suffix not in (".lock", ".tmp"):
            yield path.relative_to(folder).as_posix()


def _sum_if_there(path: Path) -> str | None:
    try:
        return file_digest(path)
    except OSError:
        return None
