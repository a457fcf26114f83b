"""Candidates to instances: assignment, grouping, identities, filters, back to image pixels. numpy and scipy, no torch.

To add a kind of model: a decoder here, its name in `DECODERS` and in the kind's row (`config.kinds`).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from sleap_infer.config.options import FilterOptions
from sleap_infer.model.settings import StageSettings
from sleap_infer.model.spec import ModelSpec
from sleap_infer.ops import filters
from sleap_infer.ops.grouping import group_instances
from sleap_infer.ops.identity import assign_classes, group_by_class
from sleap_infer.poses.candidates import MAP_NAMES, Candidates, are_damaged
from sleap_infer.poses.geometry import Floats, Geometry
from sleap_infer.poses.outputs import Outputs

Indices: TypeAlias = NDArray[np.int64]

Rows: TypeAlias = dict[str, NDArray[Any]]
"""Fields of `Outputs` by name, rows of all images of a batch one after the other; points in pixels of the network's
input."""

Decoder: TypeAlias = Callable[[Candidates, ModelSpec, StageSettings], tuple[Indices, Rows]]
"""Turns the candidates of a batch into rows; first the image of each row (I,), ascending."""


def postprocess(candidates: Candidates, geometry: Geometry, spec: ModelSpec, settings: StageSettings) -> list[Outputs]:
    """Turn the candidates of a batch into the outputs of its images, one each.

    An image of which the network gave NaN has no rows, and `failure` is set.

    Args:
        candidates: as in `sleap_infer.poses.candidates`.
        geometry: of the batch.
        spec: the model's facts.
        settings: its resolved settings.
    """
    images, rows = find_rows(candidates, geometry, spec, settings)
    maps = {field: candidates[name] for name, field in MAP_NAMES.items() if name in candidates}
    full = _are_full(candidates, spec, settings)
    ends = np.cumsum(np.bincount(images, minlength=len(full))).tolist()
    damaged = are_damaged(candidates).tolist()
    outputs = []
    for number, (begin, end) in enumerate(pairwise([0, *ends])):
        fields: dict[str, Any] = {name: values[begin:end] for name, values in rows.items()}
        fields |= {name: values[number] for name, values in maps.items()}
        found = Outputs(**fields, skeleton=spec.skeleton, capped=full[number])
        outputs.append(found.as_damaged() if damaged[number] else found)
    return outputs


def find_rows(
    candidates: Candidates, geometry: Geometry, spec: ModelSpec, settings: StageSettings
) -> tuple[Indices, Rows]:
    """Return the image of each row of a batch (I,), ascending, and the rows, as `postprocess` splits them.

    Points are in pixels of the network's input and, under their own names, in pixels of the image.
    """
    images, rows = DECODERS[spec.row.decoder](candidates, spec, settings)
    of_rows = attrs.evolve(geometry, origin=geometry.origin[images % len(geometry.origin)])
    for raw, name in (("pred_raw_keypoints", "pred_keypoints"), ("pred_raw_centroids", "pred_centroids")):
        if raw in rows:
            rows[name] = of_rows.to_image(rows[raw])
    return images, rows


def _are_full(candidates: Candidates, spec: ModelSpec, settings: StageSettings) -> list[bool]:
    """Return for each image whether the capacity for peaks or centroids is exhausted, so that some may be missing."""
    is_peak = candidates.get("peak_mask", candidates.get("instance_valid"))
    most = spec.exported.n_places if spec.exported else settings.peaks.max_peaks_per_node
    if is_peak is None or most is None or is_peak.shape[-1] < most:
        return [False] * len(next(iter(candidates.values())))
    is_full = np.all(is_peak, axis=-1)
    full: list[bool] = (np.any(is_full, axis=1) if is_full.ndim > 1 else is_full).tolist()
    return full


def decode_one(candidates: Candidates, spec: ModelSpec, settings: StageSettings) -> tuple[Indices, Rows]:
    """Return the highest peak of each node (single, centered instance); the score is the sum of their values."""
    values = np.ascontiguousarray(candidates["peak_vals"])
    rows = {
        "pred_raw_keypoints": candidates["peaks"],
        "pred_peak_values": values,
        "instance_scores": np.nansum(values, axis=1),
    }
    return np.arange(len(values)), rows


def decode_centroids(candidates: Candidates, spec: ModelSpec, settings: StageSettings) -> tuple[Indices, Rows]:
    """Return every centroid, at most the `max_instances` strongest."""
    images, positions = _centroids(candidates, settings)
    return images, _centroid_rows(candidates, images, positions)


def decode_bottomup(candidates: Candidates, spec: ModelSpec, settings: StageSettings) -> tuple[Indices, Rows]:
    """Group peaks by the best connections (bottom-up); the score is the sum of an instance's connections."""
    is_peak = candidates["peak_mask"].astype(bool)
    n_positions = is_peak.shape[-1]
    scores = candidates["line_scores"].reshape(len(is_peak), len(spec.paf_edges), n_positions, n_positions)
    images, members, totals = group_instances(is_peak, scores, spec.paf_edges, settings.grouping.min_line_scores)
    enough = (members >= 0).sum(axis=1) >= _least_peaks(settings.grouping.min_instance_peaks, spec.n_nodes)
    selected = np.flatnonzero(enough)
    selected = selected[_strongest(totals[selected], images[selected], settings.peaks.max_instances)]
    images = images[selected]
    return images, {**_gather_members(candidates, images, members[selected]), "instance_scores": totals[selected]}


