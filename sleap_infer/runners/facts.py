"""Facts about backends, as plain data. Importing this module imports neither a runtime nor NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Literal, get_args

import attrs
from attrs import frozen

from sleap_infer.choices import Precision
from sleap_infer.errors import BackendNotInstalledError, DeviceError, OptionError
from sleap_infer.system.runtimes import NVIDIA_INDEX, install_command


@frozen(kw_only=True)
class BackendFacts:
    """Facts about a backend that are known before a model is opened on it.

    `auto`, `doctor`, `info`, `benchmark` and the command line read these facts. They import no runtime.

    Attributes:
        label: name for people, e.g. `"ONNX Runtime"`.
        imports: top-level modules that it needs, any one of which is enough.
        packages: their names on the package index; the first is the usual one.
        install: command that installs it, unless it is an extra of this package.
        extra: extra of this package that installs it.
        index: further package index for the extra.
        one_package: whether its packages overwrite each other's files, so that only one may be installed.
        devices: kinds of devices it runs on: `"cpu"`, `"cuda"`, `"mps"`, ...
        precisions: that it computes in.
        export_format: `"onnx"` if it runs exported graphs, `"tensorrt"` if an export builds engines for it too; `None`
            if it runs trained models.
        setup_s: seconds before its first frame that later runs are spared, as for compiling; 0 if there are none.
        min_job: factor. `auto` tries the backend if the job takes longer than this many times its setup.
        one_batch_size: whether each batch size needs a setup of its own.
        auto_order: position in the order in which `auto` tries backends, low first.
    """

    label: str
    imports: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    install: str = ""
    extra: str = ""
    index: str = ""
    one_package: bool = False
    devices: tuple[str, ...] = ("cpu",)
    precisions: tuple[Precision, ...] = ("fp32",)
    export_format: Literal["onnx", "tensorrt"] | None = None
    setup_s: float = 0.0
    min_job: float = 2.0
    one_batch_size: bool = False
    auto_order: int = 100

    @property
    def how_to_install(self) -> str:
        """Command that installs it."""
        return install_command(self.extra, self.index) if self.extra else self.install

    @property
    def runs_exports(self) -> bool:
        """Return whether it runs exported graphs; trained models are exported for it first."""
        return self.export_format is not None

    def module(self) -> str:
        """Return the first of its modules that is installed; empty if none is."""
        return next((name for name in self.imports if _is_installed(name)), "")

    def check_device(self, device: str) -> None:
        """Check that a package of the backend is installed, and that it runs on this kind of device.

        Raises:
            BackendNotInstalledError: no such package is installed.
            DeviceError: it does not run on such a device.
        """
        if self.imports and not self.module():
            raise BackendNotInstalledError(f"{self.label} is not installed. Install it with: {self.how_to_install}")
        kind, _, index = device.partition(":")
        if kind not in ("auto", *self.devices) or (index and kind == "cpu"):
            devices = ", ".join(self.devices)
            raise DeviceError(f"{self.label} does not run on {device!r}, only on {devices}. Use device='auto'.")

    def check_precision(self, precision: Precision | None) -> None:
        """Check that a trained model can run in a precision.

        Raises:
            OptionError: the backend does not compute in it.
        """
        if precision is None or precision in self.precisions:
            return
        export = " int8 is made by exporting: sleap-infer export --precision int8." if precision == "int8" else ""
        raise OptionError(f"precision={precision!r}: {self.label} computes in {', '.join(self.precisions)}.{export}")


def require_one_device(name: str) -> None:
    """Refuse several devices, such as `"cuda:0,1"`: each of them takes a process of its own.

    Raises:
        DeviceError: several are named.
    """
    if "," in name:
        raise DeviceError(
            f"Device {name!r}: a model is opened on one device. For several, start one process for each, or run: "
            f"sleap-infer predict --device {name} --workers {name.count(',') + 1}"
        )


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ValueError:  # something without a spec was put into sys.modules
        return True


_TORCH = BackendFacts(
    label="PyTorch",
    imports=("torch",),
    packages=("torch",),
    extra="torch",
    devices=("cpu", "mps", "cuda"),
    precisions=("fp32", "fp16", "bf16"),
    auto_order=40,
)
FACTS: Mapping[str, BackendFacts] = {
    "torch": _TORCH,
    "torch_compile": attrs.evolve(
        _TORCH,
        label="PyTorch, compiled",
        devices=("cpu", "cuda"),
        setup_s=60.0,
        min_job=5.0,  # compiling for a CPU gains least
        one_batch_size=True,
        auto_order=50,
    ),
    "onnx": BackendFacts(
        label="ONNX Runtime",
        imports=("onnxruntime",),
        packages=("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino"),
        extra="onnx",
        one_package=True,
        devices=("cpu", "cuda"),
        precisions=get_args(Precision),
        export_format="onnx",
        auto_order=10,
    ),
    "mnn": BackendFacts(
        label="MNN",
        imports=("MNN",),
        packages=("MNN",),
        extra="mnn",
        export_format="onnx",
        setup_s=0.5,
        auto_order=15,
    ),
    "openvino": BackendFacts(
        label="OpenVINO",
        imports=("openvino",),
        packages=("openvino",),
        extra="openvino",
        precisions=get_args(Precision),
        export_format="onnx",
        auto_order=20,
    ),
    "tensorrt": BackendFacts(
        label="TensorRT",
        imports=("tensorrt", "tensorrt_rtx"),
        packages=("tensorrt", "tensorrt_cu13_bindings", "tensorrt_cu12_bindings", "tensorrt_cu13_libs", "tensorrt_rtx"),
        extra="tensorrt",
        index=NVIDIA_INDEX,
        devices=("cuda",),
        precisions=get_args(Precision),
        export_format="tensorrt",
        setup_s=90.0,
        auto_order=30,
    ),
}
"""Facts of the built-in backends, which `doctor` reads without importing what may be broken."""
