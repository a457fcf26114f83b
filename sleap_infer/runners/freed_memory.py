"""What becomes of memory that a network frees: it is kept, since the next image wants as much.

GNU's C library gives large blocks back to the system and asks for new ones, which the system empties page by page: with
PyTorch on a CPU, which has no memory of its own, up to a fifth of the time. Runtimes of graphs have theirs.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Any

MIB = 1 << 20

SETTINGS = {-3: 32 * MIB, -1: 128 * MIB, -2: 64 * MIB}
"""Numbers of glibc's `mallopt` and their values. M_MMAP_THRESHOLD: blocks up to here come out of what is kept (more,
and threads that share it tear it to pieces). M_TRIM_THRESHOLD: so much may lie free at the end of a heap. M_TOP_PAD:
heaps, which have 64 MiB at most, are kept when they are empty."""

VARIABLES, TUNABLES, OF_MALLOC = "MALLOC_", "GLIBC_TUNABLES", "glibc.malloc."
"""How variables of the environment begin that say otherwise; another one, and how what is meant begins in it."""


def keep_freed_memory() -> bool:
    """Have this process keep the memory that it frees, up to what it ever needed at once.

    Returns:
        Whether it does; not with other C libraries, and not where the environment says what is to be done.
    """
    if any(name.startswith(VARIABLES) for name in os.environ) or OF_MALLOC in os.environ.get(TUNABLES, ""):
        return False
    library = _c_library()
    return library is not None and all([library.mallopt(number, value) for number, value in SETTINGS.items()])


def give_freed_memory_back() -> None:
    """Give what this process keeps, and nobody uses, back to the system."""
    library = _c_library()
    if library is not None:
        library.malloc_trim(0)


@cache
def _c_library() -> Any:
    """GNU's, if it is the one that Python runs on."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