def decode_multi_class_bottomup(
    candidates: Candidates, spec: ModelSpec, settings: StageSettings
) -> tuple[Indices, Rows]:
    """Return a row per class with its peaks (multi-class bottom-up); the score is the mean of their values."""
    probabilities = candidates["class_probs"]
    members = group_by_class(candidates["peak_mask"].astype(bool), probabilities)
    n_images, n_classes, n_nodes = members.shape
    images, classes = np.indices((n_images, n_classes)).reshape(2, -1)
    members = members.reshape(-1, n_nodes)
    rows = _gather_members(candidates, images, members)
    certainty = probabilities[images[:, None], np.arange(n_nodes), members, classes[:, None]]
    certainty = _nanmean(np.where(members >= 0, certainty, np.nan))
    scores = _nanmean(rows["pred_peak_values"])

    found = np.flatnonzero(~np.isnan(scores))
    is_left_out = np.ones(len(scores), bool)
    is_left_out[found[_strongest(scores[found], images[found], settings.peaks.max_instances)]] = False
    rows |= {"instance_scores": scores, "instance_tracking_scores": certainty}
    for values in rows.values():
        values[is_left_out] = np.nan
    return images, {**rows, "pred_classes": classes}


def decode_class_vector(candidates: Candidates, spec: ModelSpec, settings: StageSettings) -> tuple[Indices, Rows]:
    """Return the pose of each crop and its most probable class (multi-class top-down).

    In a pipeline, `assign_crop_classes` decides over all crops of a frame instead.
    """
    images, rows = decode_one(candidates, spec, settings)
    probabilities = candidates["class_probs"]
    classes = {"pred_classes": probabilities.argmax(axis=1), "instance_tracking_scores": probabilities.max(axis=1)}
    return images, {**rows, **classes}


def decode_fused(candidates: Candidates, spec: ModelSpec, settings: StageSettings) -> tuple[Indices, Rows]:
    """Return a pose per centroid (top-down in one graph); its score is the centroid's value."""
    images, positions = _centroids(candidates, settings)
    rows = _centroid_rows(candidates, images, positions)
    poses = {"pred_raw_keypoints": "peaks", "pred_peak_values": "peak_vals"}
    return images, {**rows, **{name: candidates[source][images, positions] for name, source in poses.items()}}


def decode_fused_classes(candidates: Candidates, spec: ModelSpec, settings: StageSettings) -> tuple[Indices, Rows]:
    """Return a pose and a class per centroid, no class twice in a frame (multi-class top-down in one graph)."""
    images, positions = _centroids(candidates, settings)
    probabilities = candidates["class_probs"][images, positions]
    frames = np.split(probabilities, np.flatnonzero(np.diff(images)) + 1)
    keeps_unsure = spec.conventions.unsure_classes
    assigned = [assign_crop_classes(frame, keeps_unsure) for frame in frames]
    classes, certainty = (np.concatenate(parts) for parts in zip(*assigned, strict=True))
    _, rows = decode_fused(candidates, spec, settings)
    rows |= {"pred_classes": classes, "instance_tracking_scores": certainty}
    named = np.ones(len(classes), bool) if keeps_unsure else classes >= 0
    return images[named], {name: values[named] for name, values in rows.items()}


