"""Locks: what is held, what the file system does not have, and what is left behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from portalocker import portalocker as lockers

from sleap_infer.errors import JobBusyError, OutputError
from sleap_infer.jobs.store.locks import hold_lock, remove_remains

pytest.importorskip("fcntl")

WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a+")
getattr(fcntl, sys.argv[2])(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def failing(code: int) -> Any:
    def lock(file: object, how: int) -> None:
        raise OSError(code, os.strerror(code))

    return staticmethod(lock)


@pytest.mark.parametrize("code", WITHOUT_LOCKS)
def test_record_locks_where_there_are_no_others(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockers.FlockLocker, "_locker", failing(code))
    path = tmp_path / "lock"
    with (
        hold_lock(path, "a.slp"),
        pytest.raises(JobBusyError, match=r"Another process works on a\.slp"),
        hold_lock(path, "a.slp"),
    ):
        pass
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), "lockf"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(JobBusyError, match="Another process"), hold_lock(path, "a.slp"):
            pass
        process.communicate()
    with hold_lock(path, "a.slp", shared=True), hold_lock(path, "a.slp", shared=True):
        pass
    with hold_lock(path, "a.slp"):
        pass


@pytest.mark.parametrize("code", WITHOUT_LOCKS)
def test_a_file_system_without_locks_is_named(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for locker in (lockers.FlockLocker, lockers.LockfLocker):
        monkeypatch.setattr(locker, "_locker", failing(code))
    with (
        pytest.raises(OutputError, match=r"has no file locks .*local disk") as caught,
        hold_lock(tmp_path / "lock", "a.slp"),
    ):
        pass
    assert "Another process" not in str(caught.value)
    assert os.strerror(code) in str(caught.value)


def test_another_error_is_not_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockers.FlockLocker, "_locker", failing(errno.EIO))
    with pytest.raises(OutputError, match="Input/output error"), hold_lock(tmp_path / "lock", "a.slp"):
        pass


def test_a_lock_that_was_removed_is_made_again(tmp_path: Path) -> None:
    """The one who held it has deleted the journal: its file is no lock any more."""
    path = tmp_path / "a.journal" / "lock"
    with hold_lock(path, "a.slp"):
        path.unlink()
    with hold_lock(path, "a.slp"):
        assert path.exists()


def test_what_another_process_begins_is_not_tidied_up(tmp_path: Path) -> None:
    """It holds the lock, and has written nothing yet."""
    path = tmp_path / "a.journal" / "lock"
    path.parent.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), "flock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        remove_remains(path.parent)
        assert path.exists()
        process.communicate()
    remove_remains(path.parent)
    assert not path.parent.exists()
