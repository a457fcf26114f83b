"""Candidates to instances: assignment, grouping, identities, filters, back to image pixels. numpy and scipy, no torch.

To add a kind of model: its arrays in `candidates`, a decoder here, a line in `DECODERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from sleap_infer.candidates import MAP_NAMES, Candidates
from sleap_infer.choices import GraphKind
from sleap_infer.geometry import Floats, Geometry
from sleap_infer.model.spec import ModelSpec
from sleap_infer.ops import filters
from sleap_infer.ops.grouping import group_instances
from sleap_infer.ops.identity import assign_classes, group_by_class
from sleap_infer.options import FilterOptions
from sleap_infer.outputs import Outputs
from sleap_infer.settings import StageSettings

Rows: TypeAlias = dict[str, NDArray[Any]]
"""Fields of `Outputs` by name, for one image; points in pixels of the network's input."""

Decoder: TypeAlias = Callable[[Candidates, ModelSpec, StageSettings], Rows]
"""Turns the candidates of one image (arrays without their first axis) into rows."""


def postprocess(candidates: Candidates, geometry: Geometry, spec: ModelSpec, settings: StageSettings) -> list[Outputs]:
    """Turn the candidates of a batch into the outputs of its images, one each.

    Args:
        candidates: as in `sleap_infer.candidates`.
        geometry: of the batch.
        spec: the model's facts.
        settings: its resolved settings.
    """
    outputs = []
    decode = DECODERS[spec.kind]
    for number in range(len(next(iter(candidates.values())))):
        one = {name: values[number] for name, values in candidates.items()}
        rows = decode(one, spec, settings)
        here = attrs.evolve(geometry, origin=geometry.origin[number % len(geometry.origin)][None])
        for raw, name in (("pred_raw_keypoints", "pred_keypoints"), ("pred_raw_centroids", "pred_centroids")):
            if raw in rows:
                rows[name] = here.to_image(rows[raw][None])[0]
        maps: Rows = {field: one[name] for name, field in MAP_NAMES.items() if name in one}
        fields: dict[str, Any] = {**rows, **maps}
        outputs.append(Outputs(**fields, skeleton=spec.skeleton, capped=_is_full(one, spec, settings)))
    return outputs


def _is_full(candidates: Candidates, spec: ModelSpec, settings: StageSettings) -> bool:
    """Whether all places for peaks of a node, or for centroids, are taken, so that others may have been left out."""
    is_peak = candidates.get("peak_mask", candidates.get("instance_valid"))
    most = spec.exported.n_places if spec.exported else settings.peaks.max_peaks_per_node
    if is_peak is None or most is None or is_peak.shape[-1] < most:
        return False
    return bool(is_peak.astype(bool).all(axis=-1).any())


def decode_one(candidates: Candidates, spec: ModelSpec, settings: StageSettings) -> Rows:
    """Single and centered instance: the highest peak of each node; the score is the sum of their values."""
    values = candidates["peak_vals"][None]
    return {
        "pred_raw_keypoints": candidates["peaks"][None],
        "pred_peak_values": values,
        "instance_scores": np.nansum(values, axis=1),
    }


def decode_centroids(candidates: Candidates, spec: ModelSpec, settings: StageSettings) -> Rows:
    """Centroids: every peak, the strongest where there are more than `max_instances`."""
    valid = candidates["instance_valid"].astype(bool)
    points, values = candidates["centroids"][valid], candidates["centroid_vals"][valid]
    kept = _strongest(values, settings.peaks.max_instances)
    return {
        "pred_raw_centroids": points[kept],
        "pred_centroid_values": values[kept],
        "instance_scores": values[kept],
    }


def decode_bottomup(candidates: Candidates, spec: ModelSpec, settings: StageSettings) -> Rows:
    """Bottom-up: peaks joined by the best connections; an instance scores the sum of its connections."""
    is_peak = candidates["peak_mask"].astype(bool)
    n_peaks = is_peak.shape[1]
    scores = candidates["line_scores"].reshape(-1, n_peaks, n_peaks)
    members, totals = group_instances(is_peak, scores, spec.paf_edges, settings.grouping.min_line_scores)
    enough = (members >= 0).sum(axis=1) >= _least_peaks(settings.grouping.min_instance_peaks, spec.n_nodes)
    members, totals = members[enough], totals[enough]
    kept = _strongest(totals, settings.peaks.max_instances)
    rows = _gather_members(candidates, members[kept])
    return {**rows, "instance_scores": totals[kept]}


def decode_multi_class_bottomup(candidates: Candidates, spec: ModelSpec, settings: StageSettings) -> Rows:
    """Multi-class bottom-up: a row per class with the peaks that are assigned to it; scores are means of its values."""
    probabilities = candidates["class_probs"]
    members = group_by_class(candidates["peak_mask"].astype(bool), probabilities)
    rows = _gather_members(candidates, members)
    nodes, classes = np.arange(members.shape[1])[None], np.arange(members.shape[0])
    certainty = np.where(members >= 0, probabilities[nodes, members, classes[:, None]], np.nan)
    scores = _nanmean(rows["pred_peak_values"])
    surplus = np.setdiff1d(np.flatnonzero(~np.isnan(scores)), _strongest_finite(scores, settings.peaks.max_instances))
    for name in rows:
        rows[name][surplus] = np.nan
    scores[surplus] = np.nan
    certainty[surplus] = np.nan
    return {**rows, "instance_scores": scores, "pred_classes": classes, "instance_tracking_scores": _nanmean(certainty)}


