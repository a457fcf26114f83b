"""Tables of the flat layout (`graphs.layout`) back to candidates. numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sleap_infer.model.spec import ModelSpec
from sleap_infer.poses.candidates import Candidates

Table = NDArray[np.float32]


def unflatten(tables: Mapping[str, NDArray[Any]], spec: ModelSpec, n_images: int) -> Candidates:
    """Candidates (B, ...) of the tables that a graph gave for `n_images` images."""
    assert spec.exported is not None
    points, places = tables["points"], spec.exported.n_places
    found: Candidates
    if spec.kind in ("single_instance", "centered_instance", "multi_class_topdown"):
        peaks, values, _ = _scatter(points, (n_images, 1, spec.n_nodes))
        found = {"peaks": peaks[:, 0], "peak_vals": values[:, 0]}
        return {**found, "class_probs": tables["class_probs"]} if "class_probs" in tables else found
    if spec.kind in ("bottomup", "multi_class_bottomup"):
        peaks, values, mask = _scatter(points, (n_images, places, spec.n_nodes))
        peaks, values, mask = peaks.swapaxes(1, 2), values.swapaxes(1, 2), mask.swapaxes(1, 2)
        found = {"peaks": peaks, "peak_vals": values, "peak_mask": mask}
        if spec.kind == "bottomup":
            return {**found, **_connections(tables["connections"], (n_images, len(spec.paf_edges), places))}
        classes = np.zeros((*mask.shape, len(spec.classes)), np.float32)
        image, place, node = _indices(points)
        classes[image, node, place] = tables["class_probs"]
        return {**found, "class_probs": classes}
    return _top_down(tables, spec, (n_images, places))


def _top_down(tables: Mapping[str, NDArray[Any]], spec: ModelSpec, shape: tuple[int, int]) -> Candidates:
    points = tables["points"]
    is_centroid = points[:, 2] < 0 if spec.kind != "centroid" else np.ones(len(points), bool)
    rows = points[is_centroid] * np.array([1, 1, 0, 1, 1, 1], np.float32)
    centroids, values, valid = _scatter(rows, (*shape, 1))
    found = {"centroids": centroids[:, :, 0], "centroid_vals": values[..., 0], "instance_valid": valid[..., 0]}
    if spec.kind == "centroid":
        return found
    peaks, values, _ = _scatter(points[~is_centroid], (*shape, spec.n_nodes))
    found |= {"peaks": peaks, "peak_vals": values}
    if spec.classes:
        classes = np.zeros((*shape, len(spec.classes)), np.float32)
        classes[_indices(rows)[:2]] = tables["class_probs"]
        found["class_probs"] = classes
    return found


def _scatter(points: Table, shape: tuple[int, int, int]) -> tuple[Table, Table, NDArray[np.bool_]]:
    """Rows (R, 6) into arrays (B, I, N, 2), (B, I, N) and a mask of what was set."""
    positions, values = np.full((*shape, 2), np.nan, np.float32), np.zeros(shape, np.float32)
    mask = np.zeros(shape, bool)
    where = _indices(points)
    positions[where], values[where], mask[where] = points[:, 3:5], points[:, 5], True
    return positions, values, mask


def _connections(table: Table, shape: tuple[int, int, int]) -> Candidates:
    n_images, n_edges, places = shape
    scores = np.zeros((n_images, n_edges, places * places), np.float32)
    mask = np.zeros(scores.shape, bool)
    image, edge, source, destination = (column.astype(np.int64) for column in table[:, :4].T)
    where = image, edge, source * places + destination
    scores[where], mask[where] = table[:, 4], True
    return {"line_scores": scores, "candidate_mask": mask}


def _indices(points: Table) -> tuple[NDArray[np.int64], ...]:
    return tuple(column.astype(np.int64) for column in points[:, :3].T)
