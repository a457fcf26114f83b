"""Who works on what: one job at a time on an output (a lock), one process at a time on a range (a lease)."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from attrs import define

from sleap_infer.errors import JobBusyError, OutputError
from sleap_infer.jobs.store.journal_files import JOB_FILE, delete_own
from sleap_infer.jobs.store.result_file import translated
from sleap_infer.system.locks import LocksUnsupportedError, try_lock

STALE_S = 300.0
"""Age in seconds after which a lease that was not renewed may be taken over."""

RENEW_S = 30.0
"""Seconds between renewals of a lease."""


@define
class _Held:
    """A lock of this process, which several of its threads may share."""

    file: IO[str]
    shared: bool
    count: int = 1


_held: dict[str, _Held] = {}
"""Locks of this process by path: a record lock does not exclude threads of the same process."""

_mutex = threading.Lock()


@contextmanager
def hold_lock(path: Path, name: str, shared: bool = False) -> Iterator[None]:
    """Hold a lock file. The system releases the lock when the process ends.

    Args:
        path: file to lock; created if it is missing.
        name: what is locked, for messages.
        shared: whether other shared locks are allowed at the same time.

    Raises:
        JobBusyError: another process holds it.
        OutputError: the file cannot be created, or its file system has no locks.
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


def remove_remains(path: Path) -> None:
    """Remove the folder of a journal that never began or was half deleted, unless another process works there."""
    if path.is_dir() and not (path / JOB_FILE).exists():
        with suppress(JobBusyError, OutputError), hold_lock(path / "lock", str(path)):
            if not (path / JOB_FILE).exists():
                delete_own(path)


def _acquire(path: Path, key: str, shared: bool) -> bool:
    with _mutex:
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
    with _mutex:
        held = _held[key]
        held.count -= 1
        if held.count == 0:
            del _held[key]
            held.file.close()


def _locked(path: Path, shared: bool) -> IO[str] | None:
    """Return the open file with its lock; `None` if another process has it."""
    while True:
        file = path.open("a+")
        try:
            if not _lock(file, shared):
                file.close()
                return None
            if sys.platform == "win32" or _is_at(file, path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # the process that held it has removed the file: the lock is now on another file


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


class Leases:
    """Lease files in a journal, one for each range that a process works on, for processes on any machine.

    Whether a range is done is known from the results in the journal alone.

    Args:
        folder: of the leases.
        owner: name of this process; another process with the same name takes over its leases.
    """

    def __init__(self, folder: Path, owner: str) -> None:
        self._folder, self._owner = folder, owner
        with translated(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def take(self, name: str) -> bool:
        """Take the lease of a range; return False if another process has it.

        Raises:
            OutputError: nothing can be written.
        """
        lease = self._path(name)
        with translated(lease):
            if self._create(lease):
                return True
            with suppress(FileNotFoundError):
                if self._is_mine(lease) or time.time() - lease.stat().st_mtime > STALE_S:
                    with suppress(FileNotFoundError):
                        lease.rename(lease.with_name(f".{lease.name}.{self._owner}"))  # succeeds in one process only
                        return self._create(lease)
        return False

    @contextmanager
    def working(self, name: str) -> Iterator[None]:
        """Renew a lease that was taken while the block runs; give it up if the block ends without an error."""
        over = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(name, over), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            over.set()
            renewing.join()
        with suppress(OSError):  # it becomes stale
            if self._is_mine(self._path(name)):
                self._path(name).unlink()

    def _renew(self, name: str, over: threading.Event) -> None:
        while not over.wait(RENEW_S):
            with suppress(OSError):
                os.utime(self._path(name))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.claim"

    def _is_mine(self, lease: Path) -> bool:
        return lease.read_text(encoding="utf-8").startswith(f"{self._owner}\n")

    def _create(self, lease: Path) -> bool:
        try:
            with lease.open("x", encoding="utf-8") as file:
                file.write(f"{self._owner}\n{socket.gethostname()} {os.getpid()}\n")
        except FileExistsError:
            return False
        return True
