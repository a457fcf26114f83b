"""Models load the same from every form and path, and their configuration gets sleap-nn's defaults."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from tiny_model import KINDS, NODES, change, checkpoint_of, tiny_config, write_config, write_model

from sleap_infer.model import ModelSpec, find_model_files, load_network, read_spec
from sleap_infer.model.networks import Network
from sleap_infer.model.readers.backbone import read_backbone
from sleap_infer.model.readers.section import Section
from sleap_infer.model.spec import ConvNextSpec, MapHeadSpec, SkeletonSpec, SwinSpec, TrainedPreprocessing, UNetSpec

IMAGES = torch.from_numpy(np.random.default_rng(0).random((2, 1, 32, 48), np.float32))


def assert_draws_the_same(found: torch.nn.Module, expected: torch.nn.Module) -> None:
    with torch.inference_mode():
        ours, theirs = found(IMAGES), expected(IMAGES)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_written_model_draws_the_same_maps_when_loaded(tmp_path: Path, kind: str) -> None:
    network = write_model(tmp_path / "model", tiny_config(kind))
    loaded = load_network(tmp_path / "model")
    assert not loaded.training
    assert_draws_the_same(loaded, network)


@pytest.mark.parametrize("name", ["", "best.ckpt", "training_config.yaml"])
@pytest.mark.parametrize("as_text", [False, True])
def test_directory_checkpoint_and_configuration_are_one_model(tmp_path: Path, name: str, as_text: bool) -> None:
    write_model(tmp_path / "model.ckpt", tiny_config())
    path = tmp_path / "model.ckpt" / name
    assert find_model_files(str(path) if as_text else path) == find_model_files(tmp_path / "model.ckpt")


def test_a_checkpoint_that_is_named_is_the_one_that_is_read(tmp_path: Path) -> None:
    network = write_model(tmp_path, tiny_config())
    network.head_layers[0].get_parameter("MultiInstanceConfmapsHead.0.bias").data += 1
    torch.save(checkpoint_of(network), tmp_path / "last.ckpt")
    assert_draws_the_same(load_network(tmp_path / "last.ckpt"), network)


def test_yaml_counts_where_there_is_json_too(tmp_path: Path) -> None:
    write_model(tmp_path, tiny_config("centroid"))
    (tmp_path / "training_config.json").write_text(json.dumps({"model": {"heads": {"single_instance": {}}}}))
    (tmp_path / "best_model.h5").touch()
    assert read_spec(tmp_path).kind == "centroid"
    assert find_model_files(tmp_path / "best_model.h5").config.name == "training_config.json"


class DictConfig:
    """Stands for OmegaConf's class of that name, which is not installed here."""

    def __init__(self, content: object) -> None:
        self.content = content

    def __reduce__(self) -> Any:
        return type(self), (None,), {"_content": self.content, "_metadata": [1, 2]}, iter([3]), iter([("k", "v")])

    def append(self, item: object) -> None: ...

    def __setitem__(self, key: str, value: object) -> None: ...


def test_old_checkpoint_with_a_pickled_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = write_model(tmp_path, tiny_config())
    module = ModuleType("omegaconf_of_old")
    monkeypatch.setattr(DictConfig, "__module__", module.__name__)
    module.DictConfig = DictConfig  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        config = DictConfig({"data_config": DictConfig([1, 2.5, None]), "type": dict})
        torch.save({**checkpoint_of(network), "config": config}, tmp_path / "best.ckpt")
    assert_draws_the_same(load_network(tmp_path), network)


def test_half_precision_weights_are_widened(tmp_path: Path) -> None:
    network = write_model(tmp_path, tiny_config())
    torch.save(checkpoint_of(network.half()), tmp_path / "best.ckpt")
    assert_draws_the_same(load_network(tmp_path), network.float())


def read_bare(tmp_path: Path, head: dict[str, Any], **more: object) -> ModelSpec:
    """The spec of a configuration that says next to nothing."""
    config = {"model_config": {"backbone_config": {"unet": {"filters": 32}}, "head_configs": head}, **more}
    write_config(tmp_path, config)
    (tmp_path / "best.ckpt").touch()
    return read_spec(tmp_path)


def test_defaults_of_missing_keys(tmp_path: Path) -> None:
    spec = read_bare(tmp_path, {"single_instance": {"confmaps": {"part_names": ["a", "b"]}}})
    assert spec.skeleton == SkeletonSpec(("a", "b"), (), (), "Skeleton-0")
    assert spec.preprocessing == TrainedPreprocessing(None, None, None, None, 1.0, None)
    assert spec.backbone == UNetSpec(1, 3, 32, 1.5, 16, None, 2, True, 1)
    assert spec.heads == (MapHeadSpec("SingleInstanceConfmapsHead", 2, 1, sigmoid=False),)
    assert (spec.anchor_part, spec.written_by, spec.classes, spec.paf_edges) == (None, "", (), ())


def test_null_reads_as_missing(tmp_path: Path) -> None:
    config = change(tiny_config("centroid"), "data_config/preprocessing", {"scale": None, "max_height": None})
    write_model(tmp_path, change(config, "model_config/backbone_config/unet/kernel_size", None))
    assert read_spec(tmp_path).preprocessing.scale == 1.0
    assert read_spec(tmp_path).backbone.kernel_size == 3


