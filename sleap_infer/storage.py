"""Where things are kept that can be made again."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "SLEAP_INFER_CACHE"


def cache_directory() -> Path:
    """Where graphs, engines and compiled code are kept: `$SLEAP_INFER_CACHE`, else `~/.cache/sleap_infer`."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sleap_infer"