def decode_class_vector(candidates: Candidates, spec: ModelSpec, settings: StageSettings) -> Rows:
    """Multi-class top-down, one crop: the pose, and the crop's own most probable class.

    In a pipeline, `assign_crop_classes` decides over all crops of a frame instead.
    """
    probabilities = candidates["class_probs"][None]
    return {
        **decode_one(candidates, spec, settings),
        "pred_classes": probabilities.argmax(axis=1),
        "instance_tracking_scores": probabilities.max(axis=1),
    }


def decode_fused(candidates: Candidates, spec: ModelSpec, settings: StageSettings) -> Rows:
    """Top-down in one graph: a pose per centroid; its score is the centroid's value."""
    centroids = decode_centroids(candidates, spec, settings)
    valid = candidates["instance_valid"].astype(bool)
    kept = _strongest(candidates["centroid_vals"][valid], settings.peaks.max_instances)
    poses = {"pred_raw_keypoints": "peaks", "pred_peak_values": "peak_vals"}
    return {**centroids, **{name: candidates[source][valid][kept] for name, source in poses.items()}}


def decode_fused_classes(candidates: Candidates, spec: ModelSpec, settings: StageSettings) -> Rows:
    """Multi-class top-down in one graph: as `decode_fused`, and classes, none twice in a frame."""
    valid = candidates["instance_valid"].astype(bool)
    kept = _strongest(candidates["centroid_vals"][valid], settings.peaks.max_instances)
    classes, certainty = assign_crop_classes(candidates["class_probs"][valid][kept])
    rows = decode_fused(candidates, spec, settings)
    return {**rows, "pred_classes": classes, "instance_tracking_scores": certainty}


DECODERS: Mapping[GraphKind, Decoder] = {
    "single_instance": decode_one,
    "centered_instance": decode_one,
    "centroid": decode_centroids,
    "bottomup": decode_bottomup,
    "multi_class_bottomup": decode_multi_class_bottomup,
    "multi_class_topdown": decode_class_vector,
    "topdown": decode_fused,
    "multi_class_topdown_combined": decode_fused_classes,
}


def assign_crop_classes(probabilities: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Classes of all crops of one frame, each class at most once.

    Args:
        probabilities: (I, C).

    Returns:
        Classes (I,), -1 for none, and their probabilities (I,), NaN for none.
    """
    classes = assign_classes(probabilities)
    certainty = probabilities[np.arange(len(classes)), classes]
    return classes, np.where(classes >= 0, certainty, np.nan).astype(np.float32)


def filter_instances(outputs: Outputs, options: FilterOptions) -> Outputs:
    """Drop the rows that the filters name, in the fixed order of `FilterOptions`."""
    if options == FilterOptions():
        return outputs
    for keep in (_seen_enough, _scored_enough, _apart):
        outputs = outputs.select(keep(outputs, options))
    return outputs


def _seen_enough(outputs: Outputs, options: FilterOptions) -> NDArray[np.bool_]:
    if outputs.pred_keypoints is None:
        return np.ones(len(outputs), bool)
    visible = ~np.isnan(np.asarray(outputs.pred_keypoints)).any(axis=2)
    return (visible.sum(axis=1) >= options.min_visible_nodes) & (
        visible.mean(axis=1) >= options.min_visible_node_fraction
    )


def _scored_enough(outputs: Outputs, options: FilterOptions) -> NDArray[np.bool_]:
    keep = ~(np.asarray(outputs.instance_scores) < options.min_instance_score)
    if outputs.pred_peak_values is not None:
        keep &= ~(_nanmean(np.asarray(outputs.pred_peak_values)) < options.min_mean_node_score)
    return keep


def _apart(outputs: Outputs, options: FilterOptions) -> NDArray[np.bool_]:
    keep, scores = np.ones(len(outputs), bool), np.asarray(outputs.instance_scores)
    if outputs.pred_keypoints is not None and options.max_overlap is not None:
        measure = filters.box_iou if options.overlap_method == "iou" else filters.keypoint_similarity
        keep = filters.not_overlapping(measure(np.asarray(outputs.pred_keypoints)), scores, options.max_overlap)
    elif outputs.pred_centroids is not None and options.min_centroid_distance > 0:
        keep = filters.far_apart(np.asarray(outputs.pred_centroids), scores, options.min_centroid_distance)
    return keep


def _gather_members(candidates: Candidates, members: NDArray[np.int64]) -> Rows:
    """Points and values of (I, N) members; NaN where an instance has none."""
    nodes = np.arange(members.shape[1])[None]
    missing = members < 0
    points = np.where(missing[..., None], np.float32(np.nan), candidates["peaks"][nodes, members])
    values = np.where(missing, np.float32(np.nan), candidates["peak_vals"][nodes, members])
    return {"pred_raw_keypoints": points, "pred_peak_values": values}


def _strongest(scores: Floats, at_most: int | None) -> NDArray[np.int64]:
    return np.arange(len(scores)) if at_most is None else filters.strongest(scores, at_most)


def _strongest_finite(scores: Floats, at_most: int | None) -> NDArray[np.int64]:
    finite = np.flatnonzero(~np.isnan(scores))
    return finite[_strongest(scores[finite], at_most)]


def _least_peaks(wanted: float, n_nodes: int) -> int:
    """A count as it is, a share as so many of the nodes, rounded down."""
    return wanted if isinstance(wanted, int) else int(wanted * n_nodes)


def _nanmean(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN; NaN where nothing is."""
    seen = ~np.isnan(values)
    count = seen.sum(axis=-1)
    total = np.where(seen, values, 0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
