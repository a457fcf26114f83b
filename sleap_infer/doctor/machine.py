"""Facts about the machine. Imports nothing that could be broken."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from sleap_infer.system.machine import available_cores, cpu_name, total_memory_gb


@frozen
class Gpu:
    """One NVIDIA GPU, as CUDA counts them.

    Attributes:
        name: name of the model.
        memory_gb: memory in GB; `None` if unknown.
        capability: CUDA's number for its generation, e.g. 9.0; `None` if unknown.
    """

    name: str
    memory_gb: float | None = None
    capability: float | None = None


@frozen
class Machine:
    """Facts of the machine that was checked.

    Attributes:
        os: name and version.
        python: version.
        executable: of Python.
        cpu: name.
        cores: that this process may use.
        memory_gb: of the machine; `None` if unknown.
        gpus: NVIDIA GPUs that CUDA can use.
        driver: version of the NVIDIA driver; empty if there is none.
        driver_cuda: newest CUDA that this driver runs, e.g. `"13.0"`; empty if unknown.
    """

    os: str
    python: str
    executable: str
    cpu: str
    cores: int
    memory_gb: float | None = None
    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    driver_cuda: str = ""

    @classmethod
    def read(cls, driver: Mapping[str, Any]) -> Machine:
        """Return the facts of this machine.

        Args:
            driver: what `doctor.driver` found; may be empty.
        """
        return cls(
            os=platform.platform(terse=True),
            python=platform.python_version(),
            executable=sys.executable,
            cpu=cpu_name(),
            cores=available_cores(),
            memory_gb=total_memory_gb(),
            gpus=tuple(Gpu(**gpu) for gpu in driver.get("gpus", ())),
            driver=driver.get("driver", ""),
            driver_cuda=driver.get("cuda", ""),
        )
