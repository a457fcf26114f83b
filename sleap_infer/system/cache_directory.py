"""The cache directory, and the check that no other user can write to it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from sleap_infer.errors import CacheError

CACHE_VARIABLE = "SLEAP_INFER_CACHE"
TRUST_VARIABLE = "SLEAP_INFER_TRUST_CACHE"
"""Environment variable: with 1, owners and modes of cache directories are not checked."""

KINDS: Mapping[str, str] = {
    "choices": "backends that were measured to be fastest",
    "graphs": "exported models",
    "mnn": "networks converted for MNN",
    "engines": "TensorRT engines",
    "compiled": "code of torch_compile",
}
"""Folders of the cache directory, and their content."""


def cache_directory(kind: str | None = None) -> Path:
    """Return the cache directory: `$SLEAP_INFER_CACHE`, else that of the system (Linux: `~/.cache/sleap_infer`).

    Args:
        kind: one of `KINDS`, to return its folder.
    """
    import platformdirs  # here, so that commands without a cache start quickly

    named = os.environ.get(CACHE_VARIABLE)
    folder = Path(named).expanduser() if named else platformdirs.user_cache_path("sleap_infer", appauthor=False)
    return folder / kind if kind else folder


def state_directory() -> Path:
    """Return the folder for details of unexpected errors (Linux: `~/.local/state/sleap_infer`)."""
    import platformdirs

    if sys.platform == "linux":
        return platformdirs.user_state_path("sleap_infer")
    return platformdirs.user_log_path("sleap_infer", appauthor=False)


def cached() -> dict[str, list[Path]]:
    """Return the cache entries of each kind."""
    folders = {kind: cache_directory(kind) for kind in KINDS}
    return {kind: sorted(folder.iterdir()) if folder.is_dir() else [] for kind, folder in folders.items()}


def private_directory(kind: str) -> Path:
    """Return a folder of the cache that only this user may write; create it if it is missing.

    Raises:
        CacheError: other users may write there.
        OSError: it cannot be created.
    """
    folder = cache_directory(kind)
    require_private(folder)
    make_private(folder)
    return folder


def make_private(folder: Path) -> None:
    """Create a folder and its missing parents, so that only this user may open them.

    Raises:
        OSError: it cannot be created.
    """
    for path in (*reversed(folder.parents), folder):
        if not path.exists():
            path.mkdir(mode=0o700, exist_ok=True)


def is_private(folder: Path) -> bool:
    """Return whether no other user may change the content of a folder, or the user trusts those who may."""
    return os.environ.get(TRUST_VARIABLE) == "1" or find_writers(folder) is None


def require_private(folder: Path, variable: str = CACHE_VARIABLE) -> None:
    """Check that no other user may change the content of a folder, because code and models are loaded from it.

    Args:
        folder: checked together with its parents; missing ones are skipped.
        variable: environment variable that sets the folder.

    Raises:
        CacheError: another user may.
    """
    found = None if os.environ.get(TRUST_VARIABLE) == "1" else find_writers(folder)
    if sys.platform != "win32" and found is not None:
        path, reason = found
        own = "chmod go-w" if "owner" not in reason else f"chown -R {os.geteuid()}"
        raise CacheError(
            f"The cache {folder} is not used: {path} {reason}, and code is loaded from the cache. Run: {own} "
            f"{shlex.quote(str(path))}, or set {variable} to a directory of your own. If you trust everybody who may "
            f"write there, set {TRUST_VARIABLE}=1."
        )


def find_writers(folder: Path) -> tuple[Path, str] | None:
    """Return the first of a folder and its parents that another user may change, and why; `None` if there is none.

    On Windows, where the default cache directory is open to its user alone, nothing is checked.
    """
    if sys.platform == "win32":
        return None
    from sleap_infer.system import file_owners

    return file_owners.find_writers(folder)
