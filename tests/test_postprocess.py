"""Candidates to instances, with answers by hand."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleap_infer.config.kinds import KINDS
from sleap_infer.config.options import FilterOptions, GroupingOptions, PeakOptions
from sleap_infer.model.settings import StageSettings
from sleap_infer.model.spec import ModelSpec, SkeletonSpec, UNetSpec
from sleap_infer.poses.candidates import MAP_NAMES
from sleap_infer.poses.geometry import Geometry
from sleap_infer.poses.outputs import Outputs
from sleap_infer.poses.postprocess import assign_crop_classes, filter_instances, find_rows, postprocess

NAN = np.float32(np.nan)
GEOMETRY = Geometry((100, 100), size_factor=0.5, input_scaling=0.5)


def spec(kind: str) -> ModelSpec:
    skeleton = SkeletonSpec(("a", "b"), (("a", "b"),))
    return ModelSpec(kind, skeleton, UNetSpec(), heads=(), paf_edges=((0, 1),), classes=("f", "m"))


def run(kind: str, candidates: dict[str, np.ndarray], **settings: object) -> Outputs:
    one = {name: np.asarray(value)[None] for name, value in candidates.items()}
    (found,) = postprocess(one, GEOMETRY, spec(kind), StageSettings(kind=kind, **settings))  # type: ignore[arg-type]
    return found


def test_single_instance_scores_the_sum_of_its_points() -> None:
    found = run("single_instance", {"peaks": np.float32([[1, 2], [NAN, NAN]]), "peak_vals": np.float32([0.75, 0])})
    np.testing.assert_array_equal(found.pred_keypoints, np.float32([[[4, 8], [NAN, NAN]]]))
    np.testing.assert_array_equal(found.pred_raw_keypoints, np.float32([[[1, 2], [NAN, NAN]]]))
    assert found.instance_scores.tolist() == [0.75]


CENTROIDS = {
    "centroids": np.float32([[1, 1], [2, 2], [3, 3], [NAN, NAN]]),
    "centroid_vals": np.float32([0.5, 0.9, 0.7, 0]),
    "instance_valid": np.array([True, True, True, False]),
}


@pytest.mark.parametrize(("most", "expected"), [(None, [4, 8, 12]), (3, [4, 8, 12]), (2, [8, 12]), (1, [8])], ids=str)
def test_centroids_keep_their_order_unless_there_are_too_many(most: int | None, expected: list[int]) -> None:
    found = run("centroid", CENTROIDS, peaks=PeakOptions(max_instances=most))
    assert found.pred_centroids[:, 0].tolist() == expected
    np.testing.assert_array_equal(found.instance_scores, found.pred_centroid_values)


# Two animals: peaks a0, a1 of node a; b0, b1 of node b; a0 goes with b1.
BOTTOMUP = {
    "peaks": np.float32([[[0, 0], [10, 0]], [[12, 0], [2, 0]]]),
    "peak_vals": np.float32([[0.9, 0.8], [0.7, 0.6]]),
    "peak_mask": np.ones((2, 2), bool),
    "line_scores": np.float32([[0.1, 0.95, 0.5, 0.2]]),
    "candidate_mask": np.ones((1, 4), bool),
}


def test_bottomup_joins_the_best_connections() -> None:
    found = run("bottomup", BOTTOMUP)
    np.testing.assert_array_equal(found.pred_raw_keypoints[:, :, 0], [[0, 2], [10, 12]])
    np.testing.assert_allclose(found.instance_scores, [0.95, 0.5])
    np.testing.assert_allclose(found.pred_peak_values, [[0.9, 0.6], [0.8, 0.7]])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"grouping": GroupingOptions(min_line_scores=0.6)}, [0.95]),
        ({"peaks": PeakOptions(max_instances=1)}, [0.95]),
        ({"grouping": GroupingOptions(min_instance_peaks=3)}, []),
        ({"grouping": GroupingOptions(min_instance_peaks=1.0)}, [0.95, 0.5]),
    ],
)
def test_bottomup_drops_what_is_weak(settings: dict[str, object], expected: list[float]) -> None:
    np.testing.assert_allclose(run("bottomup", BOTTOMUP, **settings).instance_scores, expected)


@pytest.mark.parametrize(("most", "capped"), [(None, False), (2, True), (3, False)])
def test_a_frame_that_fills_all_places_says_so(most: int | None, capped: bool) -> None:
    assert run("bottomup", BOTTOMUP, peaks=PeakOptions(max_peaks_per_node=most)).capped is capped


def test_bottomup_of_an_empty_frame() -> None:
    empty = {**BOTTOMUP, "peak_mask": np.zeros((2, 2), bool)}
    found = run("bottomup", empty)
    assert (len(found), found.n_instances) == (0, 0)
    assert found.pred_keypoints.shape == (0, 2, 2)


def test_multi_class_bottomup_has_a_row_per_class() -> None:
    candidates = {name: BOTTOMUP[name] for name in ("peaks", "peak_vals", "peak_mask")}
    probabilities = np.float32([[[0.1, 0.9], [0.8, 0.3]], [[0.6, 0.2], [0.5, 0.4]]])
    found = run("multi_class_bottomup", {**candidates, "class_probs": probabilities})
    # Node b: b1 would be given to class m, but prefers f, and is left out.
    np.testing.assert_array_equal(found.pred_raw_keypoints[:, :, 0], [[10, 12], [0, NAN]])
    np.testing.assert_allclose(found.instance_scores, [0.75, 0.9])
    np.testing.assert_allclose(found.instance_tracking_scores, [0.7, 0.9])
    assert found.pred_classes.tolist() == [0, 1]
    fewer = run(
        "multi_class_bottomup", {**candidates, "class_probs": probabilities}, peaks=PeakOptions(max_instances=1)
    )
    assert fewer.present().tolist() == [False, True]


def test_classes_of_crops_are_given_once() -> None:
    classes, certainty = assign_crop_classes(np.float32([[0.9, 0.1], [0.8, 0.2], [0.1, 0.05]]))
    assert classes.tolist() == [0, 1, -1]
    np.testing.assert_allclose(certainty, [0.9, 0.2, NAN])


def test_crops_of_another_class_than_their_own_are_dropped_where_a_model_says_so() -> None:
    classes, certainty = assign_crop_classes(np.float32([[0.9, 0.1], [0.8, 0.2], [0.1, 0.05]]), keeps_unsure=False)
    assert classes.tolist() == [0, -1, -1]
    np.testing.assert_allclose(certainty, [0.9, NAN, NAN])


def test_a_crop_alone_has_its_own_class() -> None:
    candidates = {"peaks": np.zeros((2, 2), np.float32), "peak_vals": np.ones(2), "class_probs": np.float32([0.3, 0.7])}
    found = run("multi_class_topdown", candidates)
    assert found.pred_classes.tolist() == [1]
    np.testing.assert_allclose(found.instance_tracking_scores, [0.7])


INSTANCES = Outputs(
    pred_keypoints=np.float32(
        [[[0, 0], [10, 10]], [[1, 1], [11, 11]], [[50, 50], [NAN, NAN]], [[80, 80], [90, 90]], [[NAN, NAN]] * 2]
    ),
    pred_peak_values=np.float32([[0.9, 0.9], [0.8, 0.8], [0.9, 0], [0.1, 0.1], [0, 0]]),
    instance_scores=np.float32([0.5, 0.9, 0.8, 0.7, 0.6]),
)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"min_visible_nodes": 2}, [0, 1, 3]),
        ({"min_visible_node_fraction": 0.5}, [0, 1, 2, 3]),
        ({"min_instance_score": 0.7}, [1, 2, 3]),
        ({"min_mean_node_score": 0.45}, [0, 1, 2]),
        ({"max_overlap": 0.6}, [1, 2, 3, 4]),
        ({"max_overlap": 0.8}, [0, 1, 2, 3, 4]),
        ({"max_overlap": 0.3, "overlap_method": "oks"}, [1, 2, 3, 4]),
    ],
)
def test_filters(options: dict[str, object], expected: list[int]) -> None:
    kept = filter_instances(INSTANCES, FilterOptions(**options))  # type: ignore[arg-type]
    assert kept.instance_scores.tolist() == INSTANCES.instance_scores[expected].tolist()


def test_near_centroids_are_one() -> None:
    points = np.float32([[0, 0], [3, 4], [20, 0]])
    found = Outputs(pred_centroids=points, instance_scores=np.float32([0.5, 0.6, 0.1]))
    assert len(filter_instances(found, FilterOptions(min_centroid_distance=5))) == 3
    kept = filter_instances(found, FilterOptions(min_centroid_distance=5.1))
    np.testing.assert_array_equal(kept.pred_centroids, points[1:])


def test_each_crop_has_its_own_origin() -> None:
    geometry = attrs.evolve(GEOMETRY, origin=np.float32([[10, 0], [0, 20]]))
    candidates = {"peaks": np.ones((2, 2, 2), np.float32), "peak_vals": np.ones((2, 2))}
    found = postprocess(candidates, geometry, spec("centered_instance"), StageSettings(kind="centered_instance"))
    assert [out.pred_keypoints[0, 0].tolist() for out in found] == [[24.0, 4.0], [4.0, 44.0]]


def test_filters_that_drop_nothing_make_no_copy() -> None:
    two = INSTANCES.select(np.array([0, 3]))
    for options in (FilterOptions(), FilterOptions(min_visible_nodes=1, max_overlap=0.9)):
        assert filter_instances(two, options) is two
    assert len(filter_instances(two.select(np.array([], int)), FilterOptions(max_overlap=0.5))) == 0


def batch_of(kind: str, n_images: int, seed: int) -> dict[str, np.ndarray]:
    """Candidates of images with up to five peaks a node, of which some are missing, with ties; and maps."""
    dice = np.random.default_rng(seed)
    sizes = {"B": n_images, "N": 2, "K": 5, "I": 5, "E": 1, "C": 2}
    local = {"peaks": "BNK2", "peak_vals": "BNK", "peak_mask": "BNK", "class_probs": "BNKC", "line_scores": "BEKK"}
    crops = {"peaks": "BN2", "peak_vals": "BN", "class_probs": "BC"}
    fused = {"peaks": "BIN2", "peak_vals": "BIN", "class_probs": "BIC"}
    both = {"centroids": "BI2", "centroid_vals": "BI", "instance_valid": "BI", "candidate_mask": "BEKK"}
    names = KINDS[kind].arrays
    axes = both | (local if "peak_mask" in names else fused if "centroids" in names else crops)
    made = {}
    for name in names:
        shape = [sizes[axis] if axis in sizes else int(axis) for axis in axes[name]]
        values = np.round(dice.random(shape) * 8) / 8
        made[name] = values > 0.4 if name in ("peak_mask", "instance_valid", "candidate_mask") else np.float32(values)
    if "line_scores" in made:
        made |= {name: made[name].reshape(n_images, 1, 25) for name in ("line_scores", "candidate_mask")}
    for mask in ("peak_mask", "instance_valid"):
        if mask in made:
            name = "peaks" if mask == "peak_mask" else "centroids"
            made[name] = np.where(made[mask][..., None], made[name], NAN)
    return {**made, "confmaps": np.float32(dice.random((n_images, 2, 3, 3)))}


@pytest.mark.parametrize("kind", KINDS)
@given(st.integers(0, 4), st.integers(0, 2**32 - 1), st.sampled_from([None, 1, 2]))
def test_a_batch_gives_what_its_images_give_one_by_one(kind: str, n_images: int, seed: int, most: int | None) -> None:
    batch = batch_of(kind, n_images, seed)
    origin = np.random.default_rng(seed).random((n_images, 2)).astype(np.float32)
    facts = spec(kind), StageSettings(kind=kind, peaks=PeakOptions(max_instances=most, max_peaks_per_node=4))
    found = postprocess(batch, attrs.evolve(GEOMETRY, origin=origin), *facts)
    assert len(found) == n_images
    for number, outputs in enumerate(found):
        alone = {name: values[number : number + 1] for name, values in batch.items()}
        (expected,) = postprocess(alone, attrs.evolve(GEOMETRY, origin=origin[number][None]), *facts)
        np.testing.assert_array_equal(outputs.pred_confmaps, batch["confmaps"][number])
        for name, value in expected.as_dict().items():
            np.testing.assert_array_equal(getattr(outputs, name), value, strict=isinstance(value, np.ndarray))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_batch_are_those_of_its_outputs_one_after_the_other(kind: str) -> None:
    batch, facts = batch_of(kind, 3, seed=5), (spec(kind), StageSettings(kind=kind))
    images, rows = find_rows(batch, GEOMETRY, *facts)
    found = postprocess(batch, GEOMETRY, *facts)
    assert images.tolist() == [number for number, outputs in enumerate(found) for _ in range(len(outputs))]
    assert not set(rows) & set(MAP_NAMES.values())
    for name, values in rows.items():
        np.testing.assert_array_equal(values, np.concatenate([getattr(outputs, name) for outputs in found]))
