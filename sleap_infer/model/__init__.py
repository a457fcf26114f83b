"""Trained models as facts (`ModelSpec`) and as bare networks."""

from sleap_infer.model.directory import ModelFiles, find_model_files
from sleap_infer.model.load import build_network, load_network, read_spec
from sleap_infer.model.spec import ModelSpec, SkeletonSpec

__all__ = [
    "ModelFiles",
    "ModelSpec",
    "SkeletonSpec",
    "build_network",
    "find_model_files",
    "load_network",
    "read_spec",
]
