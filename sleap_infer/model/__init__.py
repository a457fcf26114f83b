"""Trained models as facts (`ModelSpec`) and as bare networks."""

from sleap_infer.model.load import build_network, find_model_files, load_network, read_spec
from sleap_infer.model.readers.directory import ModelFiles, expand_model_path, is_model
from sleap_infer.model.spec import ModelSpec, SkeletonSpec

__all__ = [
    "ModelFiles",
    "ModelSpec",
    "SkeletonSpec",
    "build_network",
    "expand_model_path",
    "find_model_files",
    "is_model",
    "load_network",
    "read_spec",
]
