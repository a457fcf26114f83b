"""Maps to the arrays that every backend gives, for each kind of model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from sleap_infer.config.kinds import KINDS, model_kinds
from sleap_infer.config.options import PeakOptions
from sleap_infer.model.settings import StageSettings
from sleap_infer.model.spec import HeadSpec, MapHeadSpec, ModelSpec, SkeletonSpec, UNetSpec, VectorHeadSpec
from sleap_infer.ops.candidates import to_candidates
from sleap_infer.poses.candidates import join

NODES, EDGES, CLASSES = ("a", "b", "c"), ((0, 1), (1, 2)), ("f", "m")
SECOND_HEADS: dict[str, HeadSpec] = {
    "bottomup": MapHeadSpec("PartAffinityFieldsHead", 4, 4),
    "multi_class_bottomup": MapHeadSpec("ClassMapsHead", 2, 4, sigmoid=True),
    "multi_class_topdown": VectorHeadSpec("ClassVectorsHead", 2),
}
kinds = pytest.mark.parametrize("kind", model_kinds())
batches = pytest.mark.parametrize("batch", [1, 3])


def spec(kind: str) -> ModelSpec:
    confmaps = MapHeadSpec(KINDS[kind].heads[0].name, 1 if kind == "centroid" else 3, 2)
    heads = (confmaps, SECOND_HEADS[kind]) if kind in SECOND_HEADS else (confmaps,)
    edges = EDGES if kind == "bottomup" else ()
    return ModelSpec(kind, SkeletonSpec(NODES), UNetSpec(), heads, paf_edges=edges, classes=CLASSES)


def empty_maps(kind: str, batch: int) -> dict[str, Tensor]:
    maps: dict[str, Tensor] = {}
    for head in spec(kind).heads:
        cells = () if isinstance(head, VectorHeadSpec) else (32 // head.output_stride, 48 // head.output_stride)
        maps[head.name] = torch.zeros(batch, head.channels, *cells)
    return maps


def random_maps(kind: str, batch: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {name: torch.rand(zeros.shape, generator=generator) for name, zeros in empty_maps(kind, batch).items()}


def shapes(kind: str, batch: int, k: int) -> dict[str, tuple[int, ...]]:
    """Of the table in `sleap_infer.poses.candidates`."""
    one = {"peaks": (batch, 3, 2), "peak_vals": (batch, 3)}
    many = {"peaks": (batch, 3, k, 2), "peak_vals": (batch, 3, k), "peak_mask": (batch, 3, k)}
    lines = (batch, 2, k * k)
    return {
        "single_instance": one,
        "centered_instance": one,
        "centroid": {"centroids": (batch, k, 2), "centroid_vals": (batch, k), "instance_valid": (batch, k)},
        "bottomup": {**many, "line_scores": lines, "candidate_mask": lines},
        "multi_class_bottomup": {**many, "class_probs": (batch, 3, k, 2)},
        "multi_class_topdown": {**one, "class_probs": (batch, 2)},
    }[kind]


@kinds
@batches
@pytest.mark.parametrize("n_peaks", [None, 4])
def test_maps_without_peaks_give_none(kind: str, batch: int, n_peaks: int | None) -> None:
    found = to_candidates(empty_maps(kind, batch), spec(kind), StageSettings(kind), n_peaks)
    assert {name: tuple(array.shape) for name, array in found.items()} == shapes(kind, batch, n_peaks or 1)
    assert tuple(found) == tuple(KINDS[kind].arrays)
    for name in {"peaks", "centroids", "line_scores"} & found.keys():
        assert found[name].isnan().all()
    for name in {"peak_vals", "peak_mask", "centroid_vals", "instance_valid", "candidate_mask"} & found.keys():
        assert not found[name].any()


@kinds
@batches
def test_peaks_of_the_last_image_stand_at_their_pixels(kind: str, batch: int) -> None:
    """Two cells of stride 2 in the first map, at (5, 3) and (20, 10)."""
    maps = empty_maps(kind, batch)
    confmaps = maps[KINDS[kind].heads[0].name]
    confmaps[-1, 0, 3, 5], confmaps[-1, 0, 10, 20] = 0.5, 0.75
    found = to_candidates(maps, spec(kind), StageSettings(kind))
    peaks, values = found.get("peaks", found.get("centroids")), found.get("peak_vals", found.get("centroid_vals"))
    assert peaks is not None
    assert values is not None
    if kind == "centroid":
        peaks, values = peaks[:, None], values[:, None]
    several = kind in ("centroid", "bottomup", "multi_class_bottomup")
    assert peaks[-1, 0].tolist() == ([[10, 6], [40, 20]] if several else [40, 20])
    assert values[-1, 0].tolist() == ([0.5, 0.75] if several else 0.75)
    assert peaks[:-1].isnan().all()
    assert peaks[:, 1:].isnan().all()


def test_connections_have_their_scores_where_both_ends_are_peaks() -> None:
    """Node a has peaks at (8, 8) and (8, 16), node b one at (16, 8); the field of edge (a, b) is (1, 0)."""
    maps = empty_maps("bottomup", 1)
    confmaps, fields = maps.values()
    confmaps[0, 0, 4, 4] = confmaps[0, 0, 8, 4] = confmaps[0, 1, 4, 8] = 1
    fields[0, 0] = 1
    found = to_candidates(maps, spec("bottomup"), StageSettings("bottomup"))
    assert found["candidate_mask"].tolist() == [[[True, False, True, False], [False] * 4]]
    first, second = found["line_scores"][0, 0, [0, 2]].tolist()
    assert (first, second) == (pytest.approx(1), pytest.approx(0.5**0.5 + min(0.25 * 12 * 4 / 128**0.5 - 1, 0)))
    assert found["line_scores"][0, 0, [1, 3]].isnan().all()
    assert found["line_scores"][0, 1].isnan().all()


def test_classes_are_those_of_the_nearest_cell() -> None:
    """Peak at pixel (20, 12), cell (5, 3) of the class maps."""
    maps = empty_maps("multi_class_bottomup", 1)
    confmaps, classes = maps.values()
    confmaps[0, 1, 6, 10] = 1
    classes[0, :, 3, 5] = torch.tensor([0.25, 0.75])
    found = to_candidates(maps, spec("multi_class_bottomup"), StageSettings("multi_class_bottomup"))
    assert found["class_probs"][0, 1].tolist() == [[0.25, 0.75]]
    assert found["class_probs"][0, [0, 2]].isnan().all()


@pytest.mark.parametrize(("at_most", "values"), [(None, [0.5, 1.0, 0.75]), (2, [1.0, 0.75]), (1, [1.0])])
def test_settings_cap_the_peaks_of_a_node(at_most: int | None, values: list[float]) -> None:
    maps = empty_maps("centroid", 1)
    for x, value in ((3, 0.5), (9, 1.0), (15, 0.75)):
        maps["CentroidConfmapsHead"][0, 0, 5, x] = value
    settings = StageSettings("centroid", peaks=PeakOptions(max_peaks_per_node=at_most))
    assert to_candidates(maps, spec("centroid"), settings)["centroid_vals"].tolist() == [values]


@pytest.mark.parametrize("kind", [kind for kind in model_kinds() if KINDS[kind].capacity])
def test_how_much_room_was_needed_is_told(kind: str) -> None:
    """Three peaks in the first map of the second image, of which there is room for one."""
    maps = empty_maps(kind, 2)
    for x in (3, 9, 15):
        maps[KINDS[kind].heads[0].name][1, 0, 5, x] = 0.5
    found = to_candidates(maps, spec(kind), StageSettings(kind), n_peaks=1, count=True)
    assert found["n_candidates"].tolist() == [0, 3]


@kinds
def test_maps_with_channels_innermost_give_the_same(kind: str) -> None:
    maps = random_maps(kind, 2)
    turned = {
        name: values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values
        for name, values in maps.items()
    }
    found, same = (to_candidates(given, spec(kind), StageSettings(kind)) for given in (maps, turned))
    for name, values in found.items():
        np.testing.assert_array_equal(same[name], values)


@kinds
def test_batches_with_more_and_fewer_peaks_are_joined(kind: str) -> None:
    maps = random_maps(kind, 4)
    confmaps = next(maps[name] for name in maps if name.endswith("ConfmapsHead"))
    confmaps *= torch.tensor([0.0, 0.5, 1.0, 0.25])[:, None, None, None]  # images with no, some, many and few peaks
    settings = StageSettings(kind)

    def find(images: slice) -> dict[str, np.ndarray]:
        found = to_candidates({name: values[images] for name, values in maps.items()}, spec(kind), settings)
        return {name: values.numpy() for name, values in found.items()}

    whole, joined = find(slice(0, 4)), join([find(slice(0, 1)), find(slice(1, 3)), find(slice(3, 4))])
    assert list(joined) == list(whole)
    for name, expected in whole.items():
        np.testing.assert_array_equal(joined[name], expected, err_msg=name)
