"""Runs pose models trained with SLEAP and sleap-nn on videos.

>>> from sleap_infer import Predictor
>>> predictor = Predictor.from_model_paths(["centroid", "centered_instance"])  # doctest: +SKIP
>>> labels = predictor.predict("video.mp4")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sleap_infer._version import __version__
from sleap_infer.system.runtimes import switch_reports_off

_HOMES = {
    "BaseInferenceRunner": "sleap_infer.runners",
    "BottomUpPredictor": "sleap_infer.predictors",
    "CenteredInstancePredictor": "sleap_infer.predictors",
    "CentroidPredictor": "sleap_infer.predictors",
    "FakeRunner": "sleap_infer.runners",
    "InferenceRunnerONNX": "sleap_infer.runners.graph.onnxruntime",
    "InferenceRunnerMNN": "sleap_infer.runners.graph.mnn",
    "InferenceRunnerOpenVINO": "sleap_infer.runners.graph.openvino",
    "InferenceRunnerTRT": "sleap_infer.runners.tensorrt.runner",
    "InferenceRunnerTorch": "sleap_infer.runners.torch.runner",
    "InferenceRunnerTorchCompile": "sleap_infer.runners.torch.compiled",
    "LiveSession": "sleap_infer.predictors.live.session",
    "MultiClassBottomUpPredictor": "sleap_infer.predictors",
    "MultiClassTopDownPredictor": "sleap_infer.predictors",
    "Outputs": "sleap_infer.poses.outputs",
    "Predictor": "sleap_infer.predictors",
    "SingleInstancePredictor": "sleap_infer.predictors",
    "SleapInferError": "sleap_infer.errors",
    "TopDownPredictor": "sleap_infer.predictors",
    "open_live": "sleap_infer.frames.live.source",
    "open_source": "sleap_infer.frames",
    "read_clip": "sleap_infer.predictors",
    "save_labels": "sleap_infer.poses.labels",
    "tune_process": "sleap_infer.tuning",
}
"""Where each public name lives; its module is imported when the name is first used."""

__all__ = [
    "BaseInferenceRunner",
    "BottomUpPredictor",
    "CenteredInstancePredictor",
    "CentroidPredictor",
    "FakeRunner",
    "InferenceRunnerMNN",
    "InferenceRunnerONNX",
    "InferenceRunnerOpenVINO",
    "InferenceRunnerTRT",
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
    "tune_process",
]

if TYPE_CHECKING:
    from sleap_infer.errors import SleapInferError
    from sleap_infer.frames import open_source
    from sleap_infer.frames.live.source import open_live
    from sleap_infer.poses.labels import save_labels
    from sleap_infer.poses.outputs import Outputs
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
    from sleap_infer.predictors.live.session import LiveSession
    from sleap_infer.runners import BaseInferenceRunner, FakeRunner
    from sleap_infer.runners.graph.mnn import InferenceRunnerMNN
    from sleap_infer.runners.graph.onnxruntime import InferenceRunnerONNX
    from sleap_infer.runners.graph.openvino import InferenceRunnerOpenVINO
    from sleap_infer.runners.tensorrt.runner import InferenceRunnerTRT
    from sleap_infer.runners.torch.compiled import InferenceRunnerTorchCompile
    from sleap_infer.runners.torch.runner import InferenceRunnerTorch
    from sleap_infer.tuning import tune_process


switch_reports_off()  # before this process, or a child of it, imports a runtime


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sleap_infer' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
