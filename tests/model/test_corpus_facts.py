"""Facts of real models are those that their training wrote down."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from sleap_infer.model import load_network, read_spec
from sleap_infer.model.spec import HeadSpec, MapHeadSpec, TrainedPreprocessing, UNetSpec

FLIES = TrainedPreprocessing(False, False, 384, 384)


def maps(name: str, channels: int, stride: int, sigmoid: bool = False) -> MapHeadSpec:
    return MapHeadSpec(name, channels, stride, sigmoid)


@pytest.mark.parametrize(
    ("name", "kind", "backbone", "heads", "preprocessing", "n_parameters"),
    [
        (
            "minimal_instance_single_instance",
            "single_instance",
            UNetSpec(in_channels=3, filters=8, filters_rate=2, max_stride=4, output_stride=4),
            (maps("SingleInstanceConfmapsHead", 2, 4),),
            TrainedPreprocessing(False, False, 320, 560, scale=0.5),
            18_250,
        ),
        (
            "minimal_instance_centroid",
            "centroid",
            UNetSpec(filters=16, max_stride=8, up_interpolate=False, output_stride=4),
            (maps("CentroidConfmapsHead", 1, 4),),
            FLIES,
            127_161,
        ),
        (
            "minimal_instance_centered_instance",
            "centered_instance",
            UNetSpec(filters=16, max_stride=8, up_interpolate=False, output_stride=2),
            (maps("CenteredInstanceConfmapsHead", 2, 2),),
            TrainedPreprocessing(False, False, 384, 384, crop_size=96),
            150_574,
        ),
        (
            "minimal_instance_bottomup",
            "bottomup",
            UNetSpec(filters=16, max_stride=8, up_interpolate=False, output_stride=2),
            (maps("MultiInstanceConfmapsHead", 2, 2), maps("PartAffinityFieldsHead", 2, 4)),
            FLIES,
            150_648,
        ),
        (
            "minimal_instance_multiclass_bottomup",
            "multi_class_bottomup",
            UNetSpec(filters=8, max_stride=16, output_stride=2),
            (maps("MultiInstanceConfmapsHead", 2, 2), maps("ClassMapsHead", 2, 2, sigmoid=True)),
            TrainedPreprocessing(False, False, 384, 384, scale=0.5),
            80_683,
        ),
    ],
)
def test_checkpoints_of_sleap_nn(
    corpus: Path,
    name: str,
    kind: str,
    backbone: UNetSpec,
    heads: tuple[HeadSpec, ...],
    preprocessing: TrainedPreprocessing,
    n_parameters: int,
) -> None:
    spec = read_spec(corpus / "models" / name)
    assert (spec.kind, spec.format, spec.max_stride) == (kind, "sleap-nn", backbone.max_stride)
    assert (spec.skeleton.nodes, spec.skeleton.edge_inds, spec.n_nodes) == (("A", "B"), ((0, 1),), 2)
    assert (spec.backbone, spec.heads, spec.preprocessing) == (backbone, heads, preprocessing)
    assert spec.paf_edges == (((0, 1),) if kind == "bottomup" else ())
    assert spec.classes == (("female", "male") if kind == "multi_class_bottomup" else ())
    assert count_parameters(corpus / "models" / name) == n_parameters


@pytest.mark.parametrize(
    ("name", "kind", "n_parameters"),
    [("bottomup", "bottomup", 150_748), ("centroid", "centroid", 127_235)],
)
def test_legacy_models_are_built_as_their_successors(corpus: Path, name: str, kind: str, n_parameters: int) -> None:
    path = corpus / "legacy" / f"minimal_instance.UNet.{name}"
    spec = read_spec(path)
    assert (spec.kind, spec.format, spec.skeleton.nodes) == (kind, "sleap", ("A", "B"))
    assert spec.backbone == read_spec(corpus / "models" / f"minimal_instance_{name}").backbone
    assert count_parameters(path) == n_parameters


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("minimal_instance_single_instance", [8, 16, 32]),
        ("minimal_instance_bottomup", [16, 24, 36, 54]),
        ("minimal_instance_multiclass_bottomup", [8, 12, 18, 27, 40]),
    ],
)
def test_widths_of_the_levels_are_rounded_down(corpus: Path, name: str, widths: list[int]) -> None:
    weights = load_network(corpus / "models" / name).state_dict()
    encoder = [value.shape[0] for key, value in weights.items() if key.endswith("conv1.weight") and "encoders" in key]
    middle = [value.shape[0] for key, value in weights.items() if key.endswith("contract_conv0.weight")]
    assert encoder + middle == widths


def count_parameters(path: Path) -> int:
    return sum(math.prod(weights.shape) for weights in load_network(path).parameters())
