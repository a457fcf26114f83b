"""Convert tables of the flat layout (`graphs.layout`) to candidates. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sleap_infer.model.spec import ModelSpec
from sleap_infer.poses.candidates import Candidates

Table = NDArray[np.float32]


def unflatten(tables: Mapping[str, NDArray[Any]], spec: ModelSpec, n_images: int) -> Candidates:
    """Return candidates (B, ...) for the tables of `n_images` images."""
    assert spec.exported is not None
    points, axes, n_places = tables["points"], spec.row.arrays, spec.exported.n_places
    found: Candidates = {}
    rows = points
    if "centroids" in axes:
        is_centroid = points[:, 2] < 0 if "peaks" in axes else np.ones(len(points), bool)
        rows = points[is_centroid] * np.array([1, 1, 0, 1, 1, 1], np.float32)
        points = points[~is_centroid]
        centroids, values, valid = _scatter(rows, (n_images, n_places, 1))
        found |= {"centroids": centroids[:, :, 0], "centroid_vals": values[..., 0], "instance_valid": valid[..., 0]}
    if "peaks" in axes:
        found |= _peaks(points, axes["peaks"], (n_images, 1 if axes["peaks"] == "BN2" else n_places, spec.n_nodes))
    if "line_scores" in axes:
        found |= _connections(tables["connections"], (n_images, len(spec.paf_edges), n_places))
    if "class_probs" in axes:
        found["class_probs"] = tables["class_probs"]
        if axes["class_probs"] == "BNKC":
            found["class_probs"] = np.zeros((*found["peak_mask"].shape, len(spec.classes)), np.float32)
            image, peak, node = _indices(points)
            found["class_probs"][image, node, peak] = tables["class_probs"]
        elif axes["class_probs"] == "BIC":
            found["class_probs"] = np.zeros((n_images, n_places, len(spec.classes)), np.float32)
            found["class_probs"][_indices(rows)[:2]] = tables["class_probs"]
    return found


def _peaks(points: Table, axes: str, shape: tuple[int, int, int]) -> Candidates:
    peaks, values, mask = _scatter(points, shape)
    if axes == "BN2":
        return {"peaks": peaks[:, 0], "peak_vals": values[:, 0]}
    if axes == "BNK2":
        return {"peaks": peaks.swapaxes(1, 2), "peak_vals": values.swapaxes(1, 2), "peak_mask": mask.swapaxes(1, 2)}
    return {"peaks": peaks, "peak_vals": values}


def _scatter(points: Table, shape: tuple[int, int, int]) -> tuple[Table, Table, NDArray[np.bool_]]:
    """Scatter rows (R, 6) into positions (B, I, N, 2), values (B, I, N) and a mask (B, I, N)."""
    positions, values = np.full((*shape, 2), np.nan, np.float32), np.zeros(shape, np.float32)
    mask = np.zeros(shape, bool)
    where = _indices(points)
    positions[where], values[where], mask[where] = points[:, 3:5], points[:, 5], True
    return positions, values, mask


def _connections(table: Table, shape: tuple[int, int, int]) -> Candidates:
    n_images, n_edges, n_peaks = shape
    scores = np.zeros((n_images, n_edges, n_peaks * n_peaks), np.float32)
    mask = np.zeros(scores.shape, bool)
    image, edge, source, destination = (column.astype(np.int64) for column in table[:, :4].T)
    where = image, edge, source * n_peaks + destination
    scores[where], mask[where] = table[:, 4], True
    return {"line_scores": scores, "candidate_mask": mask}


def _indices(points: Table) -> tuple[NDArray[np.int64], ...]:
    return tuple(column.astype(np.int64) for column in points[:, :3].T)
