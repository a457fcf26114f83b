"""Where things are kept that can be made again."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

CACHE_VARIABLE = "SLEAP_INFER_CACHE"

KINDS: Mapping[str, str] = {
    "choices": "backends that were measured to be fastest",
    "graphs": "exported models",
    "engines": "TensorRT engines",
    "compiled": "code of torch_compile",
}
"""Folders of the cache directory, and what is in them."""


def cache_directory(kind: str | None = None) -> Path:
    """Where such things are kept: `$SLEAP_INFER_CACHE`, else `~/.cache/sleap_infer`.

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
    """What is there of each kind."""
    places = {kind: cache_directory(kind) for kind in KINDS}
    return {kind: sorted(place.iterdir()) if place.is_dir() else [] for kind, place in places.items()}
