"""Configurations that are unreadable, incomplete, contradictory or of models that are not run here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import change, tiny_config, write_config, write_model

from sleap_infer.errors import ModelConfigError, ModelError, UnsupportedModelError
from sleap_infer.model import load_network
from sleap_infer.model.readers.section import Section
from sleap_infer.model.readers.sleap_nn import read_kind

HEADS = "model_config/head_configs"
UNET = "model_config/backbone_config/unet"
PREPROCESSING = "data_config/preprocessing"
SKELETONS = "data_config/skeletons"
NODES, EDGES = f"{SKELETONS}/0/nodes", f"{SKELETONS}/0/edges"


def refuse(tmp_path: Path, config: object, error: type[ModelError], message: str) -> None:
    write_config(tmp_path / "model", config)
    torch.save({"state_dict": {"model.x": torch.zeros(1)}}, tmp_path / "model" / "best.ckpt")
    with pytest.raises(error, match=message) as caught:
        load_network(tmp_path / "model")
    assert "training_config.yaml" in str(caught.value)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no head is given"),
        ("just words", "expected a mapping, found 'just words'"),
        ("- 1\n- 2\n", r"expected a mapping, found \[1, 2\]"),
        ("a: [1, 2", "not readable YAML"),
        ("a: b: c", "not readable YAML"),
        ("a: 2024-13-45", "not readable YAML"),
        ("a: !!timestamp never", "not readable YAML"),
        ("a: !!int ''", "not readable YAML"),
        ("a: !!python/object/apply:os.system ['true']", "not readable YAML"),
        ("? [1]\n: 2\n", "not readable YAML|no head"),
        ("[" * 1000, "not readable YAML"),
        ("\x00\x01", "not readable YAML"),
        ("model_config: 3", "model_config: expected a mapping, found 3"),
    ],
)
def test_text_that_is_no_configuration(tmp_path: Path, text: str, message: str) -> None:
    refuse(tmp_path, text, ModelConfigError, message)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    write_model(tmp_path, tiny_config())
    (tmp_path / "training_config.yaml").write_bytes(b"a: \xff\xfe\xfd")
    with pytest.raises(ModelConfigError, match=r"training_config\.yaml is not readable YAML"):
        load_network(tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (f"{HEADS}/bottomup", None, "no head is given"),
        (f"{HEADS}/bottomup", "yes", "expected a mapping, found 'yes'"),
        (f"{HEADS}/bottomup/confmaps", [1], r"confmaps: expected a mapping, found \[1\]"),
        (f"{HEADS}/bottomup/pafs", ..., "needs the section 'pafs'"),
        (UNET, None, "no backbone is given"),
        ("model_config", ..., "no head is given"),
        ("model_config/head_configs", ..., "no head is given"),
        (SKELETONS, 3, "malformed skeleton"),
        (SKELETONS, "fly", "malformed skeleton"),
        (SKELETONS, {"fly": 3}, "malformed skeleton"),
        (SKELETONS, [3], "malformed skeleton"),
        (NODES, ..., "malformed skeleton"),
        (NODES, [], "malformed skeleton.*no nodes"),
        (NODES, [{}], "malformed skeleton"),
        (NODES, [[["head"]]], r"malformed skeleton.*\[\['head'\]\] is not the name of a node"),
        (f"{NODES}/1/name", "head", "malformed skeleton.*'nodes'.*only once"),
        (f"{EDGES}/0/source/name", "nose", r"malformed skeleton.*'edges' name \['nose'\]"),
        (f"{EDGES}/0/source", ..., "malformed skeleton"),
        (f"{SKELETONS}/0/symmetries", [["head", "tail", "thorax"]], "malformed skeleton"),
        (f"{SKELETONS}/0/symmetries", [["head", "nose"]], "malformed skeleton.*'symmetries'"),
        (f"{SKELETONS}/0/symmetries", [7], "malformed skeleton"),
        (f"{HEADS}/bottomup/confmaps/part_names", ["head"], "1 part_names.*3 nodes"),
        (f"{HEADS}/bottomup/confmaps/part_names", "head", "'part_names' should be a list, found 'head'"),
        (f"{HEADS}/bottomup/pafs/edges", [], "at least one edge"),
        (f"{HEADS}/bottomup/pafs/edges", 3, "edges should be pairs"),
        (f"{HEADS}/bottomup/pafs/edges", ["ab", "bc"], "edges should be pairs"),
        (f"{HEADS}/bottomup/pafs/edges", [["head"]], "edges should be pairs"),
        (f"{HEADS}/bottomup/pafs/edges", [[1, 2]], "edges should be pairs"),
        (f"{HEADS}/bottomup/pafs/edges", [[["head"], "tail"]], "edges should be pairs"),
        (f"{HEADS}/bottomup/pafs/edges", [["head", "nose"]], "edges should be pairs of the parts.*found.*nose"),
        (f"{HEADS}/bottomup/pafs/edges", [["head", "tail"], ["tail", "head"]], "cycle"),
        (f"{HEADS}/bottomup/pafs/edges", [["head", "tail"], ["tail", "thorax"], ["thorax", "tail"]], "cycle"),
        (f"{HEADS}/bottomup/pafs/edges", [["head", "head"]], "cycle"),
        (f"{HEADS}/bottomup/confmaps/output_stride", 0, "output_stride"),
        (f"{HEADS}/bottomup/confmaps/output_stride", 3, "'output_stride' has to be a power of two, found 3"),
        (f"{HEADS}/bottomup/confmaps/output_stride", 8, "output_stride 8.*features at strides"),
        (f"{HEADS}/bottomup/pafs/output_stride", 1, "output_stride 1.*features at strides"),
        (f"{PREPROCESSING}/scale", "big", "'scale' should be of type float, found 'big'"),
        (f"{PREPROCESSING}/scale", 0, "'scale' must be > 0"),
        (f"{PREPROCESSING}/scale", -1.5, "'scale' must be > 0"),
        (f"{PREPROCESSING}/scale", float("inf"), "'scale' must be < inf"),
        (f"{PREPROCESSING}/scale", float("nan"), "'scale' must be > 0"),
        (f"{PREPROCESSING}/scale", 10**400, "'scale' must be < inf"),
        (f"{PREPROCESSING}/scale", -(10**400), "'scale' must be"),
        (f"{PREPROCESSING}/max_height", -3, "'max_height' must be > 0"),
        (f"{PREPROCESSING}/max_height", 10.5, "'max_height' should be of type int"),
        (f"{PREPROCESSING}/crop_size", [96, 96], "'crop_size' should be of type int"),
        (f"{PREPROCESSING}/ensure_rgb", "no", "'ensure_rgb' should be of type bool, found 'no'"),
        (PREPROCESSING, [], "preprocessing: expected a mapping"),
        (f"{UNET}/max_stride", 12, "'max_stride' has to be a power of two, found 12"),
        (f"{UNET}/max_stride", "16", "'max_stride' should be of type int"),
        (f"{UNET}/max_stride", True, "'max_stride' should be of type int"),
        (f"{UNET}/output_stride", 0, "'output_stride' has to be a power of two, found 0"),
        (f"{UNET}/in_channels", 2, "'in_channels' must be in"),
        (f"{UNET}/filters", 0, "'filters' must be > 0"),
        (f"{UNET}/filters_rate", float("inf"), "'filters_rate' must be < inf"),
        (f"{UNET}/filters_rate", 1e300, "no network of this size can be built"),
        (f"{UNET}/filters", 10**30, "no network of this size can be built"),
        (f"{UNET}/convs_per_block", 1, "'convs_per_block' must be >= 2"),
        (f"{UNET}/convs_per_block", 10**12, "'convs_per_block' must be <= 1000"),
        (f"{UNET}/kernel_size", 0, "'kernel_size' must be > 0"),
    ],
)
def test_faults_are_named(tmp_path: Path, path: str, value: object, message: str) -> None:
    refuse(tmp_path, change(tiny_config(), path, value), ModelConfigError, message)


def test_output_stride_beyond_max_stride(tmp_path: Path) -> None:
    refuse(tmp_path, change(tiny_config(), f"{UNET}/output_stride", 16), ModelError, "output_stride.*max_stride")


@pytest.mark.parametrize("kind", ["multi_class_bottomup", "multi_class_topdown"])
@pytest.mark.parametrize("classes", [[], None, "fm", ["f", "f"], [1, 2]], ids=str)
def test_classes(tmp_path: Path, kind: str, classes: object) -> None:
    second = "class_maps" if kind == "multi_class_bottomup" else "class_vectors"
    config = change(tiny_config(kind), f"{HEADS}/{kind}/{second}/classes", classes)
    refuse(tmp_path, config, ModelConfigError, "classes")


def test_neither_skeleton_nor_parts(tmp_path: Path) -> None:
    config = change(change(tiny_config(), SKELETONS, []), f"{HEADS}/bottomup/confmaps/part_names", None)
    refuse(tmp_path, config, ModelConfigError, "malformed skeleton.*neither a skeleton nor part_names")


def test_class_vectors_without_pooling(tmp_path: Path) -> None:
    config = tiny_config("multi_class_topdown")
    change(config, f"{HEADS}/multi_class_topdown/class_vectors/global_pool", False)
    refuse(tmp_path, config, UnsupportedModelError, "without `global_pool` are not run here")


@pytest.mark.parametrize("head", ["bottomup_segmentation", "semantic_segmentation", "bbox_ssd"])
def test_heads_that_are_not_run_here(tmp_path: Path, head: str) -> None:
    config = tiny_config()
    config["model_config"]["head_configs"] = {"bottomup": None, head: {"segmentation": {"output_stride": 2}}}
    refuse(tmp_path, config, UnsupportedModelError, f"{head}.*supported: single_instance.*Predict with sleap-nn itself")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model_config/backbone_config", {"unet": None, "vit": {}}, "backbone 'vit' is not run here.*supported: unet"),
        ("model_config/backbone_config", {"pretrained": {"source": "hf"}}, "backbone 'pretrained' is not run here"),
        ("model_config/backbone_config", {"convnext": {"model_type": "huge"}}, "'huge' is none of tiny, small"),
        (f"{UNET}/stacks", 2, "several stacks"),
        (f"{UNET}/middle_block", False, "middle_block"),
        (f"{UNET}/stem_stride", 16, "cannot be run"),
        (f"{UNET}/filters_rate", 0.01, "cannot be run"),
        (f"{PREPROCESSING}/tiling", {"enabled": True}, "trained on tiles"),
    ],
)
def test_variants_that_are_not_run_here(tmp_path: Path, path: str, value: object, message: str) -> None:
    refuse(tmp_path, change(tiny_config(), path, value), UnsupportedModelError, message)


@pytest.mark.parametrize(
    "arch",
    [
        {"depths": [1, 1], "channels": [8, 8]},
        {"depths": [0] * 4, "channels": [8] * 4},
        {"depths": [1, 1, 1, 10**12], "channels": [8] * 4},
        {"depths": "3", "channels": 1},
    ],
)
def test_stages_of_a_convnext(tmp_path: Path, arch: dict[str, Any]) -> None:
    config = tiny_config()
    config["model_config"]["backbone_config"] = {"convnext": {"model_type": "own", "arch": arch}}
    refuse(tmp_path, config, ModelConfigError, "convnext")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable JSON"),
        ("[" * 100000, "not readable JSON"),
        ("[]", "expected a mapping"),
        ({"model": {"heads": {"centroid": "yes"}}}, "expected a mapping, found 'yes'"),
        ({"model": {"heads": {"multi_class_topdown": {"class_vectors": [1]}}}}, "expected a mapping"),
        ({"model": {"heads": {"other": {}}}}, "a head has to be given.*found other"),
        ({"model": {"heads": {"centroid": {}}}}, "neither a skeleton nor part_names"),
        (
            {"model": {"heads": {"centroid": {}}}, "data": {"labels": {"skeletons": [{"nodes": 3}]}}},
            "malformed skeleton",
        ),
        ({"model": {"heads": {"centroid": {}}}, "data": {"labels": {"skeletons": {"a": 3}}}}, "malformed skeleton"),
    ],
)
def test_configurations_of_sleap(tmp_path: Path, content: object, message: str) -> None:
    (tmp_path / "training_config.json").write_text(content if isinstance(content, str) else json.dumps(content))
    (tmp_path / "best_model.h5").touch()
    with pytest.raises(ModelConfigError, match=rf"(?s)training_config\.json.*{message}"):
        load_network(tmp_path)


def test_the_first_head_that_is_given_counts() -> None:
    heads = Section({"single_instance": None, "centroid": {"confmaps": {}}, "bottomup": {"confmaps": {}}}, "file")
    assert read_kind(heads)[0] == "centroid"
