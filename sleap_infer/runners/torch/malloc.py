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

M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD = -3, -1, -2
"""Settings of glibc's `mallopt`, by their numbers in `malloc.h`."""

SETTINGS = {M_MMAP_THRESHOLD: 32 * MIB, M_TRIM_THRESHOLD: 128 * MIB, M_TOP_PAD: 64 * MIB}
"""Blocks up to the first come out of what is kept (more, and threads that share it tear it to pieces); so much as the
second may lie free at the end of a heap; heaps, which have 64 MiB at most, are kept when they are empty."""

MALLOC_VARIABLES = "MALLOC_"
"""What names of environment variables begin with that set up glibc's `malloc`."""

GLIBC_TUNABLES, MALLOC_TUNABLES = "GLIBC_TUNABLES", "glibc.malloc."
"""The variable for all of glibc, and what the names in it begin with that are of `malloc`."""


def keep_freed_memory() -> bool:
    """Have this process keep the memory that it frees, up to what it ever needed at once.

    Returns:
        Whether it does; not with other C libraries, and not where the environment sets up the library's `malloc`.
    """
    if _is_set_up_by_environment():
        return False
    library = _c_library()
    return library is not None and all([library.mallopt(number, value) for number, value in SETTINGS.items()])


def give_freed_memory_back() -> None:
    """Give what this process keeps, and nobody uses, back to the system."""
    library = _c_library()
    if library is not None:
        library.malloc_trim(0)


def _is_set_up_by_environment() -> bool:
    """Whether somebody said how memory is to be handled."""
    variables = any(name.startswith(MALLOC_VARIABLES) for name in os.environ)
    return variables or MALLOC_TUNABLES in os.environ.get(GLIBC_TUNABLES, "")


@cache
def _c_library() -> Any:
    """GNU's, if it is the one that Python runs on."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