DECODERS: dict[str, Decoder] = {
    decoder.__name__: decoder
    for decoder in (
        decode_one,
        decode_centroids,
        decode_bottomup,
        decode_multi_class_bottomup,
        decode_class_vector,
        decode_fused,
        decode_fused_classes,
    )
}
"""Functions that rows of `config.kinds` name."""


def assign_crop_classes(probabilities: Floats, keeps_unsure: bool = True) -> tuple[NDArray[np.int64], Floats]:
    """Assign classes to all crops of one frame, each class at most once.

    Args:
        probabilities: (I, C).
        keeps_unsure: whether a crop may be assigned a class that is not its most probable one.

    Returns:
        Classes (I,), -1 for none, and their probabilities (I,), NaN for none.

    >>> assign_crop_classes(np.array([[0.6, 0.4], [0.9, 0.1]], np.float32), keeps_unsure=False)[0].tolist()
    [-1, 0]
    """
    classes = assign_classes(probabilities)
    if not keeps_unsure:
        own = probabilities.max(axis=1, initial=-np.inf)
        classes = np.where(probabilities[np.arange(len(classes)), classes] == own, classes, -1)
    certainty = probabilities[np.arange(len(classes)), classes]
    return classes, np.where(classes >= 0, certainty, np.nan).astype(np.float32)


NO_FILTERS = FilterOptions()


def filter_instances(outputs: Outputs, options: FilterOptions) -> Outputs:
    """Drop the rows that the filters name, in the fixed order of `FilterOptions`."""
    if options == NO_FILTERS or outputs.failure is not None:
        return outputs
    for keep in (_seen_enough, _scored_enough, _apart):
        rows = keep(outputs, options)
        outputs = outputs if rows.all() else outputs.select(rows)
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
    if len(outputs) < 2:
        return keep
    if outputs.pred_keypoints is not None and options.max_overlap is not None:
        measure = filters.box_iou if options.overlap_method == "iou" else filters.keypoint_similarity
        keep = filters.not_overlapping(measure(np.asarray(outputs.pred_keypoints)), scores, options.max_overlap)
    elif outputs.pred_centroids is not None and options.min_centroid_distance > 0:
        keep = filters.far_apart(np.asarray(outputs.pred_centroids), scores, options.min_centroid_distance)
    return keep


def _centroids(candidates: Candidates, settings: StageSettings) -> tuple[Indices, Indices]:
    """Image and position of each selected centroid."""
    images, positions = np.nonzero(candidates["instance_valid"].astype(bool))
    selected = _strongest(candidates["centroid_vals"][images, positions], images, settings.peaks.max_instances)
    return images[selected], positions[selected]


def _centroid_rows(candidates: Candidates, images: Indices, positions: Indices) -> Rows:
    """Rows of the centroids at positions of images; their values are their scores."""
    values = candidates["centroid_vals"][images, positions]
    points = candidates["centroids"][images, positions]
    return {"pred_raw_centroids": points, "pred_centroid_values": values, "instance_scores": values.copy()}


def _gather_members(candidates: Candidates, images: Indices, members: Indices) -> Rows:
    """Points and values of (I, N) members; NaN where an instance has none."""
    at = images[:, None], np.arange(members.shape[1]), members
    missing = members < 0
    points = np.where(missing[..., None], np.float32(np.nan), candidates["peaks"][at])
    values = np.where(missing, np.float32(np.nan), candidates["peak_vals"][at])
    return {"pred_raw_keypoints": points, "pred_peak_values": values}


def _strongest(scores: Floats, images: Indices, at_most: int | None) -> Indices:
    """Return the rows (I,) to retain, image by image."""
    if at_most is None or np.bincount(images).max(initial=0) <= at_most:
        return np.arange(len(scores))
    begins = np.flatnonzero(np.diff(images, prepend=-1))
    parts = np.split(scores, begins[1:])
    return np.concatenate([begin + filters.strongest(part, at_most) for begin, part in zip(begins, parts, strict=True)])


def _least_peaks(wanted: float, n_nodes: int) -> int:
    """Return a count unchanged, a fraction as a number of nodes, rounded down."""
    return wanted if isinstance(wanted, int) else int(wanted * n_nodes)


def _nanmean(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN; NaN where nothing is."""
    seen = ~np.isnan(values)
    count = seen.sum(axis=-1)
    total = np.where(seen, values, 0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
