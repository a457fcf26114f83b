"""Predictors, one class per pipeline. `Predictor.from_model_paths` finds the right one."""

from sleap_infer.predictors.auto.cache import Choice
from sleap_infer.predictors.auto.clips import Clip, read_clip
from sleap_infer.predictors.base import Predictor
from sleap_infer.predictors.one_stage import (
    BottomUpPredictor,
    CentroidPredictor,
    MultiClassBottomUpPredictor,
    SingleInstancePredictor,
)
from sleap_infer.predictors.top_down import CenteredInstancePredictor, MultiClassTopDownPredictor, TopDownPredictor

__all__ = [
    "BottomUpPredictor",
    "CenteredInstancePredictor",
    "CentroidPredictor",
    "Choice",
    "Clip",
    "MultiClassBottomUpPredictor",
    "MultiClassTopDownPredictor",
    "Predictor",
    "SingleInstancePredictor",
    "TopDownPredictor",
    "read_clip",
]
