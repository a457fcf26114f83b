"""Runs pose models trained with SLEAP and sleap-nn on videos.

>>> from sleap_infer import Predictor
>>> predictor = Predictor.from_model_paths(["centroid", "centered_instance"])  # doctest: +SKIP
>>> labels = predictor.predict("video.mp4")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sleap_infer.runtimes import switch_reports_off

__version__ = "0.1.0"

_HOMES = {
    "BaseInferenceRunner": "sleap_infer.runners",
    "BottomUpPredictor": "sleap_infer.predictors",
    "CenteredInstancePredictor": "sleap_infer.predictors",
    "CentroidPredictor": "sleap_infer.predictors",
    "FakeRunner": "sleap_infer.runners",
    "InferenceRunnerONNX": "sleap_infer.runners.onnx",
    "InferenceRunnerOpenVINO": "sleap_infer.runners.openvino",
    "InferenceRunnerTorch": "sleap_infer.runners.torch",
    "InferenceRunnerTorchCompile": "sleap_infer.runners.torch_compile",
    "LiveSession": "sleap_infer.predictors.live",
    "MultiClassBottomUpPredictor": "sleap_infer.predictors",
    "MultiClassTopDownPredictor": "sleap_infer.predictors",
    "Outputs": "sleap_infer.outputs",
    "Predictor": "sleap_infer.predictors",
    "SingleInstancePredictor": "sleap_infer.predictors",
    "SleapInferError": "sleap_infer.errors",
    "TopDownPredictor": "sleap_infer.predictors",
    "open_live": "sleap_infer.frames.live",
    "open_source": "sleap_infer.frames",
    "read_clip": "sleap_infer.predictors",
    "save_labels": "sleap_infer.labels",
}
"""Where each public name lives; its module is imported when the name is first used."""

__all__ = [
    "BaseInferenceRunner",
    "BottomUpPredictor",
    "CenteredInstancePredictor",
    "CentroidPredictor",
    "FakeRunner",
    "InferenceRunnerONNX",
    "InferenceRunnerOpenVINO",
    "InferenceRunnerTorch",
    "InferenceRunnerTorchCompile",
    "LiveSession",
    "MultiClassBottomUpPredictor",
    "MultiClassTopDownPredictor",
    "Outputs",
    "Predictor",
    "SingleInstancePredictor",
    "SleapInferError",
    "TopDownPredictor",
    "__version__",
    "open_live",
    "open_source",
    "read_clip",
    "save_labels",
]

if TYPE_CHECKING:
    from sleap_infer.errors import SleapInferError
    from sleap_infer.frames import open_source
    from sleap_infer.frames.live import open_live
    from sleap_infer.labels import save_labels
    from sleap_infer.outputs import Outputs
    from sleap_infer.predictors import (
        BottomUpPredictor,
        CenteredInstancePredictor,
        CentroidPredictor,
        MultiClassBottomUpPredictor,
        MultiClassTopDownPredictor,
        Predictor,
        SingleInstancePredictor,
        TopDownPredictor,
        read_clip,
    )
    from sleap_infer.predictors.live import LiveSession
    from sleap_infer.runners import BaseInferenceRunner, FakeRunner
    from sleap_infer.runners.onnx import InferenceRunnerONNX
    from sleap_infer.runners.openvino import InferenceRunnerOpenVINO
    from sleap_infer.runners.torch import InferenceRunnerTorch
    from sleap_infer.runners.torch_compile import InferenceRunnerTorchCompile


switch_reports_off()  # before this process, or a child of it, imports a runtime


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sleap_infer' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
