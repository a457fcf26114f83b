"""Find users who may change a file, from owners, groups and modes of POSIX."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import sys
from pathlib import Path

assert sys.platform != "win32"

ROOT, UNKNOWN = 0, 65534
"""User ids of root, and of owners that do not exist in a user namespace (rootless containers)."""


def find_writers(folder: Path) -> tuple[Path, str] | None:
    """Return the first of a folder and its parents that another user may change, and why; `None` if there is none.

    Directories of root are accepted, and parents with the sticky bit (`/tmp`), in which nobody can replace files of
    another user. A group without other members is accepted too: many systems give each user such a group. A parent
    whose owner does not exist in this user namespace counts as root's.
    """
    leaves = dict.fromkeys((folder.resolve(), folder.absolute()))  # both the target of a link and the link
    paths = dict.fromkeys(path for leaf in leaves for path in (leaf, *leaf.parents))
    for path in paths:
        try:
            found = path.stat()
        except OSError:  # missing, or not readable
            continue
        reason = _writers(found, path in leaves)
        if reason:
            return path, reason
    return None


def _writers(found: os.stat_result, is_leaf: bool) -> str:
    trusted = {ROOT, os.geteuid()} | (set() if is_leaf else {UNKNOWN})
    if found.st_uid not in trusted:
        return f"has another owner (user id {found.st_uid})"
    if not is_leaf and found.st_mode & stat.S_ISVTX:
        return ""
    if found.st_mode & stat.S_IWOTH:
        return f"may be written by everybody (mode {stat.S_IMODE(found.st_mode):o})"
    if found.st_mode & stat.S_IWGRP and not _is_own_group(found.st_gid):
        return f"may be written by its group (mode {stat.S_IMODE(found.st_mode):o})"
    return ""


def _is_own_group(gid: int) -> bool:
    """Return whether a group has the name of this user and no other member. Root's group is shared in containers."""
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    is_own = gid == user.pw_gid and group.gr_name == user.pw_name
    return user.pw_uid != ROOT and is_own and set(group.gr_mem) <= {user.pw_name}
