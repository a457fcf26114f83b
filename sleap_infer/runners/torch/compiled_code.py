"""Where code that `torch.compile` makes is kept, and whether it is as it was made."""

from __future__ import annotations

import logging
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from sleap_infer.system.cache_directory import cache_directory, require_private
from sleap_infer.system.cache_entries import SUMS, add_sums, verify
from sleap_infer.system.digest import digest
from sleap_infer.system.machine import cpu_info

CODE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"

LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Variables that limit the instructions that PyTorch and oneDNN use."""

logger = logging.getLogger(__name__)


_lock = threading.Lock()
_before: list[str | None] = []
"""Earlier value of the variable, for each thread that is compiling."""


def check_code_directory() -> None:
    """Check the directory of compiled code: the user's, or ours, whose damaged files are removed and made again.

    Code is for one kind of CPU: each kind, and each limit of its instructions, has a directory of its own.

    Raises:
        CacheError: other users may write there.
    """
    own = _own_directory()
    if named := _named_directory():
        require_private(named, CODE_VARIABLE)
        return
    require_private(own)
    wrong = verify(own, own.with_name(f"{own.name}.{SUMS}"))
    if wrong:
        logger.warning("compiled code in %s is damaged (%s): it is made again", own, "; ".join(wrong[:3]))


@contextmanager
def in_code_directory() -> Iterator[None]:
    """Have PyTorch compile to our directory, unless the user set another. The environment is restored afterwards."""
    if _named_directory():
        yield
        return
    with _lock:
        _before.append(os.environ.get(CODE_VARIABLE))
        os.environ[CODE_VARIABLE] = str(_own_directory())
    try:
        yield
    finally:
        with _lock:
            before = _before.pop()
            if before is None:
                os.environ.pop(CODE_VARIABLE, None)


def seal_code() -> None:
    """Note the checksums of compiled code in our directory."""
    own = _own_directory()
    if not _named_directory():
        add_sums(own, own.with_name(f"{own.name}.{SUMS}"))


def _own_directory() -> Path:
    return cache_directory("compiled") / f"cpu-{cpu_key()}"


def _named_directory() -> Path | None:
    """Return the directory that the user set, if it is another than ours."""
    named = os.environ.get(CODE_VARIABLE)
    return Path(named) if named and Path(named) != _own_directory() else None


@cache
def cpu_key() -> str:
    """Return a short name of this CPU's instructions, and of the variables that limit them."""
    lines = (cpu_info() or platform.processor()).splitlines()
    about = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    limits = [os.environ.get(name, "") for name in LIMITS]
    return digest([platform.machine(), *about, *limits], 12)
