"""Filters of the instances of a frame. NumPy; each returns a mask or an order and changes nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

OKS_SIGMA = 0.1
"""Spread of every node in the object keypoint similarity, in units of the square root of twice the box area."""


def strongest(scores: Floats, at_most: int) -> NDArray[np.int64]:
    """Return the indices of the highest scores, descending; if there are no more than that, all in their own order.

    >>> strongest(np.array([0.2, 0.9, 0.5], np.float32), 2).tolist()
    [1, 2]
    >>> strongest(np.array([0.2, 0.9, 0.5], np.float32), 3).tolist()
    [0, 1, 2]
    """
    if len(scores) <= at_most:
        return np.arange(len(scores))
    return np.argsort(-scores, kind="stable")[:at_most]


def not_overlapping(similarity: Floats, scores: Floats, threshold: float) -> Mask:
    """Return the mask of a greedy suppression, from the highest score down.

    Args:
        similarity: (I, I); row i, column j: similarity of candidate i to candidate j.
        scores: (I,).
        threshold: similarity to a retained candidate above which (not at which) a candidate is dropped.
    """
    keep = np.zeros(len(scores), bool)
    for i in np.argsort(-scores, kind="stable"):
        keep[i] = not bool(np.any(similarity[i, keep] > threshold))
    return keep


def box_iou(points: Floats) -> Floats:
    """Return the intersection over union of the bounding boxes of each pair of instances, (I, N, 2) -> (I, I)."""
    low, high = _boxes(points)
    overlap = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    inside = np.clip(overlap, 0, None).prod(-1)
    area = (high - low).prod(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(inside / (area[:, None] + area[None] - inside)).astype(np.float32)


def keypoint_similarity(points: Floats) -> Floats:
    """Return the object keypoint similarity of each pair, (I, N, 2) -> (I, I); the row's box sets the scale."""
    low, high = _boxes(points)
    area = (high - low).prod(-1)
    squared = ((points[:, None] - points[None]) ** 2).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        near = np.exp(-squared / (2 * area[:, None, None] * OKS_SIGMA**2))
        common = ~np.isnan(squared)
        total = np.where(common, near, 0).sum(-1) / common.sum(-1)
    return np.nan_to_num(total).astype(np.float32)


def far_apart(points: Floats, scores: Floats, distance: float) -> Mask:
    """Return the mask of a greedy suppression of points closer than `distance` pixels, (I, 2) -> (I,)."""
    squared = ((points[:, None] - points[None]) ** 2).sum(-1)
    return not_overlapping(-squared, scores, -(distance**2))


def _boxes(points: Floats) -> tuple[Floats, Floats]:
    seen = ~np.isnan(points).any(axis=-1, keepdims=True)
    low = np.where(seen, points, np.inf).min(axis=1)
    high = np.where(seen, points, -np.inf).max(axis=1)
    empty = ~np.any(seen, axis=1)
    return np.where(empty, 0, low), np.where(empty, 0, high)
