"""The files of a journal, and their removal. Any other file in its folder is not touched."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from pathlib import Path

from sleap_infer.jobs.store.result_file import translated
from sleap_infer.system.files import PREFIX

JOB_FILE = "job.json"

CONTENT_FILE = "content.json"
"""Checksums of the content of videos."""

LABELS_FILE = "whole.slp"
"""Labels of all videos, while they are split into one file per video."""

LEASES = "claims"
"""Folder of the leases of a job that runs in shards."""

SKIPPED = "skipped"
"""Name of the result file with the frames that `merge --partial` marks as skipped."""

RESULT_FILES = re.compile(rf"(\d+|shard-\d+|ray-\d+-\d+|live|{SKIPPED})\.sqlite")
OWN = re.compile(
    rf"{RESULT_FILES.pattern}(-wal|-shm|-journal)?|{re.escape(JOB_FILE)}|{re.escape(LABELS_FILE)}|{re.escape(CONTENT_FILE)}"
)
LOCKS = re.compile(r"lock|(shard-\d+|making)\.lock")
OWN_LEASES = re.compile(r"\.?\d+-\d+\.(claim|done).*")


def is_result_file(path: Path) -> bool:
    """Return whether a file holds results.

    >>> [is_result_file(Path(name)) for name in ("0.sqlite", "shard-3.sqlite", "notes.sqlite", "0.sqlite-wal")]
    [True, True, False, False]
    """
    return RESULT_FILES.fullmatch(path.name) is not None


def is_own(item: Path) -> bool:
    """Return whether an item in a folder belongs to a journal, also to one that is half deleted.

    >>> [is_own(Path(name)) for name in ("0.sqlite", "shard-1.lock", "content.json", "notes.txt")]
    [True, True, True, False]
    """
    name = item.name
    if item.is_dir() and not item.is_symlink():
        return name.startswith(PREFIX) or (
            name == LEASES and all(OWN_LEASES.fullmatch(at.name) for at in item.iterdir())
        )
    return (OWN.fullmatch(name) or LOCKS.fullmatch(name)) is not None


def delete_own(path: Path, with_locks: bool = True) -> list[str]:
    """Remove the files of a journal, and its folder if nothing else is in it.

    `job.json` is removed first: a folder without it is not a journal, so a half deleted one is never read. Call this
    under the lock of the journal.

    Args:
        path: of the folder.
        with_locks: whether locks, and the folder, are removed too.

    Returns:
        Names of other files, which stay.

    Raises:
        OutputError: something cannot be removed.
    """
    with translated(path):
        (path / JOB_FILE).unlink(missing_ok=True)
        for item in sorted(path.iterdir()) if path.is_dir() else ():
            if item.is_dir() and item.name.startswith(PREFIX) and not item.is_symlink():
                shutil.rmtree(item)
            elif item.name == LEASES and item.is_dir():
                _delete_leases(item)
            elif OWN.fullmatch(item.name) or (with_locks and LOCKS.fullmatch(item.name)):
                item.unlink(missing_ok=True)
        if not with_locks or not path.is_dir():
            return []
        others = sorted(item.name for item in path.iterdir())
        with suppress(OSError):  # something else is in it, or another process begins there
            path.rmdir()
        return others


def _delete_leases(folder: Path) -> None:
    for item in folder.iterdir():
        if OWN_LEASES.fullmatch(item.name):
            item.unlink(missing_ok=True)
    with suppress(OSError):  # something else is in it
        folder.rmdir()
