"""Peak memory of a process on the host, and memory in use on an NVIDIA GPU."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from sleap_infer.system.child_process import ask

STATUS_FILE = Path("/proc/self/status")
VISIBLE = "CUDA_VISIBLE_DEVICES"
PATIENCE_S = 30


def host_peak_mb() -> float | None:
    """Return the peak memory of this process so far, in MB (10^6 bytes); `None` where it is unknown."""
    try:
        # getrusage also counts the parent process, as it was before `exec`.
        return read_peak_mb(STATUS_FILE.read_text(encoding="utf-8"))
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def read_peak_mb(text: str) -> float | None:
    r"""Return the peak memory, in MB (10^6 bytes), in the text of Linux' `/proc/self/status`.

    >>> read_peak_mb("Name: python\nVmHWM:\t  250000 kB\n")
    256.0
    """
    found = re.search(r"^VmHWM:\s*(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else None


def device_used_mb(device: str) -> float | None:
    """Return the memory that all processes use on an NVIDIA GPU, in MB (10^6 bytes).

    Args:
        device: such as `"cuda:0"`.

    Returns:
        The value of `nvidia-smi`; `None` for other devices and without `nvidia-smi`.
    """
    program = shutil.which("nvidia-smi")
    if program is None or not device.startswith("cuda"):
        return None
    command = [program, f"--id={driver_index(device)}", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        answer = ask(command, PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    word = answer.stdout.strip()
    return int(word) * 1024 * 1024 / 1e6 if answer.returncode == 0 and word.isdigit() else None


def driver_index(device: str) -> str:
    """Return the driver's name of the GPU `cuda:N`: CUDA_VISIBLE_DEVICES may hide or reorder GPUs."""
    index = int(device.partition(",")[0].partition(":")[2] or 0)
    visible = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    return visible[index] if index < len(visible) else str(index)
