"""Where code that `torch.compile` makes is kept, and whether it is as it was made."""

from __future__ import annotations

import logging
import os
import platform
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


def use_code_directory() -> None:
    """Set where compiled code is kept, unless the user did, and check it. Damaged files are removed, and made again.

    Code is for one kind of CPU: each kind, and each limit of its instructions, has a folder of its own.

    Raises:
        CacheError: other users may write there.
    """
    named = os.environ.get(CODE_VARIABLE)
    own = cache_directory("compiled") / f"cpu-{cpu_key()}"
    if named and Path(named) != own:
        require_private(Path(named), CODE_VARIABLE)
        return
    require_private(own)
    os.environ[CODE_VARIABLE] = str(own)
    wrong = verify(own, own.with_name(f"{own.name}.{SUMS}"))
    if wrong:
        logger.warning("compiled code in %s is damaged (%s): it is made again", own, "; ".join(wrong[:3]))


def seal_code() -> None:
    """Note the checksums of compiled code, where it lies in the cache directory."""
    own = cache_directory("compiled") / f"cpu-{cpu_key()}"
    if os.environ.get(CODE_VARIABLE) == str(own):
        add_sums(own, own.with_name(f"{own.name}.{SUMS}"))


@cache
def cpu_key() -> str:
    """Return a short name of this CPU's instructions, and of the variables that limit them."""
    lines = (cpu_info() or platform.processor()).splitlines()
    about = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    limits = [os.environ.get(name, "") for name in LIMITS]
    return digest([platform.machine(), *about, *limits], 12)
