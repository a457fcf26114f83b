"""What is checked: each backend and reader, the packages that it stands on, and how these are installed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Literal, TypeAlias, get_args

from attrs import frozen

from sleap_infer.choices import Backend

Place: TypeAlias = Literal["cpu", "mps", "cuda"]

PYTORCH_INDEX = "https://download.pytorch.org/whl"
NVIDIA_INDEX = "https://pypi.nvidia.com"


@frozen
class Subject:
    """One thing to check.

    Attributes:
        name: short.
        kind: `"driver"`, `"backend"` or `"reader"`.
        imports: modules, any one of which is enough.
        packages: as they are called on the package index; the first is what one installs.
        install: the command that installs it.
        places: where it can run.
        only_one: whether its packages overwrite each other's files.
    """

    name: str
    kind: Literal["driver", "backend", "reader"]
    imports: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    install: str = ""
    places: tuple[Place, ...] = ("cpu",)
    only_one: bool = False

    def installed(self) -> dict[str, str]:
        """Versions by package, without importing any."""
        found = {}
        for name in self.packages:
            try:
                found[name] = version(name) or "?"
            except (PackageNotFoundError, KeyError):  # the second: of an entry without a version
                continue
        return found

    def module(self) -> str:
        """The module that is there to be imported; empty if there is none."""
        return next((name for name in self.imports if find_spec(name) is not None), "")

    def reinstall(self, installed: Mapping[str, str]) -> str:
        """The command that installs it once more, in the same build."""
        package = next(iter(installed), next(iter(self.packages), "sleap-infer"))
        build = installed.get(package, "").partition("+")[2]
        if package == "torch" and build:
            return f"pip install --force-reinstall torch --index-url {PYTORCH_INDEX}/{build}"
        if package.startswith("tensorrt") and not package.startswith("tensorrt_rtx"):
            return f"pip install --force-reinstall --extra-index-url {NVIDIA_INDEX} tensorrt"
        return f"pip install --force-reinstall {package}"


_PYTORCH = (("torch",), ("torch",), "pip install 'sleap-infer[torch]'")

DRIVER = Subject("driver", "driver")
BACKENDS: Mapping[str, Subject] = {
    "torch": Subject("torch", "backend", *_PYTORCH, ("cpu", "mps", "cuda")),
    "torch_compile": Subject("torch_compile", "backend", *_PYTORCH, ("cpu", "cuda")),
    "onnx": Subject(
        "onnx",
        "backend",
        ("onnxruntime",),
        ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino"),
        "pip install 'sleap-infer[onnx]'",
        ("cpu", "cuda"),
        only_one=True,
    ),
    "openvino": Subject("openvino", "backend", ("openvino",), ("openvino",), "pip install 'sleap-infer[openvino]'"),
    "tensorrt": Subject(
        "tensorrt",
        "backend",
        ("tensorrt", "tensorrt_rtx"),
        ("tensorrt", "tensorrt_cu13_bindings", "tensorrt_cu12_bindings", "tensorrt_cu13_libs", "tensorrt_rtx"),
        f"pip install --extra-index-url {NVIDIA_INDEX} 'sleap-infer[tensorrt]'",
        ("cuda",),
    ),
}
READERS: tuple[Subject, ...] = (
    Subject("video", "reader", ("av",), ("av",), "pip install av"),
    Subject(
        "images",
        "reader",
        ("cv2",),
        ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
        "pip install opencv-python-headless",
        only_one=True,
    ),
    Subject(
        "nvdec",
        "reader",
        ("PyNvVideoCodec",),
        ("PyNvVideoCodec",),
        "pip install 'sleap-infer[nvdec]'",
        ("cuda",),
    ),
)


def all_subjects() -> tuple[Subject, ...]:
    """Everything that can be checked on this kind of machine, in the order of the report."""
    backends = [BACKENDS.get(name, Subject(name, "backend")) for name in get_args(Backend)]
    if sys.platform == "darwin":  # no CUDA
        return (*(item for item in (*backends, *READERS) if set(item.places) != {"cuda"}),)
    return (DRIVER, *backends, *READERS)
