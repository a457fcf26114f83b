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

from sleap_infer.errors import JobBusyError
from sleap_infer.jobs.journal import translated

STALE_S = 300.0
"""A claim that was not renewed for so long is of a process that is gone."""

RENEW_S = 30.0
"""How often it is renewed."""


@contextmanager
def only_one(path: Path, name: str, shared: bool = False) -> Iterator[None]:
    """Hold a lock, which the system takes back when the process ends, however it does.

    Args:
        path: of a file to lock; made if it is not there.
        name: of what is locked, for people.
        shared: whether others that share it may hold it too.

    Raises:
        JobBusyError: another process holds it.
        OutputError: the file cannot be made.
    """
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    with file:
        if not _lock(file, shared):
            raise JobBusyError(
                f"Another process works on {name} (it holds {path}). Wait for it, or choose another output."
            )
        yield


def _lock(file: IO[str], shared: bool) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        return _lock_on_windows(file)
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _lock_on_windows(file: IO[str]) -> bool:
    import msvcrt

    try:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        return False
    return True


class Claims:
    """Which ranges of a job are worked on and which are done, as files in its journal, for processes on any machine.

    Args:
        folder: of the claims.
        owner: who claims; one that comes back under the same name takes its own claims up again.
    """

    def __init__(self, folder: Path, owner: str) -> None:
        self._folder, self._owner = folder, owner
        with translated(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def take(self, name: str) -> bool:
        """Claim a range, unless somebody else has it or it is done.

        Raises:
            OutputError: nothing can be written.
        """
        if self._done(name).exists():
            return False
        claim = self._folder / f"{name}.claim"
        with translated(claim):
            if self._create(claim):
                return True
            with suppress(FileNotFoundError):
                mine = claim.read_text(encoding="utf-8").startswith(f"{self._owner}\n")
                if mine or time.time() - claim.stat().st_mtime > STALE_S:
                    with suppress(FileNotFoundError):
                        claim.rename(claim.with_name(f".{claim.name}.{self._owner}"))  # one of several gets it
                        return self._create(claim)
        return False

    @contextmanager
    def working(self, name: str) -> Iterator[None]:
        """Work on a range that was taken: the claim is renewed all along, and the range is done if nothing goes wrong.

        Raises:
            OutputError: nothing can be written.
        """
        over = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(name, over), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            over.set()
            renewing.join()
        with translated(self._done(name)):
            self._done(name).touch()

    def _renew(self, name: str, over: threading.Event) -> None:
        while not over.wait(RENEW_S):
            with suppress(OSError):
                os.utime(self._folder / f"{name}.claim")

    def _done(self, name: str) -> Path:
        return self._folder / f"{name}.done"

    def _create(self, claim: Path) -> bool:
        try:
            with claim.open("x", encoding="utf-8") as file:
                file.write(f"{self._owner}\n{socket.gethostname()} {os.getpid()}\n")
        except FileExistsError:
            return False
        return True
