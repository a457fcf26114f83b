"""Configurations of SLEAP up to 1.4, with what it assumed where they are silent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from sleap_infer.errors import CheckpointError, ModelConfigError, UnsupportedModelError
from sleap_infer.model import ModelSpec, read_spec
from sleap_infer.model.conventions import SLEAP
from sleap_infer.model.readers.legacy import read_keras_weights
from sleap_infer.model.spec import MapHeadSpec, SkeletonSpec, TrainedPreprocessing, UNetSpec, VectorHeadSpec

PARTS = {"part_names": ["a", "b"], "output_stride": 4}


def write(
    directory: Path, heads: dict[str, Any], unet: object = None, first: str = "stack0_enc0_conv0", **data: object
) -> Path:
    backbone = {"leap": None, "unet": {"max_stride": 8, "stem_stride": None} if unet is None else unet}
    content = {"data": data, "model": {"backbone": backbone, "heads": heads}, "sleap_version": "1.3.4"}
    (directory / "training_config.json").write_text(json.dumps(content))
    with h5py.File(directory / "best_model.h5", "w") as file:
        file[f"model_weights/{first}/{first}/kernel:0"] = np.zeros((3, 3, 3, 8), np.float32)
    return directory


def read(directory: Path, heads: dict[str, Any], *args: object, **data: object) -> ModelSpec:
    return read_spec(write(directory, heads, *args, **data))  # type: ignore[arg-type]


def test_silent_configuration(tmp_path: Path) -> None:
    spec = read(tmp_path, {"centroid": None, "single_instance": {"part_names": ["a", "b"]}})
    assert (spec.kind, spec.format, spec.written_by) == ("single_instance", "sleap", "1.3.4")
    assert spec.heads == (MapHeadSpec("SingleInstanceConfmapsHead", 2, 1),)
    assert spec.backbone == UNetSpec(in_channels=3, filters=32, filters_rate=1.5, max_stride=8, output_stride=1)
    assert spec.preprocessing == TrainedPreprocessing()


def test_stem_stride_is_sixteen_where_it_is_missing_and_none_where_it_is_null(tmp_path: Path) -> None:
    heads = {"centroid": {**PARTS, "anchor_part": "b"}}
    assert read(tmp_path, heads, {"max_stride": 64}, "stem0_conv0").backbone.stem_stride == 16  # type: ignore[union-attr]
    assert read(tmp_path, heads).backbone.stem_stride is None  # type: ignore[union-attr]
    assert read(tmp_path, heads).anchor_part == "b"


def test_preprocessing_has_other_names(tmp_path: Path) -> None:
    spec = read(
        tmp_path,
        {"centered_instance": PARTS},
        preprocessing={"ensure_grayscale": True, "target_height": 64, "target_width": 96, "input_scaling": 0.5},
        instance_cropping={"crop_size": 48},
    )
    assert spec.preprocessing == TrainedPreprocessing(None, True, 64, 96, 0.5, 48)


@pytest.mark.parametrize(
    ("head", "kind", "second"),
    [
        (
            {"pafs": {"edges": [["b", "a"]], "output_stride": 8}},
            "bottomup",
            MapHeadSpec("PartAffinityFieldsHead", 2, 8),
        ),
        ({"class_maps": {"classes": ["m", "f"]}}, "multi_class_bottomup", MapHeadSpec("ClassMapsHead", 2, 1, True)),
        ({"class_vectors": {"classes": ["m"]}}, "multi_class_topdown", VectorHeadSpec("ClassVectorsHead", 1, 2, 1024)),
        (
            {"class_vectors": {"classes": ["m"], "num_fc_layers": 3, "num_fc_units": 16}},
            "multi_class_topdown",
            VectorHeadSpec("ClassVectorsHead", 1, 3, 16),
        ),
    ],
)
def test_heads_of_two(tmp_path: Path, head: dict[str, Any], kind: str, second: object) -> None:
    name = "multi_instance" if kind == "bottomup" else kind
    spec = read(tmp_path, {name: {"confmaps": PARTS, **head}})
    assert spec.kind == kind
    assert spec.heads[0].channels == 2
    assert spec.heads[1] == second
    assert spec.paf_edges == (((1, 0),) if kind == "bottomup" else ())


def test_centroid_comes_before_other_heads(tmp_path: Path) -> None:
    assert read(tmp_path, {"single_instance": PARTS, "centroid": PARTS}).kind == "centroid"


@pytest.mark.parametrize(("unet", "message"), [({"stacks": 3}, "several stacks"), ({"middle_block": False}, "middle")])
def test_variants_that_are_not_run_here(tmp_path: Path, unet: object, message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        read(tmp_path, {"centroid": PARTS}, unet)


def test_other_backbones_are_not_run_here(tmp_path: Path) -> None:
    write(tmp_path, {"centroid": PARTS})
    path = tmp_path / "training_config.json"
    path.write_text(path.read_text().replace('"leap": null, "unet"', '"unet": null, "hourglass"'))
    with pytest.raises(UnsupportedModelError, match=r"training_config\.json.*only unet is run here, found hourglass"):
        read_spec(tmp_path)


def test_weights_without_a_first_convolution(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"best_model\.h5: no first convolution"):
        read(tmp_path, {"centroid": PARTS}, None, "dense")


def test_axes_and_names_of_keras_weights(tmp_path: Path) -> None:
    kernel = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["model_weights/CentroidConfmapsHead_0/CentroidConfmapsHead_0/kernel:0"] = kernel
        file["model_weights/pre_classification0_fc/pre_classification0_fc/kernel:0"] = kernel[0, 0]
        file["model_weights/pre_classification0_fc/pre_classification0_fc/bias:0"] = kernel[0, 0, 0]
        file.create_group("model_weights/input_1")
    weights = read_keras_weights(tmp_path / "w.h5")
    assert weights.keys() == {
        "CentroidConfmapsHead.weight",
        "pre_classification0_fc.weight",
        "pre_classification0_fc.bias",
    }
    assert weights["CentroidConfmapsHead.weight"].shape == (5, 4, 2, 3)
    assert weights["CentroidConfmapsHead.weight"][4, 3, 1, 2] == kernel[1, 2, 3, 4]
    assert weights["pre_classification0_fc.weight"][4, 1] == kernel[0, 0, 1, 4]
    assert weights["pre_classification0_fc.bias"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("suffix", ["", "_0"])
@pytest.mark.parametrize(
    ("name", "section", "channels"),
    [("centroid", PARTS, 2), ("single_instance", PARTS, 4), ("multi_instance", {"confmaps": PARTS}, 4)],
)
def test_an_offset_head_is_found_by_its_weights(
    tmp_path: Path, name: str, section: dict[str, Any], channels: int, suffix: str
) -> None:
    pafs = {"pafs": {"edges": [["a", "b"]], "output_stride": 8}} if name == "multi_instance" else {}
    write(tmp_path, {name: {**section, **pafs}})
    assert not read_spec(tmp_path).has_offsets
    layer = f"OffsetRefinementHead{suffix}"
    with h5py.File(tmp_path / "best_model.h5", "a") as file:
        file[f"model_weights/{layer}/{layer}/kernel:0"] = np.zeros((1, 1, 8, channels), np.float32)
    spec = read_spec(tmp_path)
    assert spec.has_offsets
    assert spec.heads[-1] == MapHeadSpec("OffsetRefinementHead", channels, 4)


@pytest.mark.parametrize(
    "given",
    [
        {"resize_and_pad_to_target": False, "target_height": 64, "target_width": 96},
        {"target_height": 64, "target_width": None},
    ],
)
def test_frames_are_fitted_only_where_both_sides_are_given_and_it_is_on(tmp_path: Path, given: dict[str, Any]) -> None:
    spec = read(tmp_path, {"centroid": PARTS}, preprocessing=given)
    assert (spec.preprocessing.max_height, spec.preprocessing.max_width) == (None, None)


def test_sleap_has_its_own_conventions(tmp_path: Path) -> None:
    conventions = read(tmp_path, {"centroid": PARTS}).conventions
    assert conventions == SLEAP
    assert (conventions.resizing, conventions.cropping, conventions.half_pixel) == ("bilinear", "between_pixels", 0.5)
    assert conventions.peaks == "strict"


def test_nodes_are_the_parts_where_there_is_no_skeleton(tmp_path: Path) -> None:
    assert read(tmp_path, {"centered_instance": PARTS}, labels={"skeletons": []}).skeleton == SkeletonSpec(("a", "b"))
    with pytest.raises(ModelConfigError, match=r"training_config\.json.*neither a skeleton nor part_names"):
        read(tmp_path, {"centered_instance": {"part_names": None}})


def test_skeleton_as_sleap_wrote_it(tmp_path: Path) -> None:
    """jsonpickle's form: the second mention of a node or of an edge's type is a number."""
    nodes = [{"py/object": "sleap.skeleton.Node", "py/state": {"py/tuple": [name, 1.0]}} for name in ("tail", "head")]
    types = [{"py/reduce": [{"py/type": "sleap.skeleton.EdgeType"}, {"py/tuple": [kind]}]} for kind in (1, 2)]
    body = {"key": 0, "source": nodes[0], "target": nodes[1], "edge_insert_idx": 0, "type": types[0]}
    mirror = {"key": 0, "source": {"py/id": 1}, "target": {"py/id": 2}, "type": types[1]}
    graph = {"name": "fly", "num_edges_inserted": 1}
    skeleton = {
        "directed": True,
        "graph": graph,
        "links": [body, mirror, {**mirror, "source": {"py/id": 2}, "target": {"py/id": 1}, "type": {"py/id": 4}}],
        "multigraph": True,
        "nodes": [{"id": {"py/id": 2}}, {"id": {"py/id": 1}}],
    }
    spec = read(tmp_path, {"centroid": PARTS}, labels={"skeletons": [skeleton]})
    assert spec.skeleton == SkeletonSpec(("head", "tail"), (("tail", "head"),), (("head", "tail"),), "fly")
    assert spec.skeleton.edge_inds == ((1, 0),)
