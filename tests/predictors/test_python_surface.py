"""What an engineer asks of a predictor in Python: skeleton, names, repr, typed options."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

import pytest

import sleap_infer
from sleap_infer import Predictor
from sleap_infer.config.option_types import OptionValues
from sleap_infer.config.options import option_groups
from sleap_infer.runners import BaseInferenceRunner
from sleap_infer.runners.registry import BUILT_IN

FLY = ["head", "thorax", "abdomen", "wing_left", "wing_right"]
"""Nodes of the models in `sleap_infer/assets`, as written in their `training_config.yaml`."""


def opened(models: Path, *names: str, **options: Any) -> Predictor:
    return Predictor.from_model_paths([models / name for name in names], device="cpu", backend="torch", **options)


@pytest.mark.parametrize(
    ("names", "nodes"),
    [(("single_instance",), FLY), (("centroid", "centered_instance"), FLY), (("centroid",), ["centroid"])],
)
def test_the_skeleton_is_that_of_the_labels(
    models: Path, videos: Path, names: tuple[str, ...], nodes: list[str]
) -> None:
    with opened(models, *names) as predictor:
        assert predictor.node_names == nodes
        skeleton = predictor.skeleton
        assert skeleton.node_names == nodes
        (found,) = predictor.predict(videos / "two_flies.mp4", frames=[0]).skeletons
        assert skeleton.matches(found)
        assert (skeleton.name, skeleton.edge_inds, skeleton.symmetry_names) == (
            found.name,
            found.edge_inds,
            found.symmetry_names,
        )
        skeleton.rename_nodes({nodes[0]: "other"})
        assert predictor.node_names == nodes == predictor.skeleton.node_names


def test_the_repr_names_what_runs(models: Path) -> None:
    with opened(models, "centroid", "centered_instance", batch_size=3) as predictor:
        assert repr(predictor) == (
            "TopDownPredictor(kind='topdown', backend='torch', device='cpu', precision='fp32', batch_size=3)"
        )


def test_the_types_of_options_are_those_of_the_options() -> None:
    stated = {
        name: set(get_args(hint)) - {type(None)} if isinstance(hint, UnionType) else {hint}
        for group in option_groups().values()
        for name, hint in get_type_hints(group).items()
    }
    typed = get_type_hints(OptionValues)
    assert list(typed) == list(stated)
    for name, hint in typed.items():
        assert type(None) in get_args(hint), name
        assert set(get_args(hint)) - {type(None)} == stated[name], name


def test_options_of_predictors_and_runners_are_typed() -> None:
    for function, types in (
        (Predictor.from_model_paths, "OpeningOptions"),
        (BaseInferenceRunner.from_model_path, "OptionValues"),
    ):
        assert signature(function).parameters["options"].annotation == f"Unpack[{types}]"


def test_all_runners_are_exported() -> None:
    names = {name for name in sleap_infer.__all__ if name.startswith("InferenceRunner")}
    assert {sleap_infer.InferenceRunnerTRT.backend, sleap_infer.InferenceRunnerTorch.backend} == {"tensorrt", "torch"}
    assert len(names) == len(BUILT_IN)
