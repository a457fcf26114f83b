"""Which files a journal consists of, and how they are removed: anything else in its folder belongs to somebody else."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from pathlib import Path

from sleap_infer.jobs.store.shard import translated
from sleap_infer.system.files import PREFIX

JOB_FILE = "job.json"

CONTENT_FILE = "content.json"
"""What is noted of the content of videos."""

LABELS_FILE = "whole.slp"
"""Labels of all videos, while files of one video each are made of them."""

CLAIMS = "claims"
"""Folder of the claims of jobs that are shared."""

SKIPPED = "skipped"
"""Shard of the frames that `merge --partial` marks as skipped."""

SHARDS = re.compile(rf"(\d+|shard-\d+|ray-\d+-\d+|live|{SKIPPED})\.sqlite")
OWN = re.compile(
    rf"{SHARDS.pattern}(-wal|-shm|-journal)?|{re.escape(JOB_FILE)}|{re.escape(LABELS_FILE)}|{re.escape(CONTENT_FILE)}"
)
LOCKS = re.compile(r"lock|(shard-\d+|making)\.lock")
OWN_CLAIMS = re.compile(r"\.?\d+-\d+\.(claim|done).*")


def is_shard(path: Path) -> bool:
    """Whether a file holds results.

    >>> [is_shard(Path(name)) for name in ("0.sqlite", "shard-3.sqlite", "notes.sqlite", "0.sqlite-wal")]
    [True, True, False, False]
    """
    return SHARDS.fullmatch(path.name) is not None


def is_own(item: Path) -> bool:
    """Whether something in the folder of a journal is of the journal, also of one that is half deleted.

    >>> [is_own(Path(name)) for name in ("0.sqlite", "shard-1.lock", "content.json", "notes.txt")]
    [True, True, True, False]
    """
    name = item.name
    if item.is_dir() and not item.is_symlink():
        return name.startswith(PREFIX) or (
            name == CLAIMS and all(OWN_CLAIMS.fullmatch(at.name) for at in item.iterdir())
        )
    return (OWN.fullmatch(name) or LOCKS.fullmatch(name)) is not None


def delete_own(path: Path, with_locks: bool = True) -> list[str]:
    """Remove what a journal consists of, and its folder if nothing else is in it.

    `job.json` goes first: a folder without it is no journal, so that nothing is believed that is half deleted. Call
    this under the lock of the journal.

    Args:
        path: of the folder.
        with_locks: whether locks, and the folder, are removed too.

    Returns:
        Names of what stays, since it is not of a journal.

    Raises:
        OutputError: something cannot be removed.
    """
    with translated(path):
        (path / JOB_FILE).unlink(missing_ok=True)
        for item in sorted(path.iterdir()) if path.is_dir() else ():
            if item.is_dir() and item.name.startswith(PREFIX) and not item.is_symlink():
                shutil.rmtree(item)
            elif item.name == CLAIMS and item.is_dir():
                _delete_claims(item)
            elif OWN.fullmatch(item.name) or (with_locks and LOCKS.fullmatch(item.name)):
                item.unlink(missing_ok=True)
        if not with_locks or not path.is_dir():
            return []
        foreign = sorted(item.name for item in path.iterdir())
        with suppress(OSError):  # something else is in it, or another process begins there
            path.rmdir()
        return foreign


def _delete_claims(folder: Path) -> None:
    for item in folder.iterdir():
        if OWN_CLAIMS.fullmatch(item.name):
            item.unlink(missing_ok=True)
    with suppress(OSError):  # something else is in it
        folder.rmdir()
