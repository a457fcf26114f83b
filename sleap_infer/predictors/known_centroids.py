"""Centroids of labelled instances, for crops around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from sleap_infer.choices import CentroidMethod
from sleap_infer.poses.geometry import Floats

TOLERANCE_PX = 1e-4
MAX_STEPS = 1000


def known_centroids(
    known: Floats | None, anchor: int | None = None, method: CentroidMethod = "center_of_mass"
) -> Floats:
    """Return where the crops of known instances are centred.

    Args:
        known: (I, N, 2) points in pixels, NaN where a node is not visible; `None` without instances.
        anchor: index of the node that crops are centred on.
        method: centre of the visible nodes, of instances without a visible anchor.

    Returns:
        (I, 2) of those instances that have a visible node.

    >>> points = np.array([[[1, 2], [3, 4]], [[np.nan, np.nan], [5, 6]]], np.float32)
    >>> known_centroids(points, 0).tolist()
    [[1.0, 2.0], [5.0, 6.0]]
    """
    if known is None:
        return np.zeros((0, 2), np.float32)
    centres = []
    for points in known:
        visible = points[~np.isnan(points).any(axis=1)]
        if len(visible):
            is_anchored = anchor is not None and not np.isnan(points[anchor]).any()
            centres.append(points[anchor] if is_anchored else METHODS[method](visible.astype(np.float64)))
    return np.asarray(centres, np.float32).reshape(-1, 2)


def _center_of_mass(points: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = points.mean(axis=0)
    return found


def _bbox_center(points: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = (points.min(axis=0) + points.max(axis=0)) / 2
    return found


def _geometric_median(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the point with the smallest sum of distances to (N, 2) points (Weiszfeld 1937).

    One of the points is the median if the unit vectors from it to the others sum up to less than the number of points
    there (Vardi & Zhang 2000); Weiszfeld's iteration would only creep towards it.
    """
    for point in np.unique(points, axis=0):
        apart = points - point
        distances = np.linalg.norm(apart, axis=1)
        away = distances > 0
        if np.linalg.norm((apart[away] / distances[away, None]).sum(axis=0)) < (~away).sum() - 1e-9:
            return np.asarray(point)
    median = _center_of_mass(points)
    for _ in range(MAX_STEPS):
        weights = 1 / np.maximum(np.linalg.norm(points - median, axis=1), 1e-12)
        previous, median = median, (points * weights[:, None]).sum(axis=0) / weights.sum()
        if np.abs(median - previous).max() < TOLERANCE_PX / 100:
            break
    return median


METHODS: Mapping[CentroidMethod, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "center_of_mass": _center_of_mass,
    "bbox_center": _bbox_center,
    "geometric_median": _geometric_median,
}
