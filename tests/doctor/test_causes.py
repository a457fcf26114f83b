"""The table of causes: what is said to what is seen, where no environment can be broken so."""

from __future__ import annotations

import re

import pytest

from sleap_infer.doctor.causes import RULES, WORKS_BY_CHANCE, find_cause
from sleap_infer.doctor.causes_gpu import DRIVER_RULES
from sleap_infer.doctor.components import Component, all_components, backend_component
from sleap_infer.doctor.evidence import Evidence, Rule
from sleap_infer.doctor.machine import Gpu, Machine
from sleap_infer.doctor.probe_handle import Ending
from sleap_infer.doctor.report import Finding

COMPONENTS = {component.name: component for component in all_components()}
FALLEN_BACK = "decoder='nvdec': the CPU decodes /videos/a.mp4"
MACHINE = Machine("Linux", "3.12", "python", "CPU", 8, 16.0)


def seen(name: str, problem: str, driver_cuda: str = "", torch_cuda: str | None = None, code: int = 0) -> Evidence:
    gpus = (Gpu("Old GPU", 8.0, 6.1),) if driver_cuda else ()
    machine = Machine("Linux", "3.12", "python", "CPU", 8, 16.0, gpus, "550.1" if driver_cuda else "", driver_cuda)
    device = "cuda:0" if gpus else "cpu"
    component: Component = COMPONENTS[name]
    ending = Ending({"torch_cuda": torch_cuda}, "predicting", code)
    return Evidence(component, device, machine, dict.fromkeys(component.packages[:1], "1.0"), ending, problem)


@pytest.mark.parametrize(
    ("name", "text", "state", "cause", "fix"),
    [
        ("driver", "", "unusable here", "no NVIDIA GPU", ""),
        (
            "driver",
            "libcuda.so.1: not found\nPCI bus: a card of NVIDIA",
            "unusable here",
            "no driver",
            "ubuntu-drivers",
        ),
        ("driver", "libcuda.so.1: CUDA error 803", "failed", "was updated", "sudo reboot"),
        ("driver", "libcuda.so.1: CUDA error 999", "failed", "not running", "modprobe nvidia"),
        (
            "driver",
            "libcuda.so.1: CUDA error 100\nnvidia-smi lists: 550.1, X\nCUDA_VISIBLE_DEVICES=''",
            "unusable here",
            "set to ''",
            "unset CUDA_VISIBLE_DEVICES",
        ),
        ("driver", "libcuda.so.1: CUDA error 3\nnvidia-smi lists: 550.1, X", "failed", "CUDA error 3", "reboot"),
        (
            "tensorrt",
            "wheel_stub.error.InstallFailedError: tensorrt-cu13-libs",
            "failed",
            "not downloaded",
            "pypi.nvidia",
        ),
        (
            "tensorrt",
            "TypeError: pybind11::init(): factory function returned nullptr",
            "failed",
            "cannot start",
            "driver",
        ),
        ("tensorrt", "cuda-python cannot be imported (No module named 'cuda')", "failed", "cuda-python", "cuda-python"),
        ("images", "ImportError: libGL.so.1: cannot open shared object file", "failed", "libGL.so.1", "install libgl1"),
        ("torch", "OSError: [WinError 126] Error loading c10.dll", "failed", "C++ runtime", "VCRedist"),
        ("torch", "ImportError: libc10.so: undefined symbol: abc", "failed", "abc", ""),
        ("openvino", "ModuleNotFoundError: No module named 'packaging'", "failed", "packaging", "reinstall openvino"),
        ("openvino", "numpy.dtype size changed, Expected 96 from C header, got 88", "failed", "NumPy 2", "numpy"),
        ("torch_compile", "RuntimeError: Failed to find C compiler", "failed", "C compiler", "install gcc"),
        ("torch_compile", "fatal error: Python.h: No such file or directory", "failed", "header", "python3-dev"),
        ("onnx", "AttributeError: module 'onnxruntime' has no attribute 'X'", "failed", "missing", "--force-reinstall"),
        ("video", "wrong: pixels are up to 9 grey levels away", "failed", "9 grey levels", "reinstall av"),
        ("openvino", "ran on gpu", "failed", "was to run on cpu, and ran on gpu", "reinstall openvino"),
        ("openvino", "ValueError: something else", "failed", "ValueError: something else", "--json > doctor.json"),
    ],
)
def test_causes(name: str, text: str, state: str, cause: str, fix: str) -> None:
    found = find_cause(seen(name, text))
    assert found.state == state
    assert cause in found.cause
    assert fix in found.fix


