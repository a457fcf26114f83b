"""Memory in use on an NVIDIA GPU."""

from __future__ import annotations

import os
import shutil
import subprocess

from sleap_infer.system.child_process import ask

VISIBLE = "CUDA_VISIBLE_DEVICES"
PATIENCE_S = 30


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
