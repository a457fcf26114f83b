"""Facts of the machine of a benchmark: hardware, package versions, and the load of other processes."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version

from attrs import field, frozen

from sleap_infer.doctor.driver import ask_driver
from sleap_infer.doctor.machine import Machine
from sleap_infer.runners.registry import packages
from sleap_infer.system.machine import cpu_info

PACKAGES = (
    "sleap-infer",
    "torch",
    "onnxruntime",
    "onnxruntime-gpu",
    "MNN",
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
"""CPU flags that matter for networks in reduced precision; no others are recorded."""

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
"""Environment variables that affect speed."""


@frozen
class MachineFacts:
    """The machine of a benchmark.

    Attributes:
        os: name and version of the operating system.
        python: version of Python.
        cpu: name of the CPU.
        cores: number of cores that the process may use.
        memory_gb: memory of the machine; `None` if unknown.
        flags: CPU flags, those in `FLAGS`.
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
        """Return the facts of this machine."""
        machine = Machine.read(ask_driver())
        return cls(
            os=machine.os,
            python=machine.python,
            cpu=machine.cpu,
            cores=machine.cores,
            memory_gb=machine.memory_gb,
            flags=read_flags(cpu_info()),
            gpus=tuple(gpu.name for gpu in machine.gpus),
            driver=machine.driver,
            environment={name: os.environ[name] for name in VARIABLES if name in os.environ},
        )


def read_flags(text: str) -> tuple[str, ...]:
    r"""Return the CPU flags in the text of `/proc/cpuinfo` that are in `FLAGS`.

    >>> read_flags("model name : x\nflags : fpu avx512_vnni avx2\n")
    ('avx2', 'avx512_vnni')
    """
    lines = (line.partition(":") for line in text.splitlines())
    words = next((value.split() for name, _, value in lines if name.strip() in ("flags", "Features")), [])
    return tuple(flag for flag in FLAGS if flag in words)


def package_versions() -> dict[str, str]:
    """Return the versions of installed packages that affect speed."""
    found = {}
    for name in dict.fromkeys((*PACKAGES, *packages())):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