@pytest.mark.parametrize(
    ("name", "text", "driver_cuda", "torch_cuda", "cause", "fix"),
    [
        ("torch", "sees 0 cuda device(s)", "12.4", "13.0", "built for CUDA 13.0; the NVIDIA driver 550.1", "whl/cu126"),
        ("torch", "driver on your system is too old", "11.4", "12.6", "driver 550.1 is too old", "drivers"),
        ("torch", "no kernel image is available for execution", "13.0", "13.0", "as old as this one", "whl/cu126"),
        ("torch", "sees 0 cuda device(s)", "13.0", None, "without CUDA", "whl/cu130"),
        ("onnx", "CUDA driver version is insufficient for CUDA runtime", "12.4", None, "too old for onnx", "drivers"),
        ("torch", "torch.OutOfMemoryError: CUDA out of memory.", "13.0", "13.0", "memory of the GPU", "nvidia-smi"),
        ("nvdec", "Failed to load libnvidia-encode.so.1: cannot open", "13.0", None, "decodes videos", "video"),
        ("nvdec", f"ran on cpu\n{FALLEN_BACK}: the GPU does not decode h264.", "13.0", None, "not decode h264", ""),
        (
            "nvdec",
            f"ran on cpu\n{FALLEN_BACK}: its header is odd.",
            "13.0",
            None,
            "GPU: its header is odd",
            "reinstall",
        ),
        ("tensorrt", "there is no NVIDIA driver, or it is too old", "11.4", None, "too old", "drivers"),
    ],
)
def test_causes_on_gpus(name: str, text: str, driver_cuda: str, torch_cuda: str | None, cause: str, fix: str) -> None:
    found = find_cause(seen(name, text, driver_cuda, torch_cuda))
    assert cause in found.cause
    assert fix in found.fix


@pytest.mark.parametrize(("code", "cause"), [(-9, "memory (16 GB)"), (-4, "SIGILL"), (-999, "signal 999")])
def test_crashes(code: int, cause: str) -> None:
    evidence = seen("torch", "")
    ending = Ending(None, "predicting", code)
    found = find_cause(Evidence(evidence.component, "cpu", MACHINE, evidence.installed, ending))
    assert cause in found.cause
    assert "while predicting" in found.cause


@pytest.mark.parametrize("rule", [*DRIVER_RULES, *RULES, WORKS_BY_CHANCE], ids=lambda rule: rule.cause[:40])
def test_every_text_can_be_filled(rule: Rule) -> None:
    words = seen("torch", "error", "13.0", "13.0").words() | dict.fromkeys(re.compile(rule.pattern).groupindex, "x")
    fixes = [rule.fix] if isinstance(rule.fix, str) else list(rule.fix.values())
    filled = [text.format(**words) for text in (rule.cause, *fixes)]
    assert Finding(rule.state, filled[0]).cause
    assert all("None" not in text for text in filled)


def test_a_build_of_torch_is_installed_again_as_it_was() -> None:
    command = backend_component("torch").reinstall({"torch": "2.13.0+cpu"})
    assert command == "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cpu"
    assert backend_component("torch").reinstall({"torch": "2.15.0"}) == "pip install --force-reinstall torch"
