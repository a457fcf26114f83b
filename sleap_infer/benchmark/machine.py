"""What a benchmark was made on: the machine, the versions, and how busy others kept its cores."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from attrs import field, frozen

from sleap_infer.doctor.driver import ask_driver
from sleap_infer.doctor.machine import Machine

PACKAGES = (
    "sleap-infer",
    "torch",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "av",
    "sleap-io",
)
FLAGS = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "asimdhp",
    "i8mm",
    "bf16",
    "sve",
)
"""Of processors, those that networks in lower precision have use for. What is not listed here is not recorded."""

VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "GLIBC_TUNABLES",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
)
"""Of the environment, those that decide about speed."""

CPU_FILE, LOAD_FILE = Path("/proc/cpuinfo"), Path("/proc/stat")


@frozen
class MachineFacts:
    """The machine of a benchmark.

    Attributes:
        os: name and version.
        python: version.
        cpu: name.
        cores: that the process may use.
        memory_gb: of the machine; `None` if unknown.
        flags: of the processor, those of `FLAGS`.
        gpus: names of the NVIDIA GPUs.
        driver: version of the NVIDIA driver; empty if there is none.
        environment: variables of `VARIABLES` that are set.
    """

    os: str
    python: str
    cpu: str
    cores: int
    memory_gb: float | None = None
    flags: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    driver: str = ""
    environment: dict[str, str] = field(factory=dict)

    @classmethod
    def read(cls) -> MachineFacts:
        """The machine that this runs on."""
        machine = Machine.read(ask_driver())
        return cls(
            os=machine.os,
            python=machine.python,
            cpu=machine.cpu,
            cores=machine.cores,
            memory_gb=machine.memory_gb,
            flags=read_flags(_text(CPU_FILE)),
            gpus=tuple(gpu.name for gpu in machine.gpus),
            driver=machine.driver,
            environment={name: os.environ[name] for name in VARIABLES if name in os.environ},
        )


def read_flags(text: str) -> tuple[str, ...]:
    r"""Flags of a processor in the words of `/proc/cpuinfo`, those of `FLAGS`.

    >>> read_flags("model name : x\nflags : fpu avx512_vnni avx2\n")
    ('avx2', 'avx512_vnni')
    """
    lines = (line.partition(":") for line in text.splitlines())
    words = next((value.split() for name, _, value in lines if name.strip() in ("flags", "Features")), [])
    return tuple(flag for flag in FLAGS if flag in words)


def package_versions() -> dict[str, str]:
    """Versions of the packages that matter for speed, of those that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def others_seconds() -> float | None:
    """Seconds of all cores so far that went to other processes than this one and those that it started.

    `None` where that is not known. Linux only.
    """
    text = _text(LOAD_FILE)
    if not text:
        return None
    user, nice, system, _, _, *rest = map(int, text.split("\n")[0].split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