def test_defaults_of_convnext_and_swin() -> None:
    convnext = read_backbone(Section({"unet": None, "convnext": {"in_channels": 1}}, "x"))
    assert convnext == ConvNextSpec((3, 3, 9, 3), (96, 192, 384, 768), 1, 3, 2.0, 32, 2, True, 1, 4, 2)
    swin = read_backbone(Section({"swint": {"model_type": "base"}}, "x"))
    assert swin == SwinSpec(128, (2, 2, 18, 2), (4, 8, 16, 32), 7, 4, 1, 3, 2.0, 32, 2, True, 1, 2)


def test_stages_of_a_swin_that_are_given_one_by_one() -> None:
    arch = {"embed": 8, "depths": [1, 2, 1, 1], "num_heads": [1, 2, 2, 4]}
    assert read_backbone(Section({"swint": {"arch": arch}}, "x")) == SwinSpec(8, (1, 2, 1, 1), (1, 2, 2, 4))
    assert read_backbone(Section({"swint": {"arch": {"embed": 8}}}, "x")) == SwinSpec(96, (2, 2, 6, 2), (3, 6, 12, 24))


def test_whole_numbers_may_be_written_as_floats_and_floats_as_whole_numbers(tmp_path: Path) -> None:
    write_model(tmp_path, change(tiny_config("centroid"), "data_config/preprocessing", {"scale": 1, "crop_size": 96.0}))
    assert read_spec(tmp_path).preprocessing == TrainedPreprocessing(scale=1.0, crop_size=96)


@pytest.mark.parametrize("named", [None, [["thorax", "tail"], ["head", "thorax"]]])
def test_edges_keep_their_order_and_default_to_those_of_the_skeleton(tmp_path: Path, named: Any) -> None:
    write_model(tmp_path, change(tiny_config(), "model_config/head_configs/bottomup/pafs/edges", named))
    assert read_spec(tmp_path).paf_edges == (((1, 2), (0, 1)) if named else ((0, 1), (1, 2)))


def test_early_mapping_of_skeletons(tmp_path: Path) -> None:
    skeleton = {
        "nodes": [{"name": n} for n in NODES],
        "edges": [],
        "symmetries": [[{"name": "head"}, {"name": "tail"}]],
    }
    write_model(tmp_path, change(tiny_config("centroid"), "data_config/skeletons", {"flies": skeleton}))
    assert read_spec(tmp_path).skeleton == SkeletonSpec(tuple(NODES), (), (("head", "tail"),), "flies")


@pytest.mark.parametrize(
    ("backbone", "n_parameters"),
    [
        (ConvNextSpec((3, 3, 9, 3), (96, 192, 384, 768), output_stride=2), 87_873_219),
        (ConvNextSpec((3, 3, 9, 3), (96, 192, 384, 768), output_stride=1), 87_956_259),
        (ConvNextSpec((3, 3, 9, 3), (96, 192, 384, 768), output_stride=2, up_interpolate=False), 94_924_899),
        (ConvNextSpec((3, 3, 27, 3), (128, 256, 512, 1024), output_stride=2), 194_326_787),
        (SwinSpec(96, (2, 2, 6, 2), (3, 6, 12, 24), output_stride=2), 87_573_981),
        (SwinSpec(96, (2, 2, 6, 2), (3, 6, 12, 24), output_stride=1), 87_657_021),
        (SwinSpec(96, (2, 2, 6, 2), (3, 6, 12, 24), output_stride=2, up_interpolate=False), 94_625_661),
    ],
)
def test_published_sizes_have_the_parameters_of_sleap_nn(backbone: Any, n_parameters: int) -> None:
    kind: str = "single_instance"
    head = MapHeadSpec("SingleInstanceConfmapsHead", 3, backbone.output_stride)
    with torch.device("meta"):
        network = Network(ModelSpec(kind, SkeletonSpec(("a", "b", "c")), backbone, (head,)), "sleap-nn")
    assert sum(weights.numel() for weights in network.parameters()) == n_parameters


def test_images_are_made_to_fit_the_channels_of_the_network(tmp_path: Path) -> None:
    gray = write_model(tmp_path / "gray", tiny_config())
    colour = write_model(tmp_path / "rgb", change(tiny_config(), "model_config/backbone_config/unet/in_channels", 3))
    images = IMAGES.repeat(1, 3, 1, 1) * torch.tensor([0.5, 1.0, 0.0]).view(1, 3, 1, 1)
    with torch.inference_mode():
        expected = gray(IMAGES * (0.5 * 0.2989 + 0.587))
        assert all(torch.allclose(maps, expected[name], atol=1e-6) for name, maps in gray(images).items())
        expected = colour(IMAGES.repeat(1, 3, 1, 1))
        assert all(torch.equal(maps, expected[name]) for name, maps in colour(IMAGES).items())


def test_facts_are_read_without_torch(tmp_path: Path) -> None:
    write_model(tmp_path, tiny_config())
    code = f"import sys, sleap_infer.model as m; print(m.read_spec({str(tmp_path)!r}).kind, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["bottomup", "False"]
