"""Query the NVIDIA driver through its own library and program, without other packages."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from sleap_infer.system.child_process import ask

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
MAJOR, MINOR = 75, 76
"""CUDA's identifiers of the two attributes that make up the compute capability."""

VISIBLE = "CUDA_VISIBLE_DEVICES"
TIMEOUT_S = 30
NVIDIA, DISPLAY = "0x10de", "0x03"
"""A vendor, and how the class of a display or compute card begins, on the PCI bus."""


def ask_driver() -> dict[str, Any]:
    """Query the driver.

    Returns:
        `gpus` that CUDA can use, newest `cuda` version, version of the `driver`, and `error`: one line for each failed
        query.
    """
    found: dict[str, Any] = {"gpus": [], "cuda": "", "driver": "", "error": ""}
    errors = [_ask_library(found), _ask_program(found)]
    if not found["gpus"]:
        errors += [f"{VISIBLE}={os.environ[VISIBLE]!r}"] if VISIBLE in os.environ else []
        errors += ["PCI bus: a card of NVIDIA"] if has_card() else []
    found["error"] = "\n".join(error for error in errors if error)
    return found


def has_card(bus: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Return whether the machine has an NVIDIA card, working or not. Linux only."""
    return any(_word(item / "vendor") == NVIDIA and _word(item / "class").startswith(DISPLAY) for item in bus.glob("*"))


def _word(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _ask_library(found: dict[str, Any]) -> str:
    try:
        cuda = ctypes.CDLL(LIBRARY)
    except OSError as error:
        return f"{LIBRARY}: {error}"
    number = ctypes.c_int()
    if cuda.cuDriverGetVersion(ctypes.byref(number)) == 0:
        found["cuda"] = f"{number.value // 1000}.{number.value % 1000 // 10}"
    result = cuda.cuInit(0)
    if result == 0:
        result = cuda.cuDeviceGetCount(ctypes.byref(number))
    if result != 0:
        return f"{LIBRARY}: CUDA error {result}"
    found["gpus"] = [_describe(cuda, index) for index in range(number.value)]
    return "" if found["gpus"] else f"{LIBRARY}: no device"


def _describe(cuda: Any, index: int) -> dict[str, Any]:
    device, size, name = ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(256)
    major, minor = ctypes.c_int(), ctypes.c_int()
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), MAJOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), MINOR, device)
    return {
        "name": name.value.decode(errors="replace"),
        "memory_gb": round(size.value / 1e9, 1),
        "capability": major.value + minor.value / 10,
    }


def _ask_program(found: dict[str, Any]) -> str:
    program = shutil.which("nvidia-smi")
    if program is None:  # as in containers with CUDA only
        module = re.search(r"Kernel Module.*?(\d+\.[\d.]+)", _word(Path("/proc/driver/nvidia/version")))
        found["driver"] = module[1] if module else ""
        return ""
    command = [program, "--query-gpu=driver_version,name", "--format=csv,noheader"]
    try:
        answer = ask(command, TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi: {error}"
    if answer.returncode:
        return f"nvidia-smi: {(answer.stdout + answer.stderr).strip()}"
    found["driver"] = answer.stdout.partition(",")[0].strip()
    return "" if found["gpus"] else f"nvidia-smi lists: {answer.stdout.strip()}"
