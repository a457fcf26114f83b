"""Facts about the machine and this process: CPU cores, CPU model, memory."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

CORES_VARIABLE = "SLEAP_INFER_CORES"
"""Environment variable that limits the cores further, for a program that runs several processes."""

QUOTA_FILE = Path("/sys/fs/cgroup/cpu.max")
CPU_FILE = Path("/proc/cpuinfo")
STATUS_FILE = Path("/proc/self/status")


def available_cores() -> int:
    """Return the number of cores that this process may use.

    Limits are its affinity (SLURM, taskset), the quota of its container, and `$SLEAP_INFER_CORES`.
    """
    affinity = core_affinity()
    count = len(affinity) if affinity else os.cpu_count() or 1
    limit = os.environ.get(CORES_VARIABLE, "")
    if limit.isdigit() and int(limit):
        count = min(count, int(limit))
    try:
        quota = QUOTA_FILE.read_text(encoding="ascii")
    except OSError:
        return count
    return max(1, min(count, read_quota(quota)))


def core_affinity() -> tuple[int, ...] | None:
    """Return the numbers of the cores on which this process may run; `None` on systems without affinity (macOS)."""
    process = _process()
    return tuple(sorted(process.cpu_affinity())) if hasattr(process, "cpu_affinity") else None


def set_core_affinity(cores: tuple[int, ...]) -> None:
    """Run this process on some cores only, on systems with affinity."""
    process = _process()
    if hasattr(process, "cpu_affinity"):
        process.cpu_affinity(list(cores))


def read_quota(text: str) -> int:
    """Return the whole cores that Linux' `cpu.max` allows: microseconds of work in each period, or "max".

    >>> read_quota("250000 100000"), read_quota("50000 100000"), read_quota("max 100000") > 1000
    (2, 1, True)
    """
    work, _, period = text.partition(" ")
    if not work.isdigit() or not period.strip().isdigit():
        return 1 << 20
    return max(1, int(work) // int(period))


def cpu_info() -> str:
    """Return Linux' description of all CPUs; empty on other systems."""
    try:
        return CPU_FILE.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def cpu_name() -> str:
    """Return the name of the CPU model."""
    found = re.search(r"^model name\s*: *(.*?) *$", cpu_info(), re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def total_memory_gb() -> float:
    """Return the memory of the machine in 10^9 bytes."""
    import psutil

    return round(psutil.virtual_memory().total / 1e9, 1)


def resident_bytes() -> int:
    """Return the resident memory of this process, in bytes."""
    return int(_process().memory_info().rss)


def peak_memory_mb() -> float | None:
    """Return the peak resident memory of this process so far, in 10^6 bytes; `None` if it is not known."""
    if sys.platform == "win32":
        return float(_process().memory_info().peak_wset / 1e6)
    if sys.platform == "linux":
        # getrusage also counts the process that started this one, before it became another program.
        return read_peak_mb(STATUS_FILE.read_text(encoding="utf-8"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def read_peak_mb(text: str) -> float | None:
    r"""Return the peak memory in the text of Linux' `/proc/self/status`, in 10^6 bytes.

    >>> read_peak_mb("Name: python\nVmHWM:\t  250000 kB\n")
    256.0
    """
    found = re.search(r"^VmHWM:\s*(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else None


def busy_seconds_of_others() -> float | None:
    """Return the CPU time, in seconds, that other processes than this one and its children used since the start.

    `None` on Windows, which does not add up the time of children that ended.
    """
    if sys.platform == "win32":
        return None
    import psutil

    times = psutil.cpu_times()._asdict()
    busy = sum(seconds for name, seconds in times.items() if name not in ("idle", "iowait", "guest", "guest_nice"))
    return float(busy - sum(os.times()[:4]))


def _process() -> Any:
    import psutil  # here, so that commands without models start quickly

    return psutil.Process()
