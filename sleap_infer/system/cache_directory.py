"""The cache directory, and whether what is in it can be trusted."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from sleap_infer.errors import CacheError

CACHE_VARIABLE = "SLEAP_INFER_CACHE"
TRUST_VARIABLE = "SLEAP_INFER_TRUST_CACHE"
"""Set to 1, the owners and modes of cache directories are not checked."""

KINDS: Mapping[str, str] = {
    "choices": "backends that were measured to be fastest",
    "graphs": "exported models",
    "engines": "TensorRT engines",
    "compiled": "code of torch_compile",
}
"""Folders of the cache directory, and what is in them."""

ROOT, UNKNOWN = 0, 65534
"""User ids of root, and of owners that do not exist inside a user namespace (rootless containers)."""


def cache_directory(kind: str | None = None) -> Path:
    """Return the cache directory: `$SLEAP_INFER_CACHE`, else `~/.cache/sleap_infer`.

    Args:
        kind: one of `KINDS`, for its folder.
    """
    named = os.environ.get(CACHE_VARIABLE)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sleap_infer"
    place = Path(named).expanduser() if named else base
    return place / kind if kind else place


def state_directory() -> Path:
    """Return the folder for details of unexpected errors.

    It is `sleap_infer` in `$XDG_STATE_HOME` (`~/.local/state`), on macOS in `~/Library/Logs`, on Windows in
    `%LOCALAPPDATA%`.
    """
    named = os.environ.get("XDG_STATE_HOME")
    if named:
        return Path(named).expanduser() / "sleap_infer"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "sleap_infer"
    home = Path.home()
    return home / "Library" / "Logs" / "sleap_infer" if sys.platform == "darwin" else home / ".local/state/sleap_infer"


def kept() -> dict[str, list[Path]]:
    """Return the cache entries of each kind."""
    places = {kind: cache_directory(kind) for kind in KINDS}
    return {kind: sorted(place.iterdir()) if place.is_dir() else [] for kind, place in places.items()}


def private_directory(kind: str) -> Path:
    """Return a folder of the cache that only this user may write; make it if it is missing.

    Raises:
        CacheError: other users may write there.
        OSError: it cannot be made.
    """
    folder = cache_directory(kind)
    require_private(folder)
    make_private(folder)
    return folder


def make_private(folder: Path) -> None:
    """Make a folder, and the missing ones above it, that only this user may open.

    Raises:
        OSError: it cannot be made.
    """
    for path in (*reversed(folder.parents), folder):
        if not path.exists():
            path.mkdir(mode=0o700, exist_ok=True)


def is_private(folder: Path) -> bool:
    """Whether no other user may change what is in a folder, or the user trusts those that may."""
    return os.environ.get(TRUST_VARIABLE) == "1" or find_writers(folder) is None


def require_private(folder: Path, variable: str = CACHE_VARIABLE) -> None:
    """Check that no other user may change what is in a folder, as code and models are loaded from it.

    Args:
        folder: with its parents; those that do not exist are passed over.
        variable: environment variable that sets the folder.

    Raises:
        CacheError: another user may.
    """
    found = None if os.environ.get(TRUST_VARIABLE) == "1" else find_writers(folder)
    if found is not None:
        path, reason = found
        own = "chmod go-w" if "owner" not in reason else f"chown -R {os.geteuid()}"
        raise CacheError(
            f"The cache {folder} is not used: {path} {reason}, and code is loaded from the cache. Run: {own} "
            f"{shlex.quote(str(path))}, or set {variable} to a directory of your own. If you trust everybody who may "
            f"write there, set {TRUST_VARIABLE}=1."
        )


def find_writers(folder: Path) -> tuple[Path, str] | None:
    """Return the first of a folder and its parents that another user may change, and why; `None` if there is none.

    Directories of root are fine, and so are parents with the sticky bit (`/tmp`), in which nobody can replace what
    belongs to another user. So is a group that consists of this user only, as many systems give everybody. A parent
    whose owner does not exist in this user namespace counts as root's. On Windows nothing is checked.
    """
    if os.name != "posix":
        return None
    leaves = dict.fromkeys((folder.resolve(), folder.absolute()))  # both where a link leads and where it is
    paths = dict.fromkeys(path for leaf in leaves for path in (leaf, *leaf.parents))
    for path in paths:
        try:
            found = path.stat()
        except OSError:  # not there, or nobody's business but its owner's
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
    """Whether a group has the name of this user and no other member. Never for root, whose group containers share."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    is_own = gid == user.pw_gid and group.gr_name == user.pw_name
    return user.pw_uid != ROOT and is_own and set(group.gr_mem) <= {user.pw_name}
