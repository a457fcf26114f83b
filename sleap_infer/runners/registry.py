"""Backends by name; their modules, and what these import, are loaded on first use."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import get_args

from sleap_infer.choices import Backend
from sleap_infer.errors import BackendError, OptionError
from sleap_infer.runners.base import BaseInferenceRunner, require_one_device

RUNNERS: Mapping[Backend, str] = {
    "torch": "sleap_infer.runners.torch.runner:InferenceRunnerTorch",
    "onnx": "sleap_infer.runners.graph.onnxruntime:InferenceRunnerONNX",
    "openvino": "sleap_infer.runners.graph.openvino:InferenceRunnerOpenVINO",
    "tensorrt": "sleap_infer.runners.tensorrt.runner:InferenceRunnerTRT",
    "torch_compile": "sleap_infer.runners.torch.compiled:InferenceRunnerTorchCompile",
}


def find_runner(backend: str) -> type[BaseInferenceRunner]:
    """The runner class of a backend.

    Raises:
        OptionError: there is no backend of that name.
    """
    for name in get_args(Backend):
        if name == backend:
            module, _, class_name = RUNNERS[name].partition(":")
            runner: type[BaseInferenceRunner] = getattr(import_module(module), class_name)
            return runner
    raise OptionError(f"There is no backend {backend!r}. Use one of: {', '.join(get_args(Backend))}.")


def what_can_run(device: str = "auto") -> dict[Backend, str | None]:
    """Return every backend, and why it cannot run on a device here; `None` if it can.

    Raises:
        DeviceError: several devices are named.
    """
    require_one_device(device)
    found: dict[Backend, str | None] = {}
    for name in get_args(Backend):
        try:
            find_runner(name).require(device)
            found[name] = None
        except BackendError as error:
            found[name] = str(error)
    return found
