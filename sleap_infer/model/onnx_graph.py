"""Opening an ONNX graph with onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sleap_infer.errors import BackendNotInstalledError, ExportedModelError
from sleap_infer.model.onnx_safety import check_graph
from sleap_infer.system.runtimes import import_runtime, install_command

ERRORS_ONLY = 3
"""Severity of messages of ONNX Runtime on stderr; it warns of thresholds being inputs with defaults."""


def require_onnxruntime() -> Any:
    """Import the onnxruntime package.

    Raises:
        BackendNotInstalledError: it is not installed, or broken.
    """
    try:
        onnxruntime = import_runtime("onnxruntime")
    except ImportError as error:
        raise BackendNotInstalledError(
            f"ONNX Runtime cannot be imported ({error}). Install it with: {install_command('onnx')}. If both "
            "onnxruntime and onnxruntime-gpu are installed, uninstall both first: they overwrite each other. To find "
            "out more, run: sleap-infer doctor"
        ) from error
    return onnxruntime


def open_graph(path: Path, providers: Sequence[Any] = ("CPUExecutionProvider",), options: Any = None) -> Any:
    """Open an `onnxruntime.InferenceSession`.

    Raises:
        BackendNotInstalledError: onnxruntime is not installed.
        ExportedModelError: the file is not a graph, damaged, or not safe to open.
    """
    onnxruntime = require_onnxruntime()
    check_graph(path)
    if options is None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
    state = import_runtime("onnxruntime.capi.onnxruntime_pybind11_state")
    failures = (
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.Fail,
        state.NoModel,
        state.NotImplemented,
        state.NoSuchFile,
    )
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except (*failures, state.InvalidArgument, state.RuntimeException) as error:
        raise ExportedModelError(
            f"{path} cannot be opened as an ONNX graph: it is damaged, incomplete or of another format "
            f"({str(error).splitlines()[0][:160]}). Copy it again, or export the model again."
        ) from error
