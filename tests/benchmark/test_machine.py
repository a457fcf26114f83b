"""What is said of the machine and of memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sleap_infer.benchmark import memory
from sleap_infer.benchmark.machine import MachineFacts, package_versions, read_flags
from sleap_infer.system.machine import busy_seconds_of_others

needs_linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux")


def test_flags_of_intel_and_of_arm() -> None:
    intel = "processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni amx_int8 amx_tile\n"
    assert read_flags(intel) == ("avx2", "avx512_vnni", "amx_tile", "amx_int8")
    assert read_flags("Features\t: fp asimd asimddp i8mm\n") == ("asimd", "asimddp", "i8mm")
    assert read_flags("") == ()


def test_this_machine() -> None:
    facts = MachineFacts.read()
    assert facts.cores >= 1
    assert facts.python == ".".join(map(str, sys.version_info[:3]))
    assert package_versions()["numpy"] == np.__version__


@needs_linux
def test_our_own_work_is_not_that_of_others() -> None:
    """On an idle machine the difference would be 0; here others may be at work as well, on all cores but one."""
    before, ours = busy_seconds_of_others(), sum(os.times()[:4])
    subprocess.run([sys.executable, "-c", "sum(range(20_000_000))"], check=True)
    assert sum(os.times()[:4]) > ours
    after = busy_seconds_of_others()
    assert before is not None
    assert after is not None
    assert after >= before - 0.1


@needs_linux
def test_peak_memory_is_ones_own() -> None:
    """Not that of the process that started it, which `getrusage` would count."""
    program = "from sleap_infer.system.machine import peak_memory_mb; print(peak_memory_mb())"
    ballast = np.ones(60_000_000)  # 480 MB
    small = float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)
    large_program = f"import numpy as np; a = np.ones(30_000_000); del a; {program}"
    large = float(
        subprocess.run([sys.executable, "-c", large_program], check=True, capture_output=True, text=True).stdout
    )
    assert len(ballast) == 60_000_000
    assert 5 < small < 200
    assert large > 240


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_memory_of_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\ncase "$1" in --id=1) echo 1000;; --id=GPU-abc) echo 500;; *) exit 6;; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv(memory.VISIBLE, raising=False)
    assert memory.device_used_mb("cuda:1") == 1048.576
    assert memory.device_used_mb("cuda:1,cuda:0") == 1048.576
    assert memory.device_used_mb("cuda:0") is None
    assert memory.device_used_mb("cpu") is None
    monkeypatch.setenv(memory.VISIBLE, "GPU-abc,1")
    assert memory.device_used_mb("cuda") == 524.288
    assert memory.device_used_mb("cuda:1") == 1048.576


def test_without_a_driver_nothing_is_known_of_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert memory.device_used_mb("cuda:0") is None
