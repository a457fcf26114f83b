"""Who works on what: one job at a time on an output, one process at a time on a range."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from attrs import define

from sleap_infer.errors import JobBusyError, OutputError
from sleap_infer.jobs.store.journal_files import JOB_FILE, delete_own
from sleap_infer.jobs.store.shard import translated
from sleap_infer.system.locks import LocksUnsupportedError, try_lock

STALE_S = 300.0
"""A claim that was not renewed for so long is of a process that is gone."""

RENEW_S = 30.0
"""How often it is renewed."""


@define
class _Held:
    """A lock of this process, which several of its threads may share."""

    file: IO[str]
    shared: bool
    count: int = 1


_held: dict[str, _Held] = {}
"""Locks of this process by path: a record lock does not keep threads of one process apart."""

_guard = threading.Lock()


@contextmanager
def only_one(path: Path, name: str, shared: bool = False) -> Iterator[None]:
    """Hold a lock, which the system takes back when the process ends, however it does.

    Args:
        path: of a file to lock; made if it is not there.
        name: of what is locked, for people.
        shared: whether others that share it may hold it too.

    Raises:
        JobBusyError: another process holds it.
        OutputError: the file cannot be made, or its file system has no locks.
    """
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        key = os.path.join(os.path.realpath(path.parent), path.name)
        is_mine = _acquire(path, key, shared)
    if not is_mine:
        raise JobBusyError(f"Another process works on {name} (it holds {path}). Wait for it, or choose another output.")
    try:
        yield
    finally:
        _release(key)


def tidy(path: Path) -> None:
    """Remove what is left in the folder of a journal that never began or was deleted, unless somebody works there."""
    if path.is_dir() and not (path / JOB_FILE).exists():
        with suppress(JobBusyError, OutputError), only_one(path / "lock", str(path)):
            if not (path / JOB_FILE).exists():
                delete_own(path)


def _acquire(path: Path, key: str, shared: bool) -> bool:
    with _guard:
        held = _held.get(key)
        if held is not None:
            is_mine = shared and held.shared
            held.count += is_mine
            return is_mine
        file = _locked(path, shared)
        if file is not None:
            _held[key] = _Held(file, shared)
        return file is not None


def _release(key: str) -> None:
    with _guard:
        held = _held[key]
        held.count -= 1
        if held.count == 0:
            del _held[key]
            held.file.close()


def _locked(path: Path, shared: bool) -> IO[str] | None:
    """The open file with its lock; `None` if another process has it."""
    while True:
        file = path.open("a+")
        try:
            if not _lock(file, shared):
                file.close()
                return None
            if os.name == "nt" or _is_at(file, path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # whoever held it has removed it: the next one has another file


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: IO[str], shared: bool) -> bool:
    try:
        return try_lock(file, shared)
    except LocksUnsupportedError as error:
        raise OutputError(
            f"The file system of {file.name} has no file locks ({error}): without them two processes could write to "
            "one journal. Give an output on a local disk (-o), and copy the files afterwards; or have locks turned on "
            "(NFS: its lock service; Lustre: mounted with -o flock)."
        ) from error


class Claims:
    """Which ranges of a job are worked on, as files in its journal, for processes on any machine.

    Which ranges are done is known by the results in the journal alone.

    Args:
        folder: of the claims.
        owner: who claims; one that comes back under the same name takes its own claims up again.
    """

    def __init__(self, folder: Path, owner: str) -> None:
        self._folder, self._owner = folder, owner
        with translated(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def take(self, name: str) -> bool:
        """Claim a range, unless somebody else has it.

        Raises:
            OutputError: nothing can be written.
        """
        claim = self._folder / f"{name}.claim"
        with translated(claim):
            if self._create(claim):
                return True
            with suppress(FileNotFoundError):
                if self._is_mine(claim) or time.time() - claim.stat().st_mtime > STALE_S:
                    with suppress(FileNotFoundError):
                        claim.rename(claim.with_name(f".{claim.name}.{self._owner}"))  # one of several gets it
                        return self._create(claim)
        return False

    @contextmanager
    def working(self, name: str) -> Iterator[None]:
        """Work on a range that was taken: the claim is renewed meanwhile, and given up if nothing goes wrong."""
        over = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(name, over), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            over.set()
            renewing.join()
        claim = self._folder / f"{name}.claim"
        with suppress(OSError):  # it becomes stale
            if self._is_mine(claim):
                claim.unlink()

    def _renew(self, name: str, over: threading.Event) -> None:
        while not over.wait(RENEW_S):
            with suppress(OSError):
                os.utime(self._folder / f"{name}.claim")

    def _is_mine(self, claim: Path) -> bool:
        return claim.read_text(encoding="utf-8").startswith(f"{self._owner}\n")

    def _create(self, claim: Path) -> bool:
        try:
            with claim.open("x", encoding="utf-8") as file:
                file.write(f"{self._owner}\n{socket.gethostname()} {os.getpid()}\n")
        except FileExistsError:
            return False
        return True
