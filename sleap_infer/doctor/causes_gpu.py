"""Causes on GPUs: why no GPU can be used, and why a package cannot use one."""

from __future__ import annotations

from sleap_infer.doctor.components import PYTORCH_INDEX
from sleap_infer.doctor.evidence import Evidence, Rule

PYTORCH = ("torch", "torch_compile")
NEWEST_ONLY = 7.5
"""Least compute capability that PyTorch for CUDA 13 is built for."""

CONTAINER = "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility,video IMAGE"
NEW_DRIVER = {
    "": "sudo ubuntu-drivers install   # or from https://www.nvidia.com/drivers; then restart",
    "win32": "start https://www.nvidia.com/drivers",
}


def _driver_too_old(evidence: Evidence) -> bool:
    needed, there = (evidence.torch_cuda or "0").split(".")[0], (evidence.machine.driver_cuda or "99").split(".")[0]
    return evidence.on_gpu and int(there) < int(needed)


DRIVER_RULES = (
    Rule(
        "CUDA_VISIBLE_DEVICES is set to {value}, which hides the GPUs.",
        {"": "unset CUDA_VISIBLE_DEVICES", "win32": "set CUDA_VISIBLE_DEVICES="},
        r"(?s)(?:CUDA error 100|no device).*CUDA_VISIBLE_DEVICES=(?P<value>'[^']*')",
        state="unusable here",
    ),
    Rule(
        "The NVIDIA driver was updated, but its old kernel module is still loaded.",
        {"": "sudo reboot", "win32": "shutdown /r /t 0"},
        r"[Dd]river/library version mismatch|CUDA error 803",
    ),
    Rule(
        "The NVIDIA driver is installed, but not running, as after an update of the Linux kernel.",
        {"": "sudo dkms autoinstall && sudo modprobe nvidia   # or restart", "win32": "shutdown /r /t 0"},
        r"couldn't communicate with the NVIDIA driver|CUDA error 999",
    ),
    Rule(
        "nvidia-smi sees a GPU, but CUDA's library ({library}) is not there, as in a container without GPU access.",
        CONTAINER,
        r"(?s)(?P<library>libcuda[\w.]*): .*nvidia-smi lists",
        when=lambda evidence: "CUDA error" not in evidence.text,
    ),
    Rule(
        "nvidia-smi sees a GPU, but CUDA does not start on it ({error}).",
        {"": "sudo reboot", "win32": "shutdown /r /t 0"},
        r"nvidia-smi lists",
    ),
    Rule(
        "There is an NVIDIA card, but no driver for it; or this is a container without GPU access (docker run "
        "--gpus all).",
        NEW_DRIVER,
        r"PCI bus",
        state="unusable here",
    ),
    Rule(
        "This machine has no NVIDIA GPU.",
        state="unusable here",
        when=lambda evidence: evidence.ending.answer is not None,
    ),
)
"""Why no GPU can be used."""

GPU_RULES = (
    Rule(
        "PyTorch {version} is built without CUDA, while there is a GPU ({gpu}) with its driver.",
        "pip uninstall -y torch && pip install torch --index-url {index}",
        r"sees 0 cuda|not compiled with CUDA",
        PYTORCH,
        when=lambda evidence: evidence.on_gpu and evidence.torch_cuda is None,
    ),
    Rule(
        "PyTorch {version} is built for CUDA {torch_cuda}; the NVIDIA driver {driver} runs CUDA up to {driver_cuda}.",
        "pip uninstall -y torch && pip install torch --index-url {index}",
        names=PYTORCH,
        when=lambda evidence: _driver_too_old(evidence) and evidence.machine.driver_cuda.startswith("12."),
    ),
    Rule(
        "The NVIDIA driver {driver} is too old for {versioned}.",
        NEW_DRIVER,
        r"(?i)driver version is (?:insufficient|too old)|driver on your system is too old|InsufficientDriver|NVIDIA "
        r"driver, or it is too old",
    ),
    Rule("The NVIDIA driver {driver} is too old for {versioned}.", NEW_DRIVER, when=_driver_too_old),
    Rule(
        "PyTorch {version} is not built for a GPU as old as this one ({gpu}).",
        f"pip uninstall -y torch && pip install torch --index-url {PYTORCH_INDEX}/cu126",
        r"no kernel image is available",
        PYTORCH,
        when=lambda evidence: (evidence.capability or NEWEST_ONLY) < NEWEST_ONLY,
    ),
    Rule(
        "{versioned} is not built for this GPU ({gpu}).",
        "pip install --upgrade {package}",
        r"no kernel image is available",
    ),
    Rule(
        "The memory of the GPU is full. Another program holds it.",
        "nvidia-smi   # shows which",
        r"(?i)out of memory|has no memory left|CUBLAS_STATUS_ALLOC_FAILED",
        when=lambda evidence: evidence.on_gpu,
    ),
    Rule(
        "This is ONNX Runtime for CPUs. The one for GPUs is not installed.",
        "pip uninstall -y {names} && pip install 'onnxruntime-gpu[cuda,cudnn]'",
        r"was built without CUDA",
        ("onnx",),
        state="absent",
    ),
    Rule(
        "{versioned} cannot load CUDA 13 and cuDNN 9.",
        "pip install 'onnxruntime-gpu[cuda,cudnn]'",
        r"could not use CUDA|Failed to create CUDAExecutionProvider|onnxruntime_providers_cuda",
        ("onnx",),
    ),
    Rule(
        "The part of the NVIDIA driver that decodes videos ({library}) is not there, as in a container "
        "without GPU access.",
        CONTAINER,
        r"(?P<library>libnvidia-encode|libnvcuvid)",
        ("nvdec",),
    ),
    Rule("The GPU does not decode {codec}.", "", r": the GPU does not decode (?P<codec>\w+)", state="unusable here"),
    Rule("The CPU decodes instead of the GPU: {reason}", "{reinstall}", r"decoder='nvdec'.*?: .*?: (?P<reason>.*)"),
    Rule("It was to run on {device}, and ran on {used}.", "{reinstall}", r"^ran on (?P<used>\S+)"),
)
"""Why a package cannot use a GPU."""
