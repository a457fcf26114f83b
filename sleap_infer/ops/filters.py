"""Which instances of a frame to keep. numpy; each filter gives a mask or an order and touches nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

OKS_SIGMA = 0.1
"""Spread of every node in the object keypoint similarity, in units of the square root of twice the box area."""


def strongest(scores: Floats, at_most: int) -> NDArray[np.int64]:
    """Indices of the highest scores in descending order; all, in their own order, where there are no more than that.

    >>> strongest(np.array([0.2, 0.9, 0.5], np.float32), 2).tolist()
    [1, 2]
    >>> strongest(np.array([0.2, 0.9, 0.5], np.float32), 3).tolist()
    [0, 1, 2]
    """
    if len(scores) <= at_most:
        return np.arange(len(scores))
    return np.argsort(-scores, kind="stable")[:at_most]


def not_overlapping(similarity: Floats, scores: Floats, threshold: float) -> Mask:
    """Greedy suppression: from the highest score down, drop what is more similar than `threshold` to one that is kept.

    Args:
        similarity: (I, I); row i, column j: similarity of candidate i to kept j.
        scores: (I,).
        threshold: similarity above it (not at it) drops the candidate.
    """
    keep = np.zeros(len(scores), bool)
    for i in np.argsort(-scores, kind="stable"):
        keep[i] = not bool(np.any(similarity[i, keep] > threshold))
    return keep


def box_iou(points: Floats) -> Floats:
    """Intersection over union of the boxes around each pair of instances' points, (I, N, 2) -> (I, I)."""
    low, high = _boxes(points)
    overlap = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    inside = np.clip(overlap, 0, None).prod(-1)
    area = (high - low).prod(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(inside / (area[:, None] + area[None] - inside)).astype(np.float32)


def keypoint_similarity(points: Floats) -> Floats:
    """Object keypoint similarity of each pair of instances, (I, N, 2) -> (I, I); the row's box sets the scale."""
    low, high = _boxes(points)
    area = (high - low).prod(-1)
    squared = ((points[:, None] - points[None]) ** 2).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        near = np.exp(-squared / (2 * area[:, None, None] * OKS_SIGMA**2))
        common = ~np.isnan(squared)
        total = np.where(common, near, 0).sum(-1) / common.sum(-1)
    return np.nan_to_num(total).astype(np.float32)


def far_apart(points: Floats, scores: Floats, distance: float) -> Mask:
    """Greedy suppression of points that are nearer than `distance` pixels to a kept one, (I, 2) -> (I,)."""
    squared = ((points[:, None] - points[None]) ** 2).sum(-1)
    return not_overlapping(-squared, scores, -(distance**2))


def _boxes(points: Floats) -> tuple[Floats, Floats]:
    seen = ~np.isnan(points).any(axis=-1, keepdims=True)
    low = np.where(seen, points, np.inf).min(axis=1)
    high = np.where(seen, points, -np.inf).max(axis=1)
    empty = ~np.any(seen, axis=1)
    return np.where(empty, 0, low), np.where(empty, 0, high)
