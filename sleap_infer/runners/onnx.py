"""ONNX Runtime: exported models, without torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from sleap_infer.candidates import CANDIDATE_NAMES, Candidates
from sleap_infer.choices import Backend
from sleap_infer.errors import DeviceError, OptionError, UnsupportedModelError
from sleap_infer.model import ModelSpec, find_model_files
from sleap_infer.model.graph import open_graph, require_onnxruntime
from sleap_infer.options import ReturnOptions
from sleap_infer.runners.base import BaseInferenceRunner, Images, kept_maps
from sleap_infer.settings import StageSettings

THRESHOLD_INPUT = "peak_threshold"

ERRORS_ONLY = 3
"""Severity of what ONNX Runtime says on stderr; it warns of the threshold being an input."""


class InferenceRunnerONNX(BaseInferenceRunner):
    """Runs an exported graph with ONNX Runtime on `cpu`, `cuda` or `cuda:N`; asked for CUDA, it never falls back.

    Graphs take uint8; images in floats are rounded to it.

    Args:
        session: an opened `onnxruntime.InferenceSession` of a graph that `sleap-infer export` made.
        spec: the model's facts, with what is fixed in the graph.
        settings: its resolved settings.
        returned: the heavy things that outputs carry; a graph gives no maps.
    """

    backend: ClassVar[Backend | None] = "onnx"

    def __init__(
        self, session: Any, spec: ModelSpec, settings: StageSettings, returned: ReturnOptions | None = None
    ) -> None:
        super().__init__(spec, settings, returned)
        maps = kept_maps(self.returned)
        if maps:
            raise OptionError(
                f"An exported graph gives no maps, found return_{maps[0]}. Use the trained model for them."
            )
        self.session = session
        self._names = list(CANDIDATE_NAMES[spec.kind])

    @classmethod
    def _open(cls, path: Path, spec: ModelSpec, settings: StageSettings, returned: ReturnOptions, device: str) -> Self:
        if spec.exported is None:
            raise UnsupportedModelError(
                f"{path} is a trained model, not an exported one. Export it first: sleap-infer export {path} -o DIR."
            )
        onnxruntime = require_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.intra_op_num_threads = os.cpu_count() or 1
        # Threads that spin while they wait would take the cores from decoding and grouping.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = open_graph(find_model_files(path).weights, find_providers(device), options)
        wanted = "CPUExecutionProvider" if device in ("cpu", "auto") else "CUDAExecutionProvider"
        if device != "auto" and session.get_providers()[0] != wanted:
            raise DeviceError(
                f"ONNX Runtime {onnxruntime.__version__} could not use {device!r}, only {session.get_providers()}. It "
                "needs CUDA 13 and cuDNN 9 beside onnxruntime-gpu. Use device='cpu' to run there."
            )
        return cls(session, spec, settings, returned)

    @property
    def device(self) -> str:
        """Where the graph runs."""
        return "cuda" if self.session.get_providers()[0] == "CUDAExecutionProvider" else "cpu"

    def _predict(self, images: Images) -> Candidates:
        if images.dtype != np.uint8:
            images = np.rint(images * np.float32(255)).astype(np.uint8)
        fed = {
            "image": np.ascontiguousarray(images),
            THRESHOLD_INPUT: np.array(self.settings.peak_threshold, np.float32),
        }
        return dict(zip(self._names, self.session.run(self._names, fed), strict=True))

    def _close(self) -> None:
        self.session = None


def find_providers(device: str) -> list[Any]:
    """ONNX Runtime's providers for a device.

    Raises:
        DeviceError: there is no such device here.
    """
    onnxruntime = require_onnxruntime()
    kind, _, index = device.partition(":")
    if kind == "cpu" and not index:
        return ["CPUExecutionProvider"]
    has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device == "auto":
        return [*(["CUDAExecutionProvider"] if has_cuda else []), "CPUExecutionProvider"]
    if kind != "cuda" or (index and not index.isdigit()):
        raise DeviceError(f"ONNX Runtime is not run on {device!r} here. Use auto, cpu, cuda or cuda:N.")
    if not has_cuda:
        raise DeviceError(
            f"Device {device!r} is not there: this ONNX Runtime {onnxruntime.__version__} was built without CUDA. "
            "Install onnxruntime-gpu instead of onnxruntime, or use device='cpu'."
        )
    return [("CUDAExecutionProvider", {"device_id": int(index or 0), "use_tf32": 0})]
