"""How many processor cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path

CORES_VARIABLE = "SLEAP_INFER_CORES"
"""Environment variable that limits the cores further, for whoever shares them out."""

QUOTA_FILE = Path("/sys/fs/cgroup/cpu.max")


def available_cores() -> int:
    """Cores that this process may run on: what its affinity (SLURM, taskset) and its quota (containers) leave, and
    `$SLEAP_INFER_CORES`, where it is set.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    limit = os.environ.get(CORES_VARIABLE, "")
    if limit.isdigit() and int(limit):
        count = min(count, int(limit))
    try:
        quota = QUOTA_FILE.read_text(encoding="ascii")
    except OSError:
        return count
    return max(1, min(count, read_quota(quota)))


def read_quota(text: str) -> int:
    """Whole cores in the words of Linux' `cpu.max`: microseconds of work in each period, or "max".

    >>> read_quota("250000 100000"), read_quota("50000 100000"), read_quota("max 100000") > 1000
    (2, 1, True)
    """
    work, _, period = text.partition(" ")
    if not work.isdigit() or not period.strip().isdigit():
        return 1 << 20
    return max(1, int(work) // int(period))
