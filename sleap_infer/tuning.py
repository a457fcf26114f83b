"""Settings of the whole process that make inference faster. A library does not change them unless it is asked to.

GNU's C library returns large freed blocks to the operating system and requests new ones, which the system clears page
by page: with PyTorch on a CPU, which has no memory pool, this takes up to a fifth of the time. Other runtimes have
pools. Threads of GNU's OpenMP, which PyTorch uses on CPUs, busy-wait by default and take cores from decoding.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Any

MIB = 1 << 20

M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD = -3, -1, -2
"""Parameters of glibc's `mallopt`, by their numbers in `malloc.h`."""

SETTINGS = {M_MMAP_THRESHOLD: 32 * MIB, M_TRIM_THRESHOLD: 128 * MIB, M_TOP_PAD: 64 * MIB}
"""Serve blocks up to 32 MiB from the heap (larger limits fragment it); keep up to 128 MiB free at its top; grow it in
steps of 64 MiB, the size of a thread's heap, so that empty heaps are kept."""

MALLOC_VARIABLES = "MALLOC_"
"""Prefix of the environment variables that configure glibc's `malloc`."""

GLIBC_TUNABLES, MALLOC_TUNABLES = "GLIBC_TUNABLES", "glibc.malloc."
"""The variable for all of glibc, and the prefix of the names in it that configure `malloc`."""

SPIN_VARIABLE, SPINS = "GOMP_SPINCOUNT", "1000"
"""Number of iterations for which a thread of GNU's OpenMP busy-waits; read when PyTorch is imported."""


@cache
def tune_process() -> tuple[str, ...]:
    """Change settings of this process so that inference on CPUs is faster.

    Two settings are changed, unless the environment sets them already. `sleap-infer` and its worker processes call
    this function. In your own program, call it once before PyTorch is imported; further calls change nothing.

    * The environment variable `GOMP_SPINCOUNT` (inherited by child processes): threads of PyTorch sleep soon after
      their work is done. Not changed if PyTorch is imported already, because it has no effect then.
    * With GNU's C library, `mallopt`: the process retains up to 128 MiB of freed memory at the top of each heap, until
      a predictor that runs PyTorch is closed. Not changed if a variable `MALLOC_...` is set.

    Returns:
        A line for each setting that was changed.

    >>> tune_process() == tune_process()
    True
    """
    changed = []
    if "torch" not in sys.modules and SPIN_VARIABLE not in os.environ:
        os.environ[SPIN_VARIABLE] = SPINS
        changed.append(f"{SPIN_VARIABLE}={SPINS}: threads of PyTorch sleep when they have no work")
    library = None if _is_malloc_configured() else _c_library()
    if library is not None and all([library.mallopt(number, value) for number, value in SETTINGS.items()]):
        changed.append(f"mallopt: up to {SETTINGS[M_TRIM_THRESHOLD] // MIB} MiB of freed memory are retained per heap")
    return tuple(changed)


def return_freed_memory() -> None:
    """Return memory that `tune_process` made this process retain to the system. Without that call, do nothing."""
    library = _c_library() if tune_process.cache_info().currsize else None
    if library is not None:
        library.malloc_trim(0)


def _is_malloc_configured() -> bool:
    """Return whether the environment configures glibc's `malloc`."""
    variables = any(name.startswith(MALLOC_VARIABLES) for name in os.environ)
    return variables or MALLOC_TUNABLES in os.environ.get(GLIBC_TUNABLES, "")


@cache
def _c_library() -> Any:
    """Return GNU's C library, if Python runs on it."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
